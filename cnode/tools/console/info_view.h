/* info_view: the map that answers `info`, laid out for a person. */
#ifndef BRAIN_CONSOLE_INFO_VIEW_H
#define BRAIN_CONSOLE_INFO_VIEW_H

#include <stdbool.h>
#include <stdio.h>

#include "brain/base.h"

/* Prints one line per key, maps within as indented groups. false (nothing printed): not a map. */
bool info_view_print(FILE *out, struct slice map);

#endif
