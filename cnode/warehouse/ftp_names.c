/* ftp_names: the layout on an FTP server, below ftp_dir:
 *
 *   ab/cd/                       SHA-256 of the id begins with abcd: 65,536 small directories,
 * since FTP finds a file only by listing a whole directory =NAME@V.C.S                an object:
 * NAME as stored_name has it (percent-encoded id, or ~ and a hash when too long), then its version:
 * view, counter, seq, each 16 hex digits, so that names sort by version. The highest counts
 *     =NAME@V.C.S.deleted        a tombstone
 *     tmp.MS.RANDOM              an upload under way since MS (11 hex digits, ms since 1970)
 *     zz-complete                empty: a listing without it was cut, or is of a directory that is
 *                                not ours yet
 *   conflict/                    values that came too late, under =NAME@V.C.S.RANDOM
 *
 * No name begins with a dot (servers hide such files from listings; the ids "." and ".." would be
 * directories), a dash (some take it for an option of `ls`) or a tilde (some take it for a home).
 * Servers that fold case cannot be used. See docs/decisions/0008-ftp-names.md. */
#include "ftp_names.h"

#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "brain/stored.h"

enum {
    HEX = 16,                       /* digits of each number of a version */
    VERSION_SIZE = 1 + 3 * HEX + 2, /* "@V.C.S" */
    DELETED_SIZE = sizeof(".deleted") - 1,
    STEM_LIMIT = FTP_NAME_LIMIT - VERSION_SIZE - DELETED_SIZE - 1,
    TEMPORARY_MS = 11,
};
static const size_t listing_limit = (size_t)64 << 20;
static const uint64_t stale_ms = (uint64_t)24 * 60 * 60 * 1000;

bool ftp_shard(struct slice id, char shard[FTP_SHARD_SIZE + 1])
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    if (EVP_Digest(id.data, id.size, digest, &size, EVP_sha256(), NULL) != 1)
        return false;
    snprintf(shard, FTP_SHARD_SIZE + 1, "%02x/%02x", digest[0], digest[1]);
    return true;
}

bool ftp_stem(struct slice id, char stem[FTP_NAME_LIMIT + 1])
{
    struct buffer name;
    buffer_init(&name);
    stored_name(&name, "=", id, STEM_LIMIT);
    bool good = buffer_status(&name) == 0;
    if (good)
        memcpy(stem, name.data, name.size + 1);
    buffer_release(&name);
    return good;
}

void ftp_file_name(char name[FTP_NAME_LIMIT + 1], const char *stem, struct ftp_version version)
{
    snprintf(name, FTP_NAME_LIMIT + 1, "%.*s@%016" PRIx64 ".%016" PRIx64 ".%016" PRIx64 "%s",
        STEM_LIMIT, stem, version.version.view, version.version.counter, version.version.seq,
        version.deleted ? ".deleted" : "");
}

void ftp_temporary_name(char name[FTP_TEMPORARY_SIZE + 1], uint64_t unix_ms, uint64_t random)
{
    snprintf(name, FTP_TEMPORARY_SIZE + 1, "tmp.%011" PRIx64 ".%016" PRIx64,
        unix_ms & 0xfffffffffffu, random);
}

/* `count` lower-case digits. */
static bool read_hex(const char *text, size_t count, uint64_t *number)
{
    *number = 0;
    for (size_t i = 0; i < count; i++) {
        char c = text[i];
        if (c >= '0' && c <= '9')
            *number = *number << 4 | (uint64_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            *number = *number << 4 | (uint64_t)(c - 'a' + 10);
        else
            return false;
    }
    return true;
}

/* The version behind a stem. */
static bool read_version(const char *text, size_t size, struct ftp_version *version)
{
    version->deleted = size == VERSION_SIZE + DELETED_SIZE &&
                       memcmp(text + VERSION_SIZE, ".deleted", DELETED_SIZE) == 0;
    if ((size != VERSION_SIZE && !version->deleted) || text[0] != '@' || text[1 + HEX] != '.' ||
        text[2 + 2 * HEX] != '.')
        return false;
    return read_hex(text + 1, HEX, &version->version.view) &&
           read_hex(text + 2 + HEX, HEX, &version->version.counter) &&
           read_hex(text + 3 + 2 * HEX, HEX, &version->version.seq);
}

static void take_version(struct ftp_listing *listing, struct ftp_version version)
{
    struct ftp_version lower = version;
    int order = listing->found ? version_compare(version.version, listing->highest.version) : 1;
    if (order > 0) {
        lower = listing->highest;
        listing->highest = version;
    }
    if (listing->found && order != 0 && listing->older_count < FTP_OLDER_LIMIT)
        listing->older[listing->older_count++] = lower;
    listing->found = true;
}

static void take_temporary(struct ftp_listing *listing, const char *name)
{
    uint64_t since_ms, random;
    if (name[4 + TEMPORARY_MS] != '.' || !read_hex(name + 4, TEMPORARY_MS, &since_ms) ||
        !read_hex(name + 5 + TEMPORARY_MS, HEX, &random) ||
        listing->stale_count == FTP_STALE_LIMIT || listing->unix_ms < since_ms ||
        listing->unix_ms - since_ms < stale_ms)
        return;
    memcpy(listing->stale[listing->stale_count], name, FTP_TEMPORARY_SIZE);
    listing->stale[listing->stale_count++][FTP_TEMPORARY_SIZE] = '\0';
}

static void take_line(struct ftp_listing *listing)
{
    const char *name = listing->line;
    size_t size = listing->line_size, stem_size = strlen(listing->stem);
    struct ftp_version version;
    listing->line_size = 0;
    if (size == sizeof(listing->line)) /* longer than a name can be: not ours */
        return;
    if (size > 0 && name[size - 1] == '\r')
        size--;
    /* Some servers put the directory before each name. */
    const char *slash = memrchr(name, '/', size);
    if (slash != NULL) {
        size -= (size_t)(slash + 1 - name);
        name = slash + 1;
    }
    if (size == strlen(FTP_SENTINEL) && memcmp(name, FTP_SENTINEL, size) == 0)
        listing->complete = true;
    else if (size == FTP_TEMPORARY_SIZE && memcmp(name, "tmp.", 4) == 0)
        take_temporary(listing, name);
    else if (size > stem_size && memcmp(name, listing->stem, stem_size) == 0 &&
             read_version(name + stem_size, size - stem_size, &version))
        take_version(listing, version);
}

void ftp_listing_init(struct ftp_listing *listing, const char *stem, uint64_t unix_ms)
{
    memset(listing, 0, sizeof(*listing));
    listing->stem = stem;
    listing->unix_ms = unix_ms;
}

bool ftp_listing_feed(struct ftp_listing *listing, struct slice bytes)
{
    if (bytes.size > listing_limit - listing->bytes)
        return false;
    listing->bytes += bytes.size;
    for (size_t i = 0; i < bytes.size; i++) {
        if (bytes.data[i] == '\n')
            take_line(listing);
        else if (listing->line_size < sizeof(listing->line))
            listing->line[listing->line_size++] = (char)bytes.data[i];
    }
    return true;
}

void ftp_listing_end(struct ftp_listing *listing)
{
    if (listing->line_size > 0)
        listing->complete = false;
}
