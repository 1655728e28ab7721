/* RAM for copies (docs/decisions/0019). A member that has hardly any left says so to all others,
 * and again while it lasts: their owners refuse writes that it would have to hold, before they take
 * effect, and hurry their dumps, which is what makes room here. What is under way meanwhile is
 * still taken, as long as it fits; what does not fit is not acknowledged, and offered again. */
#include "inside.h"

enum { TELL_AGAIN_MS = 1000, BELIEVED_MS = 3000 /* whatever is said, too */ };
/* Of a copy: what surrounds its value in the message that it is a part of, and in the allocator. */
enum { COPY_OVERHEAD = 192 };

uint64_t cluster_copies_memory(const struct cluster *c)
{
    return c->copies * (sizeof(struct copy) + COPY_OVERHEAD) + c->copies_bytes;
}

/* ---- the holder -------------------------------------------------------------------------------
 */

bool room_for(struct cluster *c, const struct message *message)
{
    const struct copy *copy = copy_find(c, id_key(c, message->id));
    if (!c->events.has_room || message->state == STATE_DELETED)
        return true;
    uint64_t bytes = sizeof(*copy) + COPY_OVERHEAD + message->value.size;
    if (message->state == STATE_NONE) {
        /* Who lacks it would be sent it: as large as what was refused last, perhaps. */
        return copy || c->events.has_room(c->events.context, bytes + c->room_wanted);
    }
    uint64_t before = copy ? copy->what.value.size : 0;
    if (copy && message->value.size <= before)
        return true;
    bytes -= copy ? sizeof(*copy) + COPY_OVERHEAD + before : 0;
    bool room = c->events.has_room(c->events.context, bytes);
    c->room_wanted = room ? 0 : bytes;
    c->metrics.copies_refused += !room;
    return room;
}

void cluster_set_full(struct cluster *c, bool full)
{
    c->room_untold |= c->full != full;
    c->full = full;
}

uint64_t room_advance(struct cluster *c)
{
    struct message room = {.kind = MESSAGE_ROOM, .number = c->full ? BELIEVED_MS : 0};
    if (!c->room_untold && !c->full)
        return UINT64_MAX;
    if (!c->room_untold && c->now_ms < c->room_told_ms + TELL_AGAIN_MS)
        return c->room_told_ms + TELL_AGAIN_MS - c->now_ms;
    for (uint16_t m = 0; m < c->view->count; m++) {
        if (m != c->view->self)
            send_message(c, m, &room);
    }
    c->room_untold = false;
    c->room_told_ms = c->now_ms;
    return c->full ? TELL_AGAIN_MS : UINT64_MAX;
}

/* ---- the owner --------------------------------------------------------------------------------
 */

void room_heard(struct cluster *c, uint16_t member, const struct message *message)
{
    uint64_t ms = message->number < BELIEVED_MS ? message->number : BELIEVED_MS;
    c->view->members[member].full_until_ms = ms > 0 ? c->now_ms + ms : 0;
}

void room_begin(struct cluster *c, const struct view *before)
{
    c->room_untold = c->full; /* there may be new members */
    for (uint16_t m = 0; before && m < c->view->count; m++) {
        int former = view_find(before, c->view->members[m].incarnation);
        if (former >= 0)
            c->view->members[m].full_until_ms = before->members[former].full_until_ms;
    }
}

bool cluster_has_room(const struct cluster *c, struct slice id, uint64_t now_ms)
{
    if (!c->view)
        return true;
    uint32_t slot = key_slot(id_key(c, id));
    for (uint16_t i = 0; i < c->view->holders; i++) {
        if (c->view->members[view_holder(c->view, slot, i)].full_until_ms > now_ms)
            return false;
    }
    return true;
}

uint32_t cluster_full_members(const struct cluster *c, uint64_t now_ms)
{
    uint32_t count = 0;
    for (uint16_t m = 0; c->view && m < c->view->count; m++)
        count += c->view->members[m].full_until_ms > now_ms;
    return count;
}
