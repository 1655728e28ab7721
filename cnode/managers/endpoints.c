#include "endpoints.h"

#include <stdio.h>
#include <string.h>

static const char host_letters[] =
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._:[]";

static bool is_url(const char *url)
{
    size_t scheme = strncmp(url, "http://", 7) == 0 ? 7 : strncmp(url, "https://", 8) == 0 ? 8 : 0;
    return scheme > 0 && url[scheme] != '\0' &&
           url[scheme + strspn(url + scheme, host_letters)] == '\0';
}

int endpoints_parse(struct endpoints *endpoints, const char *list, char *why, size_t why_size)
{
    endpoints->count = 0;
    for (const char *p = list; *p != '\0';) {
        p += strspn(p, " \t,");
        size_t size = strcspn(p, ",");
        const char *next = p + size;
        while (size > 0 && (p[size - 1] == ' ' || p[size - 1] == '\t'))
            size--;
        if (size > 0 && p[size - 1] == '/')
            size--;
        if (size == 0) {
            p = next;
            continue;
        }
        if (endpoints->count == ENDPOINTS_LIMIT) {
            snprintf(why, why_size, "manager_servers has more than %d servers", ENDPOINTS_LIMIT);
            return BRAIN_ECONFIG;
        }
        char *url = endpoints->urls[endpoints->count++];
        snprintf(url, ENDPOINT_TEXT, "%.*s", (int)(size < ENDPOINT_TEXT ? size : ENDPOINT_TEXT), p);
        if (size >= ENDPOINT_TEXT || !is_url(url)) {
            snprintf(why, why_size,
                "manager_servers: \"%.60s\" is not a URL like http://host:2379, without a path",
                url);
            return BRAIN_ECONFIG;
        }
        p = next;
    }
    if (endpoints->count > 0)
        return 0;
    snprintf(why, why_size, "manager_servers names no server");
    return BRAIN_ECONFIG;
}

void endpoint_succeeded(struct endpoint_turn *turn)
{
    turn->failures = 0;
    turn->again_ms = 0;
}

void endpoint_failed(struct endpoint_turn *turn, unsigned count, uint64_t now_ms, uint64_t random)
{
    turn->at = (turn->at + 1) % count;
    turn->failures++;
    if (turn->failures % count != 0)
        return;
    unsigned rounds = turn->failures / count;
    uint64_t pause = ENDPOINTS_PAUSE_MAX_MS;
    if (rounds <= 4)
        pause = (uint64_t)ENDPOINTS_PAUSE_MIN_MS << (rounds - 1);
    turn->again_ms = now_ms + pause - pause / 4 + random % (pause / 2 + 1);
}
