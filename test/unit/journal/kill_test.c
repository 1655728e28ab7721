/* kill -9 at random moments: whatever was told to be written is there after it, bit for bit.
 *
 * A child appends to the journal, kills records (so that segments are deleted meanwhile) and tells
 * through a pipe what it was told; the parent kills it and reads the journal. Every record but the
 * replaced ones must be found. Seeded: a failure names its seed and round. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "journal_fixture.h"
#include "suite.h"

enum { ROUNDS = 20, SEED = 20261121, KEYS = 200, SEQ_LIMIT = 1 << 20 };

/* Both sides compute what a write is from its number: key, size, bytes. */
static unsigned key_of(uint64_t seq)
{
    return (unsigned)((seq * 2654435761U >> 7) % KEYS);
}

static size_t size_of(uint64_t seq)
{
    return seq % 97 == 0 ? 40000 + seq % 1000 : 21 + seq * 7 % 3000;
}

static uint64_t last_of[KEYS]; /* the live record of each key */

static void write_next(uint64_t seq)
{
    size_t size = size_of(seq);
    struct value value = payload_of(seq, size);
    struct value tail = {value.block, value.data + 20, size - 20};
    if (journal_append(journal, seq, slice_of(value.data, 20), &tail) != 0)
        abort();
    unsigned key = key_of(seq);
    if (last_of[key] != 0)
        journal_replace(journal, last_of[key], seq);
    else
        journal_live(journal, seq);
    last_of[key] = seq;
    value_drop(&value);
}

/* What the parent knows of a key: replaying as a store does. */
static void replay(void)
{
    memset(last_of, 0, sizeof(last_of));
    for (size_t i = 0; i < found_count; i++) {
        unsigned key = key_of(found[i].seq);
        if (found[i].seq <= last_of[key])
            continue;
        last_of[key] = found[i].seq;
    }
}

static void child(int pipe_fd)
{
    open_journal();
    uint64_t told = 0;
    for (uint64_t seq = next_seq; seq < SEQ_LIMIT;) {
        uint64_t batch = 1 + seq * 31 % 40;
        for (uint64_t i = 0; i < batch; i++)
            write_next(seq++);
        /* In the middle of what compaction does, too. */
        if (batch == 16)
            journal_begin_segment(journal);
        journal_submit(journal);
        uv_run(&loop, journal_held_bytes(journal) > 4 << 20 ? UV_RUN_ONCE : UV_RUN_NOWAIT);
        if (written > told) {
            told = written;
            if (write(pipe_fd, &told, sizeof(told)) != (ssize_t)sizeof(told))
                abort();
        }
    }
    _exit(0);
}

static void one_round(unsigned round, uint64_t *told)
{
    int fds[2];
    ck_assert_int_eq(pipe(fds), 0);
    pid_t pid = fork();
    if (pid == 0) {
        close(fds[0]);
        child(fds[1]);
    }
    close(fds[1]);
    /* A start that is killed in the middle is a case, too; in every second round something was
     * written, however slow the machine is. */
    uint64_t seq;
    if (round % 2 == 1 && read(fds[0], &seq, sizeof(seq)) == (ssize_t)sizeof(seq))
        *told = seq;
    struct timespec delay = {0, (rand() % 60) * 1000000L};
    nanosleep(&delay, NULL);
    ck_assert_int_eq(kill(pid, SIGKILL), 0);
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(
        WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "round %u: the child ended", round);
    while (read(fds[0], &seq, sizeof(seq)) == (ssize_t)sizeof(seq))
        *told = seq;
    close(fds[0]);
}

static const enum journal_sync policies[] = {
    JOURNAL_SYNC_ALWAYS, JOURNAL_SYNC_INTERVAL, JOURNAL_SYNC_NEVER};

START_TEST(kill_at_random)
{
    unsigned written_rounds = 0;
    srand(SEED + (unsigned)_i);
    options.sync = policies[_i];
    options.segment_bytes = 300000;
    for (unsigned round = 0; round < ROUNDS / 2; round++) {
        uint64_t told = 0, expected[KEYS] = {0};
        memset(last_of, 0, sizeof(last_of));
        one_round(round, &told);
        for (uint64_t seq = 1; seq <= told; seq++)
            expected[key_of(seq)] = seq;
        written_rounds += told > 0;

        open_journal();
        ck_assert_uint_gt(next_seq, told);
        for (size_t i = 0; i < found_count; i++)
            expect_found(i, found[i].seq, size_of(found[i].seq));
        ck_assert_uint_eq(metric("recovered_bad_records"), 0);
        ck_assert_uint_eq(metric("recovered_missing"), 0);
        replay();
        for (unsigned key = 0; key < KEYS; key++)
            ck_assert_msg(last_of[key] >= expected[key],
                "policy %d round %u: key %u: write %u was told to be in, found %u", _i, round, key,
                (unsigned)expected[key], (unsigned)last_of[key]);
        for (size_t i = 0; i < found_count; i++)
            journal_dead(journal, found[i].seq);
        close_journal();
        uint64_t number;
        ck_assert_uint_eq(segment_files(&number, 1), 0);
    }
    ck_assert_uint_ge(written_rounds, ROUNDS / 4);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("journal: kill");
    TCase *tcase = tcase_create("kill");
    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_loop_test(tcase, kill_at_random, 0, 3);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
