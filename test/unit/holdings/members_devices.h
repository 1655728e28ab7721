/* Inside of members: its network and warehouse, and values as text. */
#ifndef HOLDINGS_MEMBERS_DEVICES_H
#define HOLDINGS_MEMBERS_DEVICES_H

#include "members.h"

/* The head of a value: a binary of less than TEXT bytes. */
enum { TERM_HEAD = 5 };

/* Or it aborts. */
void *allocate(size_t size);
void set_text(char *to, const char *from);
void set_id(char *to, struct slice id);
void set_value(char *to, const struct value *value);
size_t term_of(uint8_t *term, const char *text);

/* Events of core and store; the context is the member. */
void on_send(void *context, const struct cluster_member *to, uint64_t order, struct slice head,
    const struct value *tail);
void on_load(void *context, struct object *object, struct slice id);
void on_dump(void *context, struct object *object, struct slice id, struct version version,
    const struct version *expected, const struct value *value);
void on_set_aside(
    void *context, struct slice id, struct version version, const struct value *value);

bool deliver_one(struct world *world);
struct kept *kept_of(const struct world *world, const char *id);
bool operate_one(struct world *world);

/* Answers an ask. */
void on_answer(
    void *context, struct cluster_request *request, int status, const struct value *value);

#endif
