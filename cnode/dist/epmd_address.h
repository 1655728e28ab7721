/* A numeric address and a port as a socket address; for both of epmd's clients. */
#ifndef EPMD_ADDRESS_H
#define EPMD_ADDRESS_H

#include <uv.h>

static inline int epmd_socket_address(
    const char *address, uint16_t port, struct sockaddr_storage *out)
{
    if (uv_ip4_addr(address, port, (struct sockaddr_in *)out) == 0)
        return 0;
    return uv_ip6_addr(address, port, (struct sockaddr_in6 *)out);
}

#endif
