/* Private to the room: the two ways to parse a message, which must agree. */
#ifndef BRAIN_COMMAND_SHORTCUT_H
#define BRAIN_COMMAND_SHORTCUT_H

#include "brain/command.h"

/* Parses nearly all messages that a busy client sends, and only when nothing at all is wrong with
 * them: then `command` is what command_parse_any makes of the same payload. False: look again with
 * that; `command` is undefined. */
bool command_shortcut(struct command *command, struct slice payload, struct etf_limits limits);

/* command_parse of whatever it is, right or wrong. */
int command_parse_any(struct command *command, struct slice payload, const struct etf_marks *marks,
    struct etf_limits limits, int payload_error);

#endif
