/* citizen_mail: messages to our process and to the names that answer calls. */
#ifndef BRAIN_DIST_CITIZEN_MAIL_H
#define BRAIN_DIST_CITIZEN_MAIL_H

#include "channel_internal.h"

/* `target`: whom the message is for. `from`: the sender's pid, or empty. Returns 0, or the error
 * that ended the channel. */
int citizen_mail(struct channel *channel, enum monitor_target target, struct slice from,
    const struct frame_message *message);

#endif
