/* What the tests of one node share: the node, and that nothing of it is left behind. */
#ifndef NODE_ALONE_H
#define NODE_ALONE_H

#include "node_fixture.h"

extern struct seen_node seen;

void set_up(void);
void tear_down(void);
void start_plain(void);

#endif
