/* ftp_store: loads and dumps on a store without conditions.
 *
 *   load:  list the object's directory -> read the file of the highest version, verify
 *   dump:  list -> compare as the precondition asks -> upload under a temporary name
 *          -> check its size, rename, remove older versions
 *
 * Every attempt begins with the list, so after a lost answer nothing is repeated blindly: a version
 * that is there was the success of an earlier attempt.
 *
 * An older version that was neither loaded nor written here may be no object of ours: its beginning
 * is read before it is replaced. */
#include "ftp_store.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "brain/stored.h"

enum {
    BACKOFF_MIN_MS = 50,
    BACKOFF_MAX_MS = 5000,
    HEAD_LIMIT = 64 * 1024, /* read to see whose a file is; a longer one costs the connection */
    FORM_LIMIT = 4096,      /* bytes of a stored form besides its value */
    CORRUPT_READS = 3,      /* a transfer that was cut looks corrupt too */
    VANISHED_READS = 5,     /* a file that is listed, but not there */
    LEFT_LIMIT = 4,         /* temporary files of failed attempts that are remembered */
};

struct work {
    struct ftp_session *session;
    struct warehouse_request *request;
    const struct ftp_waiting *waiting;
    struct slice id;
    char shard[FTP_SHARD_SIZE + 1];
    char stem[FTP_NAME_LIMIT + 1];
    struct ftp_listing listing;
    unsigned corrupt_reads, vanished_reads;
    bool verified; /* `ours` was read and is ours */
    struct version ours;
    unsigned left_count;
    char left[LEFT_LIMIT][FTP_TEMPORARY_SIZE + 1];
};

uint64_t ftp_backoff_ms(unsigned attempt, uint64_t random)
{
    uint64_t most_ms = attempt < 8 ? (uint64_t)BACKOFF_MIN_MS << attempt : BACKOFF_MAX_MS;
    if (most_ms > BACKOFF_MAX_MS)
        most_ms = BACKOFF_MAX_MS;
    return random % (most_ms + 1);
}

static uint64_t unix_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static enum ftp_outcome lack_memory(struct work *work)
{
    snprintf(work->session->error, WAREHOUSE_TEXT, "%s", error_sentence(BRAIN_ENOMEM));
    return FTP_AGAIN;
}

static enum ftp_outcome finish(struct work *work, int status)
{
    work->request->status = status;
    return FTP_DONE;
}

static enum ftp_outcome list(struct work *work)
{
    work->listing.unix_ms = unix_ms();
    return ftp_list(work->session, work->shard, work->stem, &work->listing);
}

/* The file is listed, but could not be read: removed meanwhile, and a higher one is there; or it
 * may not be read. */
static enum ftp_outcome vanished(struct work *work)
{
    return ++work->vanished_reads < VANISHED_READS ? FTP_AGAIN : FTP_REFUSED;
}

/* ---- loads ------------------------------------------------------------------------------------
 */

static enum ftp_outcome corrupt(struct work *work)
{
    if (++work->corrupt_reads >= CORRUPT_READS)
        return finish(work, BRAIN_ECORRUPT);
    snprintf(work->session->error, WAREHOUSE_TEXT, "%s: what was read from %s is damaged",
        work->session->server->label, work->shard);
    return FTP_AGAIN;
}

static enum ftp_outcome load(struct work *work)
{
    struct warehouse_request *request = work->request;
    const struct ftp_version *highest = &work->listing.highest;
    struct stored stored;
    struct block *body;
    char name[FTP_NAME_LIMIT + 1];
    size_t size, limit = (size_t)work->session->server->value_limit_bytes + FORM_LIMIT;
    enum ftp_outcome outcome = list(work);
    if (outcome != FTP_DONE)
        return outcome;
    if (!work->listing.found)
        return finish(work, BRAIN_ENOENT);
    ftp_file_name(name, work->stem, *highest);
    outcome = ftp_get(work->session, work->shard, name, limit, false, &body, &size);
    if (outcome == FTP_ABSENT)
        return vanished(work);
    if (outcome != FTP_DONE)
        return outcome;
    if (body == NULL || stored_read(slice_of(body->bytes, size), work->id, &stored) != 0 ||
        stored.deleted != highest->deleted ||
        version_compare(stored.version, highest->version) != 0) {
        block_drop(body);
        return corrupt(work);
    }
    request->stored = stored.version;
    request->stored_known = true;
    request->stored_tombstone = stored.deleted;
    if (stored.deleted)
        block_drop(body);
    else
        request->loaded = (struct value){body, stored.value.data, stored.value.size};
    return finish(work, stored.deleted ? BRAIN_ENOENT : 0);
}

