/* epmd's packets against byte dumps, and both clients against an epmd played by this test. */
#include <check.h>
#include <string.h>

#include "brain/epmd.h"
#include "brain/log.h"
#include "heap_fault.h"
#include "suite.h"

/* ---- packets ----------------------------------------------------------------------------------
 */

START_TEST(register_request_bytes)
{
    /* As a hidden node of OTP 25 sends it, but for the lowest version. */
    static const uint8_t expected[] = {0x00, 0x12, 0x78, 0xa2, 0x93, 0x48, 0x00, 0x00, 0x06, 0x00,
        0x05, 0x00, 0x05, 'b', 'r', 'a', 'i', 'n', 0x00, 0x00};
    struct buffer out;
    buffer_init(&out);
    epmd_write_register(&out, slice_of_string("brain"), 0xa293);
    ck_assert_uint_eq(out.size, sizeof(expected));
    ck_assert_mem_eq(out.data, expected, sizeof(expected));
    buffer_release(&out);
}
END_TEST

START_TEST(register_answers)
{
    static const struct {
        uint8_t bytes[8];
        size_t size;
        uint32_t creation;
    } accepted[] = {
        {{0x76, 0x00, 0x6b, 0x00, 0xf7, 0x64}, 6, 0x6b00f764},
        {{0x79, 0x00, 0x00, 0x02}, 4, 2},
    };
    for (size_t i = 0; i < 2; i++) {
        uint32_t creation = 0;
        for (size_t size = 0; size < accepted[i].size; size++)
            ck_assert_int_eq(epmd_read_register(slice_of(accepted[i].bytes, size), &creation), 1);
        ck_assert_int_eq(
            epmd_read_register(slice_of(accepted[i].bytes, accepted[i].size), &creation), 0);
        ck_assert_uint_eq(creation, accepted[i].creation);
    }
    uint32_t creation;
    static const uint8_t taken[] = {0x76, 0x01, 0x00, 0x00, 0x00, 0x63};
    ck_assert_int_eq(epmd_read_register(slice_of(taken, 6), &creation), BRAIN_EREFUSED);
    ck_assert_int_eq(epmd_read_register(slice_of("HTTP/1.1", 8), &creation), BRAIN_EPROTO);
}
END_TEST

START_TEST(lookup_bytes)
{
    static const uint8_t request[] = {0x00, 0x06, 0x7a, 'b', 'r', 'a', 'i', 'n'};
    struct buffer out;
    buffer_init(&out);
    epmd_write_lookup(&out, slice_of_string("brain"));
    ck_assert_uint_eq(out.size, sizeof(request));
    ck_assert_mem_eq(out.data, request, sizeof(request));
    buffer_release(&out);

    static const uint8_t answer[] = {0x77, 0x00, 0xa2, 0x93, 0x48, 0x00, 0x00, 0x06, 0x00, 0x05,
        0x00, 0x05, 'b', 'r', 'a', 'i', 'n', 0x00, 0x00};
    uint16_t port = 0;
    for (size_t size = 0; size < 8; size++)
        ck_assert_int_eq(epmd_read_lookup(slice_of(answer, size), &port), 1);
    ck_assert_int_eq(epmd_read_lookup(slice_of(answer, sizeof(answer)), &port), 0);
    ck_assert_uint_eq(port, 0xa293);

    uint8_t old[sizeof(answer)];
    memcpy(old, answer, sizeof(old));
    old[7] = 5;
    ck_assert_int_eq(epmd_read_lookup(slice_of(old, sizeof(old)), &port), BRAIN_EPROTO);
    ck_assert_int_eq(epmd_read_lookup(slice_of("\x77\x01", 2), &port), BRAIN_ENOENT);
    ck_assert_int_eq(epmd_read_lookup(slice_of("\x76\x00", 2), &port), BRAIN_EPROTO);
}
END_TEST

/* ---- an epmd of our own -----------------------------------------------------------------------
 */

