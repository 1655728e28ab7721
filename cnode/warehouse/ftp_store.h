/* ftp_store: one request served over one session, from its first attempt to its last. */
#ifndef WAREHOUSE_FTP_STORE_H
#define WAREHOUSE_FTP_STORE_H

#include "ftp_session.h"

/* How long to wait before the next attempt; `attempt` counts those made. Exponential, full jitter.
 * Pure. */
uint64_t ftp_backoff_ms(unsigned attempt, uint64_t random);

struct ftp_waiting {
    void *context;
    /* Waits; false when the warehouse closes meanwhile, or did before. */
    bool (*pause)(void *context, uint64_t ms);
    uint64_t (*random)(void *context);
};

/* Sets the result fields of the request; session->error says why when it is BRAIN_EWAREHOUSE. */
void ftp_serve(struct ftp_session *session, struct warehouse_request *request,
    const struct ftp_waiting *waiting);

#endif