/* ---- dumps ------------------------------------------------------------------------------------
 */

static enum ftp_outcome conflict(struct work *work)
{
    struct warehouse_request *request = work->request;
    request->stored = work->listing.highest.version; /* zero: nothing there */
    request->stored_known = true;
    request->stored_tombstone = work->listing.highest.deleted;
    return finish(work, BRAIN_ECONFLICT);
}

/* Is the highest version there an object of ours, so that it may be replaced? */
static enum ftp_outcome verify(struct work *work, bool *ours)
{
    struct stored stored;
    struct block *body;
    char name[FTP_NAME_LIMIT + 1];
    size_t size;
    uint32_t crc;
    *ours = true;
    if (work->verified && version_compare(work->ours, work->listing.highest.version) == 0)
        return FTP_DONE;
    ftp_file_name(name, work->stem, work->listing.highest);
    enum ftp_outcome outcome =
        ftp_get(work->session, work->shard, name, HEAD_LIMIT, true, &body, &size);
    if (outcome == FTP_ABSENT)
        return vanished(work);
    if (outcome != FTP_DONE)
        return outcome;
    *ours = body != NULL &&
            stored_read_head(slice_of(body->bytes, size), work->id, &stored, &crc) == 0 &&
            version_compare(stored.version, work->listing.highest.version) == 0;
    block_drop(body);
    if (!*ours)
        return corrupt(work);
    work->verified = true;
    work->ours = work->listing.highest.version;
    return FTP_DONE;
}

static bool write_form(const struct warehouse_request *request, struct buffer *head)
{
    struct slice id = slice_of(request->id, request->id_size);
    if (request->tombstone)
        stored_write_tombstone(head, id, request->version, unix_ms());
    else
        stored_write_head(head, id, request->version, crc32c(0, value_slice(request->value)));
    return buffer_status(head) == 0;
}

/* Removes what the listing showed to be over, and what failed attempts left. */
static bool add_removals(struct work *work, bool highest_too, struct curl_slist **removals)
{
    const struct ftp_listing *listing = &work->listing;
    char name[FTP_NAME_LIMIT + 1];
    bool good = true;
    for (size_t i = 0; good && i < listing->older_count; i++) {
        ftp_file_name(name, work->stem, listing->older[i]);
        good = ftp_removal_add(removals, name);
    }
    if (good && highest_too && listing->found) {
        ftp_file_name(name, work->stem, listing->highest);
        good = ftp_removal_add(removals, name);
    }
    for (size_t i = 0; good && i < listing->stale_count; i++)
        good = ftp_removal_add(removals, listing->stale[i]);
    for (size_t i = 0; good && i < work->left_count; i++)
        good = ftp_removal_add(removals, work->left[i]);
    return good;
}

/* Uploads under a temporary name, then gives it its own. */
static enum ftp_outcome store(
    struct work *work, const char *directory, const char *name, struct curl_slist *removals)
{
    struct warehouse_request *request = work->request;
    struct slice value = request->tombstone ? slice_of("", 0) : value_slice(request->value);
    struct buffer head;
    char temporary[FTP_TEMPORARY_SIZE + 1];
    buffer_init(&head);
    if (!write_form(request, &head)) {
        buffer_release(&head);
        return lack_memory(work);
    }
    ftp_temporary_name(temporary, unix_ms(), work->waiting->random(work->waiting->context));
    enum ftp_outcome outcome =
        ftp_put(work->session, directory, temporary, buffer_slice(&head), value);
    if (outcome == FTP_DONE)
        outcome =
            ftp_rename(work->session, directory, temporary, head.size + value.size, name, removals);
    if (outcome != FTP_DONE && work->left_count < LEFT_LIMIT)
        memcpy(work->left[work->left_count++], temporary, sizeof(temporary));
    buffer_release(&head);
    return outcome;
}

