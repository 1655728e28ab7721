/* Private to the service: what service.c and routing.c share. */
#ifndef BRAIN_SERVER_SERVICE_INSIDE_H
#define BRAIN_SERVER_SERVICE_INSIDE_H

#include "service.h"

/* The answer to what store_get, cluster_request and the rest come to. */
void service_answer_status(struct service *service, connection_id from,
    const struct reply_to *reply, int status, const struct value *value);
/* An answer that ends with a term of our own. */
void service_answer_term(struct service *service, connection_id from, const struct reply_to *reply,
    enum reply_kind kind, const struct buffer *term);
/* Counts a write that was refused; one line when it begins. `owner`: the member that refused it;
 * empty: this node. */
void service_note_refusal(struct service *service, int status, struct slice owner);

#endif
