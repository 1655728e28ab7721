/* Fuzzes the parsing of requests: the shortcut and the general way agree, whatever the bytes. The
 * first byte chooses the limits. */
#include <stdlib.h>

#include "../lib/command_agree.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    const struct etf_limits limits = {data[0] & 7, data[0] & 8 ? 100000 : data[0] >> 4};
    bool taken;
    if (!command_agree(slice_of(data + 1, size - 1), limits, &taken))
        abort();
    /* And as the server does, refused messages included. */
    static struct command command;
    int error = command_parse(&command, slice_of(data + 1, size - 1), NULL, limits, 0);
    if (error == 0 && command.id.size > ID_LIMIT)
        abort();
    command_parse(&command, slice_of(data + 1, size - 1), NULL, limits, BRAIN_EDEPTH);
    return 0;
}
