/* etf: the Erlang external term format, read with bounds, written, printed and parsed.
 *
 * Source of every tag and layout: ERTS user's guide, "External Term Format". Terms inside
 * distribution messages carry no version byte (131) once framing has been removed; functions here
 * work on terms without it unless they say so.
 *
 * Nothing here recurses, reads past its slice, or allocates in proportion to a claimed length. */
#ifndef BRAIN_ETF_H
#define BRAIN_ETF_H

#include "brain/base.h"

enum etf_tag {
    ETF_VERSION = 131,
    ETF_SMALL_INTEGER = 97,
    ETF_INTEGER = 98,
    ETF_FLOAT = 99,
    ETF_ATOM = 100,
    ETF_REFERENCE = 101,
    ETF_PORT = 102,
    ETF_PID = 103,
    ETF_SMALL_TUPLE = 104,
    ETF_LARGE_TUPLE = 105,
    ETF_NIL = 106,
    ETF_STRING = 107,
    ETF_LIST = 108,
    ETF_BINARY = 109,
    ETF_SMALL_BIG = 110,
    ETF_LARGE_BIG = 111,
    ETF_NEW_FUN = 112,
    ETF_EXPORT = 113,
    ETF_NEW_REFERENCE = 114,
    ETF_SMALL_ATOM = 115,
    ETF_MAP = 116,
    ETF_ATOM_UTF8 = 118,
    ETF_SMALL_ATOM_UTF8 = 119,
    ETF_V4_PORT = 120,
    ETF_NEW_PID = 88,
    ETF_NEW_PORT = 89,
    ETF_NEWER_REFERENCE = 90,
    ETF_NEW_FLOAT = 70,
    ETF_BIT_BINARY = 77,
};

struct etf_limits {
    uint32_t max_depth;    /* containers within containers; a flat term has depth 0 */
    uint64_t max_elements; /* terms in one term, all levels together, itself included */
};

/* ---- scanner: is this one well-formed term within the limits? -------------------------------
 *
 * Resumable in both directions: it stops when the bytes that are here end (more may come: a term
 * is checked while its fragments arrive) and when a budget of work is used up (no turn of the
 * owner's loop checks for longer than a few milliseconds). Depth is kept on a stack of its own that
 * grows on the heap up to max_depth.
 *
 * Marks: while it scans, the scanner notes where large subterms near the root begin and end, so
 * that a reader steps over a value of 20 MB without looking at it a second time. */
enum { ETF_MARKS = 16, ETF_MARK_DEPTH = 5, ETF_MARK_MIN_BYTES = 4096 };

struct etf_mark {
    size_t begin, end; /* offsets from the first byte of the scanned term */
};
struct etf_marks {
    uint32_t count;
    struct etf_mark mark[ETF_MARKS];
};

/* Private: one container that is still open. */
struct etf_level {
    uint64_t remaining; /* terms still to come in it */
    size_t fun_end;     /* where a fun said it ends; 0: not a fun */
};
enum { ETF_INLINE_LEVELS = 6 };

/* May be moved in memory between calls (it holds no pointer into itself). */
struct etf_scanner {
    struct etf_limits limits;
    /* Next byte to look at, from the first byte of the term. Lies beyond the bytes given so far
     * when a long binary, string or integer has begun: it is stepped over by its length. */
    size_t offset;
    uint64_t elements; /* announced so far: the root and what every container claims to hold */
    struct etf_marks marks;
    /* private */
    struct etf_level current;                /* the innermost open container */
    struct etf_level *levels;                /* those around it, outermost first; heap */
    struct etf_level few[ETF_INLINE_LEVELS]; /* used until `levels` is needed */
    uint32_t depth, capacity;
    size_t mark_begin[ETF_MARK_DEPTH + 1];
    bool done;
    int error;
};

enum etf_progress { ETF_DONE = 0, ETF_NEED_BYTES = 1, ETF_NEED_BUDGET = 2 };

void etf_scanner_init(struct etf_scanner *scanner, struct etf_limits limits);
void etf_scanner_release(struct etf_scanner *scanner);

/* Goes on checking the term whose first `bytes.size` bytes are now here (`bytes` always begins at
 * the term's first byte, may move and grow between calls, and may be followed by other data once
 * the term is complete). Looks at no more than `budget` elements in this call (UINT64_MAX: no
 * bound).
 *
 * Returns ETF_DONE: the term is complete and ends at scanner->offset. ETF_NEED_BYTES: good so far,
 * ends later; at the end of a message that means it is cut. ETF_NEED_BUDGET: call again. Or
 * BRAIN_ETERM (unknown tag, bad UTF-8 in an atom, atom over 255 characters, non-atom where an atom
 * must be, inconsistent fun), BRAIN_EDEPTH, BRAIN_EELEMENTS (a claim of more elements than limits,
 * refused at the claim), BRAIN_ENOMEM: the same again on every later call.
 *
 * Equal keys in a map are accepted (binary_to_term refuses them): finding them takes memory and
 * time in proportion to the map. */
int etf_scan(struct etf_scanner *scanner, struct slice bytes, uint64_t budget);

/* etf_scan of a term that is here as a whole. `*size`: its length in bytes. BRAIN_ETERM when cut.
 */
int etf_check(struct slice bytes, struct etf_limits limits, size_t *size);

/* ---- reader: a cursor over one term ----------------------------------------------------------
 *
 * Every function returns 0 and moves on, or a negative error and leaves the cursor alone. Slices
 * point into the input. */
