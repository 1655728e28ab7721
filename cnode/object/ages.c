#include "ages.h"

#include <assert.h>
#include <string.h>

void ages_init(struct ages *ages)
{
    memset(ages, 0, sizeof(*ages));
}

uint64_t ages_oldest_ms(const struct ages *ages, uint64_t now_ms)
{
    uint64_t start_ms = ages->start_ms[ages->oldest];
    return ages->total > 0 && now_ms > start_ms ? now_ms - start_ms : 0;
}

uint8_t ages_enter(struct ages *ages, uint64_t now_ms)
{
    if (ages->total == 0) {
        ages->newest = ages->oldest;
        ages->start_ms[ages->newest] = now_ms;
    } else {
        uint64_t newest_ms = ages->start_ms[ages->newest];
        uint64_t gap_ms = now_ms > newest_ms ? now_ms - newest_ms : 0;
        uint8_t following = (uint8_t)(ages->newest + 1);
        if (gap_ms > ages_oldest_ms(ages, now_ms) / 128 && following != ages->oldest) {
            ages->newest = following;
            ages->start_ms[following] = now_ms;
        }
    }
    ages->total++;
    ages->count[ages->newest]++;
    return ages->newest;
}

void ages_leave(struct ages *ages, uint8_t group)
{
    assert(ages->count[group] > 0);
    ages->count[group]--;
    ages->total--;
    while (ages->oldest != ages->newest && ages->count[ages->oldest] == 0)
        ages->oldest++;
}