struct fake_epmd {
    uv_tcp_t listener;
    uv_tcp_t peers[16];
    size_t peers_count;
    uint16_t port;
    const uint8_t *answer; /* to every request; NULL: silence */
    size_t answer_size;
    uint8_t request[64];
    size_t request_size;
    unsigned requests;
};

static uv_loop_t loop;
static struct fake_epmd fake;

static void fake_allocate(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
    (void)handle, (void)suggested;
    *buffer = uv_buf_init((char *)fake.request, sizeof(fake.request));
}

static void fake_read(uv_stream_t *stream, ssize_t size, const uv_buf_t *buffer)
{
    (void)buffer;
    if (size < 0) {
        uv_close((uv_handle_t *)stream, NULL);
        return;
    }
    fake.request_size = (size_t)size;
    fake.requests++;
    uv_buf_t answer = uv_buf_init((char *)(uintptr_t)fake.answer, (unsigned)fake.answer_size);
    if (fake.answer != NULL)
        ck_assert_int_eq(uv_try_write(stream, &answer, 1), (int)fake.answer_size);
}

static void fake_accept(uv_stream_t *listener, int status)
{
    ck_assert_int_eq(status, 0);
    ck_assert_uint_lt(fake.peers_count, sizeof(fake.peers) / sizeof(fake.peers[0]));
    uv_tcp_t *peer = &fake.peers[fake.peers_count++];
    uv_tcp_init(&loop, peer);
    ck_assert_int_eq(uv_accept(listener, (uv_stream_t *)peer), 0);
    uv_read_start((uv_stream_t *)peer, fake_allocate, fake_read);
}

/* On `port`, or on a free one when it is 0. */
static void fake_start(uint16_t port, const void *answer, size_t answer_size)
{
    struct sockaddr_in address;
    memset(&fake, 0, sizeof(fake));
    fake.answer = answer;
    fake.answer_size = answer_size;
    uv_ip4_addr("127.0.0.1", port, &address);
    uv_tcp_init(&loop, &fake.listener);
    ck_assert_int_eq(uv_tcp_bind(&fake.listener, (struct sockaddr *)&address, 0), 0);
    ck_assert_int_eq(uv_listen((uv_stream_t *)&fake.listener, 16, fake_accept), 0);
    int size = sizeof(address);
    uv_tcp_getsockname(&fake.listener, (struct sockaddr *)&address, &size);
    fake.port = ntohs(address.sin_port);
}

static void fake_stop(void)
{
    uv_close((uv_handle_t *)&fake.listener, NULL);
    for (size_t i = 0; i < fake.peers_count; i++)
        if (!uv_is_closing((uv_handle_t *)&fake.peers[i]))
            uv_close((uv_handle_t *)&fake.peers[i], NULL);
    uv_run(&loop, UV_RUN_NOWAIT);
}

/* One that is due when uv_run begins rings before it looks how long to wait: without uv_stop, for
 * whatever comes next, perhaps nothing. */
static void timer_rings(uv_timer_t *timer)
{
    *(bool *)timer->data = true;
    uv_stop(timer->loop);
}

/* Runs the loop until `*flag`, at most `limit_ms`. Returns the milliseconds it took. */
static uint64_t run_until(const bool *flag, uint64_t limit_ms)
{
    bool late = false;
    uv_timer_t timer;
    uv_timer_init(&loop, &timer);
    timer.data = &late;
    uv_timer_start(&timer, timer_rings, limit_ms, 0);
    uint64_t start = uv_hrtime();
    while (!late && !(flag != NULL && *flag))
        uv_run(&loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&timer, NULL);
    uv_run(&loop, UV_RUN_NOWAIT);
    return (uv_hrtime() - start) / 1000000;
}

struct seen {
    bool registered, refused, looked_up, started;
    unsigned times_registered, times_started;
    uint32_t creation;
    int status;
    uint16_t port;
};

static void on_registered(void *context, uint32_t creation)
{
    struct seen *seen = context;
    seen->registered = true;
    seen->times_registered++;
    seen->creation = creation;
}

static void on_refused(void *context, int error)
{
    struct seen *seen = context;
    seen->refused = true;
    seen->status = error;
}

