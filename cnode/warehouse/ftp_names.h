/* ftp_names: what objects are called on an FTP server, and what is read of its listings. Pure. The
 * layout is explained in ftp_names.c. */
#ifndef WAREHOUSE_FTP_NAMES_H
#define WAREHOUSE_FTP_NAMES_H

#include "brain/base.h"
#include "brain/object.h"

enum {
    FTP_NAME_LIMIT = 255, /* bytes of a file name: what common file systems take */
    FTP_SHARD_SIZE = 5,   /* "ab/cd" */
    FTP_OLDER_LIMIT = 16, /* older versions and stale temporary files that one listing tells of; */
    FTP_STALE_LIMIT = 8,  /* what is more is left to the next one */
    FTP_TEMPORARY_SIZE = 32, /* "tmp." 11 hex "." 16 hex */
};

#define FTP_SENTINEL "zz-complete"

/* The directory of the object, below the configured one. False: out of memory. */
bool ftp_shard(struct slice id, char shard[FTP_SHARD_SIZE + 1]);

/* The part of the name that all versions share; NUL behind it. False: out of memory. */
bool ftp_stem(struct slice id, char stem[FTP_NAME_LIMIT + 1]);

struct ftp_version {
    struct version version;
    bool deleted; /* a tombstone */
};

void ftp_file_name(char name[FTP_NAME_LIMIT + 1], const char *stem, struct ftp_version version);
void ftp_temporary_name(char name[FTP_TEMPORARY_SIZE + 1], uint64_t unix_ms, uint64_t random);

/* A listing of names (NLST), read as it comes, of which one object is of interest. */
struct ftp_listing {
    bool complete; /* the sentinel was among the names, and the last line had its end */
    bool found;
    struct ftp_version highest; /* when found */
    size_t older_count, stale_count;
    struct ftp_version older[FTP_OLDER_LIMIT];
    char stale[FTP_STALE_LIMIT][FTP_TEMPORARY_SIZE + 1]; /* temporary files older than a day */

    /* Private. */
    const char *stem;
    uint64_t unix_ms;
    size_t bytes, line_size;
    char line[512];
};

/* `stem` must live as long as the listing. */
void ftp_listing_init(struct ftp_listing *listing, const char *stem, uint64_t unix_ms);
/* False: longer than any listing may be. */
bool ftp_listing_feed(struct ftp_listing *listing, struct slice bytes);
void ftp_listing_end(struct ftp_listing *listing);

#endif
