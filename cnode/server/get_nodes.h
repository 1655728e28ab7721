/* get_nodes: `{get_nodes, Pid}` sent to `manager`, as programs of the first Brain ask for the nodes
 * there are; answered to Pid by `[{Name, Pid}]`. */
#ifndef BRAIN_SERVER_GET_NODES_H
#define BRAIN_SERVER_GET_NODES_H

#include "brain/node.h"
#include "members.h"

#define GET_NODES_NAME "manager"

/* `members` NULL: this node is alone. Anything but that request is ignored, as it always was. */
void get_nodes_message(struct node *node, const struct members *members, connection_id from,
    const struct channel_message *message);

#endif
