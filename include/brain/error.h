/* Errors: every function of the project that can fail returns one of these, all negative, or 0.
 *
 * Each error has a sentence for people (logs, consoles) and an atom for programs (the `Reason` of
 * `{error, Reason}`, docs/protocol.md). Both are static strings. */
#ifndef BRAIN_ERROR_H
#define BRAIN_ERROR_H

/* X(name, value, atom, sentence) */
#define BRAIN_ERRORS(X)                                                                            \
    X(BRAIN_ENOMEM, -1, "memory", "out of memory")                                                 \
    X(BRAIN_EPROTO, -2, "protocol", "the peer broke the distribution protocol")                    \
    X(BRAIN_ETOOBIG, -3, "too_big", "larger than the configured limit")                            \
    X(BRAIN_ETERM, -4, "bad_term", "not a well-formed external term")                              \
    X(BRAIN_EDEPTH, -5, "too_deep", "term nested deeper than max_term_depth")                      \
    X(BRAIN_EELEMENTS, -6, "too_many_elements", "term with more than max_term_elements elements")  \
    X(BRAIN_EBADID, -7, "bad_id", "not an id: 1 to 1024 bytes of binary, string, atom or integer") \
    X(BRAIN_EREQUEST, -8, "bad_request", "not a request this node knows")                          \
    X(BRAIN_EAUTH, -9, "auth", "wrong cookie")                                                     \
    X(BRAIN_EFLAGS, -10, "flags", "the peer lacks required distribution flags")                    \
    X(BRAIN_EREFUSED, -11, "refused", "the peer refused the connection")                           \
    X(BRAIN_ETIMEOUT, -12, "timeout", "not done in time")                                          \
    X(BRAIN_EWAREHOUSE, -13, "warehouse", "the warehouse failed or is out of reach")               \
    X(BRAIN_ECORRUPT, -14, "corrupt", "the stored object is damaged or not ours")                  \
    X(BRAIN_ECONFLICT, -15, "conflict", "the warehouse holds a newer version")                     \
    X(BRAIN_ESHUTDOWN, -16, "shutdown", "the node is shutting down")                               \
    X(BRAIN_ECONFIG, -17, "config", "bad configuration")                                           \
    X(BRAIN_EIO, -18, "io", "an input or output operation failed")                                 \
    X(BRAIN_ENOTSUP, -19, "notsup", "not supported")                                               \
    X(BRAIN_ECLOSED, -20, "closed", "the peer closed the connection")                              \
    X(BRAIN_ENOENT, -21, "not_found", "not there")                                                 \
    X(BRAIN_EJOURNAL, -22, "journal", "the journal cannot be written")                             \
    X(BRAIN_EOVERLOAD, -23, "overloaded", "over the memory limit, and the warehouse is too slow")  \
    X(BRAIN_EUNAVAILABLE, -24, "unavailable", "not a member of the cluster at the moment")         \
    X(BRAIN_EUNKNOWN, -25, "unknown", "whether the write took effect is not known")

#define BRAIN_ERROR_ENUM(name, value, atom, sentence) name = (value),
enum brain_error { BRAIN_ERRORS(BRAIN_ERROR_ENUM) };
#undef BRAIN_ERROR_ENUM

/* The sentence for `error`, without a full stop; "unknown error" for a number that is none. */
const char *error_sentence(int error);

/* The atom for `error`, as sent in `{error, Reason}`. */
const char *error_atom(int error);

#endif