static void on_start(void *context)
{
    struct seen *seen = context;
    seen->started = true;
    seen->times_started++;
}

static struct epmd_registration *begin(struct seen *seen, uint16_t port)
{
    return epmd_register(&loop, "127.0.0.1", port, "brain", 4711,
        (struct epmd_events){seen, on_registered, on_refused, on_start});
}

static const uint8_t accept_answer[] = {0x76, 0x00, 0x6b, 0x00, 0xf7, 0x64};

static void set_up(void)
{
    ck_assert_int_eq(uv_loop_init(&loop), 0);
}

/* Everything must be closed by now, or the loop says busy. */
static void tear_down(void)
{
    uv_run(&loop, UV_RUN_DEFAULT);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
}

START_TEST(registers_and_registers_again)
{
    struct seen seen = {0};
    fake_start(0, accept_answer, sizeof(accept_answer));
    uint16_t port = fake.port;
    struct epmd_registration *registration = begin(&seen, port);
    ck_assert_ptr_nonnull(registration);
    run_until(&seen.registered, 3000);
    ck_assert(seen.registered);
    ck_assert_uint_eq(seen.creation, 0x6b00f764);
    ck_assert(epmd_is_registered(registration));
    ck_assert_uint_eq(fake.request_size, 20);

    /* epmd dies, stays away a little, and comes back with another creation. */
    fake_stop();
    run_until(NULL, 300);
    ck_assert(!epmd_is_registered(registration));
    static const uint8_t next_answer[] = {0x76, 0x00, 0x6b, 0x00, 0xf7, 0x65};
    fake_start(port, next_answer, sizeof(next_answer));
    uint64_t start = uv_hrtime();
    while (!epmd_is_registered(registration) && uv_hrtime() - start < UINT64_C(5000000000))
        run_until(NULL, 10);
    ck_assert(epmd_is_registered(registration));
    ck_assert_uint_le((uv_hrtime() - start) / 1000000, 2000);
    ck_assert_uint_eq(fake.requests, 1);
    ck_assert_uint_eq(seen.times_registered, 1); /* a creation in use never changes */
    ck_assert_uint_eq(seen.creation, 0x6b00f764);
    epmd_unregister(registration);
    fake_stop();
}
END_TEST

START_TEST(starts_an_epmd_where_none_is)
{
    struct seen seen = {0};
    fake_start(0, accept_answer, sizeof(accept_answer));
    uint16_t port = fake.port;
    fake_stop();
    struct epmd_registration *registration = begin(&seen, port);
    run_until(&seen.started, 3000);
    ck_assert(seen.started);
    run_until(NULL, 2500); /* more attempts, but not two more epmds */
    ck_assert_uint_eq(seen.times_started, 1);
    ck_assert(!seen.registered && !seen.refused);
    fake_start(port, accept_answer, sizeof(accept_answer));
    run_until(&seen.registered, 2000);
    ck_assert(seen.registered);
    epmd_unregister(registration);
    fake_stop();
}
END_TEST

START_TEST(a_taken_name_is_reported_once)
{
    static const uint8_t taken[] = {0x76, 0x01, 0x00, 0x00, 0x00, 0x63};
    struct seen seen = {0};
    fake_start(0, taken, sizeof(taken));
    struct epmd_registration *registration = begin(&seen, fake.port);
    run_until(&seen.refused, 4000);
    ck_assert(seen.refused);
    ck_assert_int_eq(seen.status, BRAIN_EREFUSED);
    /* Asked more than once: the name of a killed predecessor needs a moment to go. */
    ck_assert_uint_ge(fake.requests, 2);
    epmd_unregister(registration);
    fake_stop();
}
END_TEST

START_TEST(unregisters_in_every_state)
{
    for (unsigned milliseconds = 0; milliseconds < 12; milliseconds++) {
        struct seen seen = {0};
        fake_start(0, accept_answer, milliseconds % 3 == 0 ? 2 : sizeof(accept_answer));
        struct epmd_registration *registration = begin(&seen, fake.port);
        for (unsigned turns = 0; turns < milliseconds; turns++)
            run_until(NULL, 1);
        epmd_unregister(registration);
        bool before = seen.registered;
        run_until(NULL, 5);
        ck_assert(seen.registered == before);
        fake_stop();
    }
    struct seen seen = {0};
    ck_assert_ptr_null(epmd_register(&loop, "no address", 1, "brain", 1,
        (struct epmd_events){&seen, on_registered, on_refused, NULL}));
}
END_TEST

