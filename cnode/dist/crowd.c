#include "crowd.h"

bool crowd_note(struct crowd *crowd, uint64_t messages, uint64_t senders, uint64_t now_ns)
{
    crowd->messages += messages;
    crowd->senders |= senders;
    const uint64_t elapsed = now_ns - crowd->begin_ns;
    if (elapsed < CROWD_WINDOW_NS)
        return crowd->present;
    const uint64_t count = (uint64_t)__builtin_popcountll(crowd->senders);
    const uint64_t asked = crowd->messages * CROWD_INTERVAL_NS; /* by `elapsed`: per interval */
    crowd->present = count >= CROWD_SENDERS && asked >= elapsed * CROWD_MESSAGES &&
                     asked <= elapsed * count * 2 / 3;
    crowd->begin_ns = now_ns;
    crowd->messages = crowd->senders = 0;
    return crowd->present;
}
