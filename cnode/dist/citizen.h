/* citizen: what every OTP node answers, so that nobody hangs on us.
 *
 * citizen.c is about control messages, citizen_mail.c about messages to processes. */
#ifndef BRAIN_DIST_CITIZEN_H
#define BRAIN_DIST_CITIZEN_H

#include "channel_internal.h"

/* One message from the peer. Returns 0, or the error that ended the channel. */
int citizen_message(struct channel *channel, const struct frame_message *message);

/* 'DOWN' and 'EXIT' with reason shutdown to everybody who watches us, then forgets them. */
void citizen_say_goodbye(struct channel *channel);

/* Forgets everybody who watches us. */
void citizen_release(struct channel *channel);

#endif
