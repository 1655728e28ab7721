/* Connections that are read by the clock: those with a crowd behind them (crowd.h).
 *
 * One timer for all of them, which runs only while there are any. They are not polled for reading
 * meanwhile, so that what comes wakes nobody up; everything else about them is as ever. */
#include <assert.h>
#include <errno.h>
#include <unistd.h>

#include <sys/timerfd.h>

#include "node_private.h"

static void set_timer(struct node *node, long interval_ns)
{
    const struct timespec interval = {0, interval_ns};
    const struct itimerspec setting = {interval, interval};
    /* Fails only for a descriptor that is no timer, or an interval that is none. */
    int status = timerfd_settime(node->clocked_fd, 0, &setting, NULL);
    assert(status == 0);
    (void)status;
}

static void on_timer(uv_poll_t *poll, int status, int events)
{
    struct node *node = poll->data;
    uint64_t expirations;
    (void)status, (void)events;
    ssize_t got = read(node->clocked_fd, &expirations, sizeof expirations);
    assert(got > 0 || errno == EAGAIN || errno == EINTR);
    (void)got;
    struct connection *next;
    for (struct connection *connection = node->clocked; connection != NULL; connection = next) {
        next = connection->next_clocked;
        connection_read(connection); /* may take it off the list, and close it */
    }
}

int clocked_open(struct node *node)
{
    node->clocked_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (node->clocked_fd < 0)
        return BRAIN_EIO;
    if (uv_poll_init(node->loop, &node->clocked_poll, node->clocked_fd) != 0) {
        close(node->clocked_fd);
        return BRAIN_ENOMEM;
    }
    node->clocked_poll.data = node;
    return 0;
}

void clocked_close(struct node *node, uv_close_cb closed)
{
    assert(node->clocked == NULL);
    uv_close((uv_handle_t *)&node->clocked_poll, closed);
    close(node->clocked_fd);
}

void connection_set_clocked(struct connection *connection, bool clocked)
{
    struct node *node = connection->node;
    if (connection->clocked == clocked)
        return;
    connection->clocked = clocked;
    if (clocked) {
        if (node->clocked == NULL) {
            set_timer(node, CROWD_INTERVAL_NS);
            uv_poll_start(&node->clocked_poll, UV_READABLE, on_timer);
        }
        node->metrics.crowds++;
        connection->next_clocked = node->clocked;
        node->clocked = connection;
        return;
    }
    struct connection **at = &node->clocked;
    while (*at != connection)
        at = &(*at)->next_clocked;
    *at = connection->next_clocked;
    if (node->clocked == NULL) {
        uv_poll_stop(&node->clocked_poll);
        set_timer(node, 0);
    }
}
