/* What the files of the device side of distribution share.
 *
 *   node.c             opening, readiness, clock, closing
 *   node_listen.c      the listening socket, accepting
 *   connection.c       one socket and its channel: reading, writing, closing
 *   connection_table.c connections by id, by channel and by peer name
 *   node_clocked.c     connections that are read by the clock
 *   dialler.c          the nodes of connect_nodes, and members */
#ifndef NODE_PRIVATE_H
#define NODE_PRIVATE_H

#include "brain/epmd.h"
#include "brain/node.h"
#include "crowd.h"

enum {
    NODE_ADDRESS_TEXT = 80, /* [IPv6]:port */
    NODE_SENTENCE = 512,
    NODE_SCRATCH = 128 << 10,
    NODE_RANDOM_POOL = 64,
    NODE_LINK_RESERVE = 64, /* connections above max_connections whose name is still to be known */
};

struct dial;

/* ---- connection -------------------------------------------------------------------------------
 */
struct index_link {
    struct connection *next;
    uint64_t hash;
    bool in;
};
enum { INDEX_CHANNEL, INDEX_NAME, INDEX_COUNT };

struct connection {
    struct node *node;
    connection_id id;
    struct channel *channel;
    struct dial *dial; /* NULL: the peer connected to us */
    uv_poll_t poll;
    int fd;
    int armed; /* UV_READABLE | UV_WRITABLE as polled for now */
    bool up, closing;
    bool blocked;    /* the socket takes no more, or this turn's share is used up */
    bool unfinished; /* the channel asked to be called again: nothing is read meanwhile */
    bool dirty;
    bool bulk;          /* large values arrive: little is read behind one */
    bool dense;         /* many small messages: few kB are read at once */
    bool mute;          /* sending failed: only what the peer sent before is still read */
    bool member;        /* node_mark_link */
    bool both_dial;     /* the peer dialled while it was being dialled */
    const char *ending; /* to be closed, and why; NULL: no */
    bool clocked;       /* read by the clock, not when there is something to read */
    struct crowd crowd;
    struct connection *next_clocked;
    struct connection *next_dirty;
    struct connection *next_unfinished;
    struct index_link links[INDEX_COUNT];
    char address[NODE_ADDRESS_TEXT];
};

/* Takes `fd` over, a connected non-blocking socket, also when it returns NULL (no memory). */
struct connection *connection_open(struct node *node, int fd, enum handshake_role role,
    struct slice peer, const struct sockaddr_storage *address, struct dial *dial);
/* Sends what the socket takes. May close the connection. */
void connection_flush(struct connection *connection);
void connection_mark_dirty(struct connection *connection);
/* Closes it when that can be done: not while it is being fed. */
void connection_end(struct connection *connection, const char *why);
void connection_mark_member(struct connection *connection);
/* Forgets the peer at once; the memory goes when the loop has closed the handle. */
void connection_close(struct connection *connection);
/* The node is closing: say goodbye, close as soon as everything is sent. */
void connection_leave(struct connection *connection);
/* Reads what is there, and answers it. May close the connection. */
void connection_read(struct connection *connection);
void connection_clock(struct connection *connection, uint64_t now_ms);

/* ---- tables -----------------------------------------------------------------------------------
 *
 * An id is index + 1 in its lower half and the slot's generation in its upper half. The two hash
 * tables are chained through the connections; they double when full, and when there is no memory
 * for that, their chains get longer. */
struct connection_slot {
    struct connection *connection;
    uint32_t generation;
    uint32_t next_free; /* index + 1 */
};

struct connection_index {
    struct connection **buckets; /* a power of two */
    size_t size, count;
};

struct connection_table {
    struct connection_slot *slots;
    uint32_t slots_used, slots_size;
    uint32_t first_free; /* index + 1; 0: none */
    uint32_t count;
    struct connection_index indexes[INDEX_COUNT];
    uint64_t seed; /* of the hashes: names are chosen by peers */
};

int connection_table_init(struct connection_table *table, uint64_t seed);
void connection_table_release(struct connection_table *table);
/* Gives the connection its id. BRAIN_ENOMEM. */
int connection_table_add(struct connection_table *table, struct connection *connection);
void connection_table_remove(struct connection_table *table, struct connection *connection);
struct connection *connection_table_find(const struct connection_table *table, connection_id id);
/* By slot, for walks; NULL where there is none. */
static inline struct connection *connection_table_at(
    const struct connection_table *table, uint32_t index)
{
    return table->slots[index].connection;
}
void connection_table_add_channel(struct connection_table *table, struct connection *connection);
void connection_table_add_name(struct connection_table *table, struct connection *connection);
struct connection *connection_table_by_channel(
    const struct connection_table *table, const struct channel *channel);
