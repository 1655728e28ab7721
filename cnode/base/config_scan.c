/* config_scan: a first look at a configuration text, before libconfuse (3.3) gets it.
 *
 * libconfuse counts a line too much for each comment, and its scanner is a global that stays inside
 * an unclosed quote or comment for whatever is parsed next. So comments are blanked out here, and
 * what never closes is refused here, with the line where it began. The token rules are those of
 * libconfuse's scanner (src/lexer.l). */
#include <string.h>

#include "config_private.h"

struct scanner {
    char *p;
    struct config_origin at;
    char *sentence;
};

/* Bytes that end an unquoted word. */
static bool ends_word(char c)
{
    return c == '\0' || strchr(" #\"'\t\n\r={}()+,*", c) != NULL;
}

static void count_lines(struct scanner *scanner, const char *end)
{
    for (const char *p = scanner->p; p < end; p++)
        scanner->at.line += *p == '\n';
}

static void blank_to(struct scanner *scanner, const char *end)
{
    count_lines(scanner, end);
    for (; scanner->p < end; scanner->p++)
        if (*scanner->p != '\n')
            *scanner->p = ' ';
}

static void skip_to(struct scanner *scanner, char *end)
{
    count_lines(scanner, end);
    scanner->p = end;
}

/* `${NAME}` or `${NAME:-default}`: libconfuse takes everything up to the brace, also quotes. */
static int skip_variable(struct scanner *scanner)
{
    char *end = strchr(scanner->p, '}');
    if (end == NULL)
        return config_refuse(
            scanner->sentence, scanner->at, NULL, "a \"${\" here is never closed by \"}\"");
    skip_to(scanner, end + 1);
    return 0;
}

static int skip_quoted(struct scanner *scanner, char quote)
{
    struct config_origin begin = scanner->at;
    int status = 0;

    for (scanner->p++; status == 0 && *scanner->p != quote;) {
        if (*scanner->p == '\0')
            return config_refuse(
                scanner->sentence, begin, NULL, "the quote that begins here is never closed");
        if (*scanner->p == '\\' && scanner->p[1] != '\0') {
            if (quote == '"' && scanner->p[1] >= '0' && scanner->p[1] <= '9')
                return config_refuse(scanner->sentence, scanner->at, NULL,
                    "a backslash before a digit: write \\\\ for a backslash, \\xHH for a byte");
            skip_to(scanner, scanner->p + 2);
        } else if (quote == '"' && strncmp(scanner->p, "${", 2) == 0) {
            status = skip_variable(scanner);
        } else {
            skip_to(scanner, scanner->p + 1);
        }
    }
    scanner->p += status == 0;
    return status;
}

static int scan_token(struct scanner *scanner)
{
    char *p = scanner->p;

    if (*p == '#' || strncmp(p, "//", 2) == 0) {
        blank_to(scanner, p + strcspn(p, "\n"));
        return 0;
    }
    if (strncmp(p, "/*", 2) == 0) {
        char *end = strstr(p + 2, "*/");
        if (end == NULL)
            return config_refuse(scanner->sentence, scanner->at, NULL,
                "the comment that begins here is never closed");
        blank_to(scanner, end + 2);
        return 0;
    }
    if (*p == '"' || *p == '\'')
        return skip_quoted(scanner, *p);
    if (strncmp(p, "${", 2) == 0)
        return skip_variable(scanner);
    /* libconfuse skips these without a word: `secret = abc*` would be read as abc. */
    if (*p == '*' || (*p == '+' && p[1] != '='))
        return config_refuse(
            scanner->sentence, scanner->at, NULL, "a value with \"%c\" must be in quotes", *p);
    if (ends_word(*p)) {
        skip_to(scanner, p + 1);
        return 0;
    }
    while (!ends_word(*scanner->p))
        scanner->p++;
    return 0;
}

int config_scan(char *text, const char *name, char *sentence)
{
    struct scanner scanner = {text, {name, 1}, sentence};
    int status = 0;

    while (status == 0 && *scanner.p != '\0')
        status = scan_token(&scanner);
    return status;
}
