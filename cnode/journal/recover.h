/* recover: reads the segments that an earlier process left. */
#ifndef JOURNAL_RECOVER_H
#define JOURNAL_RECOVER_H

#include "ledger.h"
#include "writer.h"

struct recovery {
    int directory;
    uint64_t payload_limit;
    struct writer *writer; /* gets the files */
    struct ledger *ledger; /* gets their seqs, each before `record` is called with it */
    journal_record_cb record;
    void *context;
    struct scan_result scan; /* of the segment that is being read */
    /* Results: */
    uint64_t segments, records, torn_bytes, bad, missing;
    uint64_t last_seq;
    char why[JOURNAL_TEXT];
};

/* 0, or an error with a sentence in `why` (without the name of the directory); the error of
 * `record` as it is. */
int recover(struct recovery *recovery);

#endif