struct connection *connection_table_by_name(
    const struct connection_table *table, struct slice name);
/* The same, but none whose peer is simple: PHP workers may have any name. */
struct connection *connection_table_node(const struct connection_table *table, struct slice name);

/* ---- node -------------------------------------------------------------------------------------
 */
enum node_state { NODE_STARTING, NODE_READY, NODE_FAILED, NODE_CLOSING };

struct node {
    uv_loop_t *loop;
    struct node_options options;
    struct node_events events;
    struct node_metrics metrics;
    struct budget buffers; /* of all connections together */
    enum node_state state;
    unsigned handles; /* handles and requests of the loop that still point here */
    void (*closed)(void *context);
    uint32_t grace_ms;
    uint64_t grace_end_ms;

    uv_timer_t clock;
    uv_timer_t closing; /* from node_close to the end of the grace time */
    uv_prepare_t before_poll;
    uv_check_t after_poll;
    uv_idle_t unfinished_idle; /* active while a channel asked to be called again */

    uv_getaddrinfo_t resolve;
    char port_text[8];
    bool resolving, listen_ended;
    int listen_fd;  /* -1: not listening */
    int reserve_fd; /* given up to accept and refuse when descriptors run out */
    uv_poll_t listen_poll;
    bool listen_poll_open, listen_paused, descriptors_ran_out;
    int listen_error;
    uint16_t port;
    uint64_t refused_since_log;
    struct epmd_registration *registration;
    char alive[NODE_NAME_LIMIT + 1];

    struct connection_table connections;
    struct connection *dirty;      /* has something to send at the end of this turn */
    struct connection *unfinished; /* to be fed again in the next turn */
    struct connection *clocked;    /* read when clocked_fd says so, every CROWD_INTERVAL_NS */
    int clocked_fd;
    uv_poll_t clocked_poll;
    struct connection *current; /* whose bytes are being fed right now */
    struct dial *dials;
    size_t dials_count;
    uint32_t members; /* connections that are links to members */
    uint32_t random[NODE_RANDOM_POOL];
    unsigned random_left;
    char sentence[NODE_SENTENCE];
    uint8_t scratch[NODE_SCRATCH];
};

uint32_t node_random(struct node *node);
/* Says why once, and calls on_failed. */
void node_fail(struct node *node, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* To be called when a handle or request of the node is gone, and when a connection is: the last
 * one ends a node that is closing. */
void node_handle_closed(struct node *node);
void node_finish_if_closed(struct node *node);
/* The listening socket is there. */
void node_listening(struct node *node);
/* "127.0.0.1:4711" */
void node_address_text(const struct sockaddr_storage *address, char out[NODE_ADDRESS_TEXT]);

/* ---- listening --------------------------------------------------------------------------------
 */
/* Resolves and binds; then node_listening or node_fail. An error of libuv. */
int listen_begin(struct node *node);
/* Accepts from now on. */
void listen_accept(struct node *node);
void listen_end(struct node *node);
/* Once a second: says what was refused, tries again after descriptors ran out. */
void listen_clock(struct node *node);

/* ---- reading by the clock ---------------------------------------------------------------------
 */
int clocked_open(struct node *node); /* BRAIN_EIO, BRAIN_ENOMEM */
void clocked_close(struct node *node, uv_close_cb closed);
/* Reading by the clock begins or ends; connection_flush takes note of it. */
void connection_set_clocked(struct connection *connection, bool clocked);

/* ---- dialling ---------------------------------------------------------------------------------
 */
int dialler_init(struct node *node); /* BRAIN_ENOMEM */
void dialler_start(struct node *node);
void dialler_stop(struct node *node); /* abandons attempts; handles close later */
void dialler_release(struct node *node);
/* Once a second: forgets members that nobody asks for any more. */
void dialler_clock(struct node *node);
/* Was a link to this node asked for lately? */
bool dialler_knows(const struct node *node, struct slice name);
/* Is a connection to this member in its handshake, and has not been for too long? */
bool dialler_shakes_hands(const struct node *node, struct slice name);
/* A link to a member that is up: dial_lost will not say why it ended. */
bool dial_is_quiet(const struct dial *dial);
void dial_up(struct dial *dial);
/* The dialled connection is gone, with a sentence on why. */
void dial_lost(struct dial *dial, const char *why);
/* The same, because the peer's own connection to us goes on. */
void dial_gives_way(struct dial *dial, const char *why);

/* Non-blocking, close-on-exec, without delay, with keep-alive: all that both sides of a
 * distribution socket share. */
void node_tune_socket(int fd);

#endif