static enum ftp_outcome replace(struct work *work)
{
    const struct warehouse_request *request = work->request;
    struct curl_slist *removals = NULL;
    char name[FTP_NAME_LIMIT + 1];
    if (!driver_may_write(request)) {
        snprintf(work->session->error, WAREHOUSE_TEXT, "ftp: " DRIVER_NO_LEASE);
        return FTP_REFUSED;
    }
    ftp_file_name(name, work->stem, (struct ftp_version){request->version, request->tombstone});
    enum ftp_outcome outcome = add_removals(work, true, &removals)
                                   ? store(work, work->shard, name, removals)
                                   : lack_memory(work);
    curl_slist_free_all(removals);
    return outcome == FTP_DONE ? finish(work, 0) : outcome;
}

/* This very version is there: an earlier attempt had succeeded, and may not have removed all. */
static enum ftp_outcome tidy(struct work *work)
{
    struct curl_slist *removals = NULL;
    if (add_removals(work, false, &removals) && removals != NULL)
        ftp_rename(work->session, work->shard, NULL, 0, NULL, removals);
    curl_slist_free_all(removals);
    return finish(work, 0);
}

static enum ftp_outcome dump(struct work *work)
{
    const struct warehouse_request *request = work->request;
    const struct ftp_listing *listing = &work->listing;
    enum ftp_outcome outcome = list(work);
    if (outcome != FTP_DONE)
        return outcome;
    int order = listing->found ? version_compare(listing->highest.version, request->version) : -1;
    bool expected = request->expected_known &&
                    version_compare(listing->highest.version, request->expected) == 0;
    if (order == 0)
        return tidy(work);
    if (order > 0 || (request->expected_known && !expected))
        return conflict(work);
    if (listing->found && !expected) {
        bool ours;
        outcome = verify(work, &ours);
        if (outcome != FTP_DONE || !ours)
            return outcome;
    }
    return replace(work);
}

/* The random number keeps a second attempt from meeting the file of the first, which some servers
 * would not replace. */
static enum ftp_outcome set_aside(struct work *work)
{
    char name[2 * FTP_NAME_LIMIT];
    char file[FTP_NAME_LIMIT + 1];
    ftp_file_name(file, work->stem, (struct ftp_version){work->request->version, false});
    snprintf(name, sizeof(name), "%s.%08x", file,
        (unsigned)(work->waiting->random(work->waiting->context) & 0xffffffff));
    enum ftp_outcome outcome = store(work, "conflict", name, NULL);
    return outcome == FTP_DONE ? finish(work, 0) : outcome;
}

/* ---- attempts ---------------------------------------------------------------------------------
 */

static enum ftp_outcome attempt(struct work *work)
{
    switch (work->request->operation) {
    case WAREHOUSE_LOAD:
        return load(work);
    case WAREHOUSE_DUMP:
        return dump(work);
    default:
        return set_aside(work);
    }
}

void ftp_serve(struct ftp_session *session, struct warehouse_request *request,
    const struct ftp_waiting *waiting)
{
    struct work work = {.session = session,
        .request = request,
        .waiting = waiting,
        .id = slice_of(request->id, request->id_size)};
    char reason[WAREHOUSE_TEXT] = ""; /* of the last attempt that had the time to fail */
    enum ftp_outcome outcome = FTP_REFUSED;
    session->deadline_ms = request->deadline_ms;
    session->error[0] = '\0';
    if (!ftp_shard(work.id, work.shard) || !ftp_stem(work.id, work.stem)) {
        lack_memory(&work);
        request->status = BRAIN_EWAREHOUSE;
        return;
    }
    for (unsigned attempts = 1;; attempts++) {
        outcome = attempt(&work);
        if (outcome != FTP_AGAIN || session->out_of_time)
            break;
        memcpy(reason, session->error, sizeof(reason));
        uint64_t pause_ms = ftp_backoff_ms(attempts - 1, waiting->random(waiting->context));
        if (driver_now_ms() + pause_ms >= request->deadline_ms ||
            !waiting->pause(waiting->context, pause_ms))
            break;
    }
    if (outcome == FTP_DONE)
        return;
    request->status = BRAIN_EWAREHOUSE;
    if (session->out_of_time && reason[0] != '\0')
        memcpy(session->error, reason, sizeof(reason));
}