static void on_port(void *context, int status, uint16_t port)
{
    struct seen *seen = context;
    ck_assert(!seen->looked_up);
    seen->looked_up = true;
    seen->status = status;
    seen->port = port;
}

START_TEST(looks_up)
{
    static const uint8_t there[] = {
        0x77, 0x00, 0xa2, 0x93, 0x48, 0x00, 0x00, 0x06, 0x00, 0x05, 0x00, 0x01, 'x', 0x00, 0x00};
    static const struct {
        const uint8_t *answer;
        size_t size;
        int status;
        uint16_t port;
    } cases[] = {
        {there, sizeof(there), 0, 0xa293},
        {(const uint8_t *)"\x77\x01", 2, BRAIN_ENOENT, 0},
        {(const uint8_t *)"SSH-2.0", 7, BRAIN_EPROTO, 0},
        {NULL, 0, BRAIN_ETIMEOUT, 0},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct seen seen = {0};
        fake_start(0, cases[i].answer, cases[i].size);
        ck_assert_ptr_nonnull(
            epmd_lookup_start(&loop, "127.0.0.1", fake.port, "brain", 300, on_port, &seen));
        ck_assert(!seen.looked_up);
        run_until(&seen.looked_up, 3000);
        ck_assert(seen.looked_up);
        ck_assert_int_eq(seen.status, cases[i].status);
        ck_assert_uint_eq(seen.port, cases[i].port);
        fake_stop();
        if (i != 0)
            continue;
        /* Nobody listens there any more. */
        uint16_t port = fake.port;
        seen = (struct seen){0};
        epmd_lookup_start(&loop, "127.0.0.1", port, "brain", 300, on_port, &seen);
        run_until(&seen.looked_up, 3000);
        ck_assert_int_eq(seen.status, BRAIN_EIO);
        seen = (struct seen){0};
        epmd_lookup_cancel(
            epmd_lookup_start(&loop, "127.0.0.1", port, "brain", 300, on_port, &seen));
        run_until(NULL, 20);
        ck_assert(!seen.looked_up);
    }
}
END_TEST

START_TEST(no_memory_is_reported)
{
    struct seen seen = {0};
    for (unsigned n = 1;; n++) {
        heap_fault_start(n);
        struct epmd_registration *registration = begin(&seen, 1);
        struct epmd_lookup *lookup =
            epmd_lookup_start(&loop, "127.0.0.1", 1, "brain", 100, on_port, &seen);
        if (registration != NULL)
            epmd_unregister(registration);
        if (lookup != NULL)
            epmd_lookup_cancel(lookup);
        uv_run(&loop, UV_RUN_DEFAULT);
        if (!heap_fault_stop()) {
            ck_assert_uint_gt(n, 3);
            break;
        }
        ck_assert(registration == NULL || lookup == NULL);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dist/epmd");
    TCase *packets = tcase_create("packets");
    tcase_add_test(packets, register_request_bytes);
    tcase_add_test(packets, register_answers);
    tcase_add_test(packets, lookup_bytes);
    suite_add_tcase(suite, packets);
    TCase *clients = tcase_create("clients");
    tcase_set_timeout(clients, 30);
    tcase_add_checked_fixture(clients, set_up, tear_down);
    tcase_add_test(clients, registers_and_registers_again);
    tcase_add_test(clients, starts_an_epmd_where_none_is);
    tcase_add_test(clients, a_taken_name_is_reported_once);
    tcase_add_test(clients, unregisters_in_every_state);
    tcase_add_test(clients, looks_up);
    tcase_add_test(clients, no_memory_is_reported);
    suite_add_tcase(suite, clients);
    return suite_run(suite);
}
