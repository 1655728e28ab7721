/* Private to the parser: its cursor over the text, shared by structure (parse.c) and by what stands
 * within it (parse_token.c). */
#ifndef ETF_PARSE_H
#define ETF_PARSE_H

#include "term.h"

struct parse_text {
    const uint8_t *begin, *at, *end;
    const char *error; /* static sentence; NULL: none so far */
    const uint8_t *error_at;
};

/* Notes the first error; `at`: where in the text. Always false. */
bool parse_fail(struct parse_text *text, const uint8_t *at, const char *sentence);

/* The byte `ahead` places from the cursor, or -1 beyond the end. */
static inline int parse_peek(const struct parse_text *text, size_t ahead)
{
    return (size_t)(text->end - text->at) > ahead ? text->at[ahead] : -1;
}

/* Past white space and comments. */
void parse_blank(struct parse_text *text);
/* Past `token`, when it is next. */
bool parse_take(struct parse_text *text, const char *token);

/* A number, or $c: into `out` as a term. */
bool parse_number(struct parse_text *text, struct buffer *out);
bool parse_atom(struct parse_text *text, struct buffer *out);
bool parse_binary(struct parse_text *text, struct buffer *out);
/* "...": appends its code points, 32 bits each in the machine's order, to `points`. */
bool parse_string(struct parse_text *text, struct buffer *points);

#endif
