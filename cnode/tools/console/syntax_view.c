#include "syntax_view.h"

#include <string.h>
#include <wchar.h>

/* Of a long term only so many bytes before and after the place are shown. */
enum { BYTES_BEFORE = 60, BYTES_AFTER = 20 };

/* Not within a UTF-8 sequence: the next offset, from `at` on, where a character begins. */
static size_t character_at(struct slice text, size_t at)
{
    while (at < text.size && (text.data[at] & 0xc0) == 0x80)
        at++;
    return at;
}

/* Prints characters on one line (a tab or line end takes one column, as a space does) and returns
 * how many columns they take. */
static int print_line(FILE *out, struct slice text)
{
    int columns = 0;
    mbstate_t state;
    memset(&state, 0, sizeof(state));
    for (size_t at = 0; at < text.size;) {
        wchar_t character;
        const char *bytes = (const char *)text.data + at;
        size_t size = mbrtowc(&character, bytes, text.size - at, &state);
        int width = size > 0 && size <= text.size - at ? wcwidth(character) : -1;
        if (width < 0) { /* a control character, or no UTF-8 */
            memset(&state, 0, sizeof(state));
            size = size > 0 && size <= text.size - at ? size : 1;
            width = 1;
            fputc(' ', out);
        } else {
            fwrite(bytes, 1, size, out);
        }
        columns += width;
        at += size;
    }
    return columns;
}

void syntax_view_print(FILE *out, struct slice text, size_t at)
{
    if (at > text.size)
        at = text.size;
    size_t begin = at > BYTES_BEFORE ? character_at(text, at - BYTES_BEFORE) : 0;
    size_t end = text.size - at > BYTES_AFTER ? character_at(text, at + BYTES_AFTER) : text.size;
    const char *cut = begin > 0 ? "..." : "";
    fprintf(out, "  %s", cut);
    int column = 2 + (int)strlen(cut) + print_line(out, slice_of(text.data + begin, at - begin));
    print_line(out, slice_of(text.data + at, end - at));
    fprintf(out, "%s\n%*s^\n", end < text.size ? "..." : "", column, "");
}
