/* control: the control messages of the distribution protocol, decoded into a struct and encoded.
 *
 * Pure. Source: ERTS user's guide, "Distribution Protocol", section "Protocol between Connected
 * Nodes". Trace-token variants are decoded as their plain operation; the token is ignored. */
#ifndef BRAIN_CONTROL_H
#define BRAIN_CONTROL_H

#include "brain/etf.h"

enum control_operation {
    CONTROL_LINK = 1,
    CONTROL_SEND = 2,
    CONTROL_EXIT = 3,
    CONTROL_UNLINK = 4,
    CONTROL_REG_SEND = 6,
    CONTROL_GROUP_LEADER = 7,
    CONTROL_EXIT2 = 8,
    CONTROL_SEND_TT = 12,
    CONTROL_EXIT_TT = 13,
    CONTROL_REG_SEND_TT = 16,
    CONTROL_EXIT2_TT = 18,
    CONTROL_MONITOR_P = 19,
    CONTROL_DEMONITOR_P = 20,
    CONTROL_MONITOR_P_EXIT = 21,
    CONTROL_SEND_SENDER = 22,
    CONTROL_SEND_SENDER_TT = 23,
    CONTROL_PAYLOAD_EXIT = 24,
    CONTROL_PAYLOAD_EXIT_TT = 25,
    CONTROL_PAYLOAD_EXIT2 = 26,
    CONTROL_PAYLOAD_EXIT2_TT = 27,
    CONTROL_PAYLOAD_MONITOR_P_EXIT = 28,
    CONTROL_SPAWN_REQUEST = 29,
    CONTROL_SPAWN_REQUEST_TT = 30,
    CONTROL_SPAWN_REPLY = 31,
    CONTROL_SPAWN_REPLY_TT = 32,
    CONTROL_ALIAS_SEND = 33,
    CONTROL_ALIAS_SEND_TT = 34,
    CONTROL_UNLINK_ID = 35,
    CONTROL_UNLINK_ID_ACK = 36,
};

/* A decoded control message. Slices point into the frame; a field that the operation does not
 * have is empty. Terms are raw, tag included. */
struct control {
    enum control_operation operation; /* trace variants folded: SEND_TT is CONTROL_SEND */
    bool has_payload;                 /* the operation has a second term behind the tuple */
    struct slice from;    /* pid term; MONITOR_P_EXIT: pid or atom term of the process that ended */
    struct slice to;      /* pid term, when addressed to a pid */
    struct slice to_name; /* text of the registered name, when addressed by name */
    struct slice reference; /* reference term: monitor, alias, spawn request */
    struct slice reason;    /* reason term of EXIT, EXIT2, MONITOR_P_EXIT without payload */
    struct slice unlink_id; /* integer term, sent back verbatim in the acknowledgement */
};

/* Decodes the control tuple at the reader and moves past it. Returns 0; BRAIN_EPROTO for an
 * unknown operation or wrong arity or kinds; the error of the reader for a malformed term that is
 * stepped over (cookie, trace token, spawn options). After an error `control` is not valid. */
int control_read(struct etf_reader *reader, struct control *control);

/* Encoders append the control tuple only (no frame, no payload). Slices are terms, as above. */
void control_write_send(struct buffer *out, struct slice to); /* {2,'',To} */
void control_write_send_sender(struct buffer *out, struct slice from, struct slice to); /* 22 */
void control_write_reg_send(
    struct buffer *out, struct slice from, struct slice name); /* {6,From,'',Name} */
void control_write_alias_send(
    struct buffer *out, struct slice from, struct slice reference); /* {33,From,Ref} */
/* `reason` is an atom's text. With `as_payload` (EXIT_PAYLOAD negotiated) the caller sends it as
 * the payload. MONITOR_P_EXIT's `from` may be an atom term: the name that was monitored. */
void control_write_exit(struct buffer *out, struct slice from, struct slice to, const char *reason,
    bool as_payload); /* {3,From,To,Reason} or {24,From,To} */
void control_write_monitor_exit(struct buffer *out, struct slice from, struct slice to,
    struct slice reference, const char *reason, bool as_payload); /* {21,..,Reason} or {28,..} */
void control_write_unlink_ack(
    struct buffer *out, struct slice id, struct slice from, struct slice to); /* {36,Id,..} */
void control_write_spawn_refusal(struct buffer *out, struct slice reference, struct slice to,
    const char *reason); /* {31,ReqId,To,0,Reason} */

#endif
