/* syntax_view: shows where a typed term is wrong. */
#ifndef BRAIN_CONSOLE_SYNTAX_VIEW_H
#define BRAIN_CONSOLE_SYNTAX_VIEW_H

#include <stdio.h>

#include "brain/base.h"

/* Prints the part of `text` around the offset `at`, on one line, and a caret under that place. */
void syntax_view_print(FILE *out, struct slice text, size_t at);

#endif
