/* s3_probe: one step after the other. */
#include "s3_probe.h"

#include <string.h>

enum { TRIES = 4 }; /* of a step that the store could not serve, and from the start */

void s3_probe_init(struct s3_probe *probe)
{
    memset(probe, 0, sizeof(*probe));
    probe->ability.quoted = true;
}

unsigned s3_probe_calls(struct s3_probe *probe, struct s3_probe_call calls[2])
{
    calls[0] = (struct s3_probe_call){.condition = S3_IF_MATCH,
        .etag = probe->etag,
        .quoted = probe->ability.quoted,
        .body = ++probe->bodies};
    switch (probe->step) {
    case S3_PROBE_CREATE:
        calls[0].condition = S3_IF_NONE;
        calls[1] = calls[0];
        calls[1].body = ++probe->bodies;
        return 2;
    case S3_PROBE_PLAIN:
        calls[0].condition = S3_ALWAYS;
        return 1;
    case S3_PROBE_REPLACE_QUOTED:
        calls[0].quoted = true;
        return 1;
    case S3_PROBE_REPLACE_BARE:
        calls[0].quoted = false;
        return 1;
    case S3_PROBE_REPLACE_STALE:
        calls[0].etag = probe->former;
        return 1;
    case S3_PROBE_DELETE_STALE:
        calls[0].etag = probe->former;
        calls[0].remove = true;
        return 1;
    case S3_PROBE_CLEAR:
    case S3_PROBE_DELETE:
        calls[0].condition = S3_ALWAYS;
        calls[0].remove = true;
        return 1;
    case S3_PROBE_OVER:
    case S3_PROBE_FAILED:
        break;
    }
    return 0;
}

static void go(struct s3_probe *probe, enum s3_probe_step step)
{
    probe->step = step;
    probe->tries = 0;
}

static void fail(struct s3_probe *probe, bool again)
{
    probe->again = again;
    go(probe, S3_PROBE_FAILED);
}

/* The same once more, a few times. */
static void repeat(struct s3_probe *probe)
{
    if (++probe->tries >= TRIES)
        fail(probe, true);
}

static void start_again(struct s3_probe *probe)
{
    if (++probe->starts >= TRIES) {
        fail(probe, true);
        return;
    }
    probe->etag[0] = '\0';
    go(probe, S3_PROBE_CLEAR);
}

static void wrote(struct s3_probe *probe, const char *etag)
{
    memcpy(probe->former, probe->etag, sizeof(probe->former));
    memcpy(probe->etag, etag, sizeof(probe->etag));
}

static void created(struct s3_probe *probe, const struct s3_probe_answer answers[2])
{
    unsigned done = 0, unsupported = 0, refused = 0;
    for (int i = 0; i < 2; i++) {
        switch (answers[i].outcome) {
        case S3_DONE:
            done++;
            wrote(probe, answers[i].etag);
            break;
        case S3_UNSUPPORTED:
            unsupported++;
            break;
        case S3_DENIED:
        case S3_REFUSED:
            refused++;
            break;
        case S3_AGAIN:
        case S3_ABSENT:
        case S3_CONDITION:
            break;
        }
    }
    if (refused > 0) {
        fail(probe, false);
    } else if (unsupported > 0 || done == 2) {
        go(probe, S3_PROBE_PLAIN);
    } else if (done == 1) {
        probe->ability.create = true;
        go(probe, probe->etag[0] != '\0' ? S3_PROBE_REPLACE_QUOTED : S3_PROBE_DELETE);
    } else {
        /* Nobody won (Ceph: both may lose), or the winner's answer was lost. */
        start_again(probe);
    }
}

/* An If-Match with the right ETag. */
static void replaced(struct s3_probe *probe, const struct s3_probe_answer *answer)
{
    bool quoted = probe->step == S3_PROBE_REPLACE_QUOTED;
    if (answer->outcome == S3_DONE) {
        wrote(probe, answer->etag);
        probe->ability.replace = true; /* until it takes a stale one too */
        probe->ability.quoted = quoted;
        go(probe, S3_PROBE_REPLACE_STALE);
    } else if (answer->outcome == S3_AGAIN) {
        /* It may have been applied, and the ETag is another one then. */
        start_again(probe);
    } else if (quoted && answer->outcome != S3_UNSUPPORTED) {
        go(probe, S3_PROBE_REPLACE_BARE);
    } else {
        go(probe, S3_PROBE_DELETE);
    }
}

void s3_probe_answer(struct s3_probe *probe, const struct s3_probe_answer answers[2])
{
    enum s3_outcome outcome = answers[0].outcome;
    switch (probe->step) {
    case S3_PROBE_CREATE:
        created(probe, answers);
        break;
    case S3_PROBE_CLEAR:
        if (outcome == S3_DONE || outcome == S3_ABSENT)
            go(probe, S3_PROBE_CREATE);
        else if (outcome == S3_AGAIN)
            repeat(probe);
        else
            fail(probe, false);
        break;
    case S3_PROBE_PLAIN:
        if (outcome == S3_DONE)
            go(probe, S3_PROBE_DELETE);
        else if (outcome == S3_AGAIN || outcome == S3_CONDITION)
            repeat(probe);
        else
            fail(probe, false);
        break;
    case S3_PROBE_REPLACE_QUOTED:
    case S3_PROBE_REPLACE_BARE:
        replaced(probe, &answers[0]);
        break;
    case S3_PROBE_REPLACE_STALE:
        if (outcome == S3_AGAIN) {
            repeat(probe);
            break;
        }
        if (outcome == S3_DONE)
            probe->ability.replace = false;
        go(probe, outcome == S3_CONDITION ? S3_PROBE_DELETE_STALE : S3_PROBE_DELETE);
        break;
    case S3_PROBE_DELETE_STALE:
        if (outcome == S3_AGAIN) {
            repeat(probe);
            break;
        }
        probe->ability.remove = outcome == S3_CONDITION;
        go(probe, S3_PROBE_DELETE);
        break;
    case S3_PROBE_DELETE:
        if (outcome == S3_AGAIN) {
            repeat(probe);
            break;
        }
        probe->left = outcome != S3_DONE && outcome != S3_ABSENT;
        go(probe, S3_PROBE_OVER);
        break;
    case S3_PROBE_OVER:
    case S3_PROBE_FAILED:
        break;
    }
}