struct etf_reader {
    const uint8_t *base, *at, *end;
    const struct etf_marks *marks; /* of a scan that began at `base`; NULL: none */
    struct etf_limits limits;
};

void etf_reader_init(struct etf_reader *reader, struct slice bytes, struct etf_limits limits);
static inline bool etf_at_end(const struct etf_reader *reader)
{
    return reader->at == reader->end;
}
/* The tag of the next term, or -1 at the end. */
static inline int etf_peek(const struct etf_reader *reader)
{
    return reader->at < reader->end ? *reader->at : -1;
}
int etf_read_tuple(struct etf_reader *reader, uint32_t *arity);
/* LIST_EXT: `*length` heads follow, then a tail. NIL: length 0 and nothing follows, not even a
 * tail. */
int etf_read_list(struct etf_reader *reader, uint32_t *length);
int etf_read_map(struct etf_reader *reader, uint32_t *pairs);
/* UTF-8 text of an atom in any of its four forms. A Latin-1 atom with a byte >= 0x80 is refused
 * with BRAIN_ETERM here (it cannot be borrowed as UTF-8); etf_skip accepts it. */
int etf_read_atom(struct etf_reader *reader, struct slice *text);
/* true when the next term is the atom `text`; moves past it only then. */
bool etf_take_atom(struct etf_reader *reader, const char *text);
int etf_read_binary(struct etf_reader *reader, struct slice *bytes);
/* Unsigned and signed 64-bit integers in any form (97, 98, 110, 111). BRAIN_ETERM when outside. */
int etf_read_uint64(struct etf_reader *reader, uint64_t *number);
int etf_read_int64(struct etf_reader *reader, int64_t *number);
/* A pid, or a reference, whole (tag included), for sending it back verbatim. */
int etf_read_pid(struct etf_reader *reader, struct slice *term);
int etf_read_reference(struct etf_reader *reader, struct slice *term);
/* Any term, checked against the limits, as its raw bytes. */
int etf_read_term(struct etf_reader *reader, struct slice *term);
int etf_skip(struct etf_reader *reader);

/* The parts of a pid term made by etf_read_pid. */
struct etf_pid {
    struct slice node; /* UTF-8 */
    uint32_t id, serial, creation;
};
int etf_pid_parts(struct slice term, struct etf_pid *pid);

/* ---- ids ------------------------------------------------------------------------------------
 *
 * The id rule (docs/protocol.md, "Ids"): binary -> its bytes; atom -> its UTF-8; charlist
 * (STRING_EXT or a proper list of code points 0..0x10FFFF without surrogates) -> UTF-8 of the code
 * points, except that a list of bytes <= 255 that is already valid UTF-8 with a byte >= 0x80 is
 * taken as bytes; integer of any size -> its decimal text; empty and everything else ->
 * BRAIN_EBADID. */
enum { ID_LIMIT = 1024 };

/* Reads one term as an id into `text` (ID_LIMIT bytes, not terminated) and its length. Always moves
 * past the term when it is well formed, also when it is no id. Returns 0, BRAIN_EBADID (no id, or
 * longer than ID_LIMIT), or the error of etf_skip. */
int etf_read_id(struct etf_reader *reader, uint8_t text[ID_LIMIT], size_t *size);

/* ---- writer: appends to a buffer; failure is sticky there -------------------------------------
 */
void etf_write_version(struct buffer *out);
void etf_write_tuple(struct buffer *out, uint32_t arity);
void etf_write_list(struct buffer *out, uint32_t length); /* then the heads, then etf_write_nil */
void etf_write_nil(struct buffer *out);
void etf_write_map(struct buffer *out, uint32_t pairs);
void etf_write_atom(struct buffer *out, const char *text); /* UTF-8, at most 255 characters */
void etf_write_atom_slice(struct buffer *out, struct slice text);
void etf_write_binary(struct buffer *out, struct slice bytes);
void etf_write_uint64(struct buffer *out, uint64_t number); /* as Erlang does: 97, 98 or 110 */
/* The same at a place with room for ETF_UINT64_BYTES. Returns where it ends. */
enum { ETF_UINT64_BYTES = 11 };
uint8_t *etf_put_uint64(uint8_t *at, uint64_t number);
void etf_write_int64(struct buffer *out, int64_t number);
void etf_write_double(struct buffer *out, double number);
void etf_write_pid(
    struct buffer *out, struct slice node, uint32_t id, uint32_t serial, uint32_t creation);
void etf_write_reference(struct buffer *out, struct slice node, uint32_t creation,
    const uint32_t *words, unsigned count);

/* ---- text ------------------------------------------------------------------------------------ */

/* Prints the term at the start of `term` as Erlang would (~tp without line breaks), UTF-8, cut with
 * "..." at about `limit` bytes. Never fails on malformed input: what cannot be read is printed as
 * `<<malformed>>`. For logs and consoles. */
void etf_print(struct buffer *out, struct slice term, size_t limit);

/* Parses one Erlang term (atoms, integers with any base, floats, "strings", <<"binaries">>,
 * <<1,2:16>> is not supported beyond bytes, {tuples}, [lists|tails], #{maps => 1}, $c characters,
 * trailing '.' optional) into the external format without version byte. Depth is limited by
 * `limits`. On failure returns BRAIN_ETERM (or BRAIN_ENOMEM) and sets `*error_at` (offset in
 * `text`) and
 * `*error_text` (static sentence). */
int etf_parse(struct buffer *out, struct slice text, struct etf_limits limits, size_t *error_at,
    const char **error_text);

#endif
