/* The handshake against byte dumps of real nodes, against itself, and against everything broken. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "brain/handshake.h"
#include "heap_fault.h"
#include "suite.h"

static const char node_name[] = "brain@localhost";
static const char cookie_text[] = "secret";

static struct handshake_options acceptor_options(void)
{
    return (struct handshake_options){
        .role = HANDSHAKE_ACCEPTOR,
        .node = slice_of_string(node_name),
        .cookie = slice_of_string(cookie_text),
        .flags = DFLAGS_OFFERED,
        .creation = 0x6b00f764,
        .challenge = 0x55828aad,
        .dynamic_name = 7,
        .length_bytes = 2,
    };
}

static struct handshake_options initiator_options(void)
{
    struct handshake_options options = acceptor_options();
    options.role = HANDSHAKE_INITIATOR;
    options.node = slice_of_string("tester@localhost");
    options.creation = 0x6b00f765;
    options.challenge = 0xf1c156c4;
    options.flags = UINT64_C(0xd07df7fbd);
    options.peer = slice_of_string(node_name);
    return options;
}

/* Bytes from hex text; blanks are skipped. */
static struct slice hex(const char *text)
{
    static uint8_t store[8][4096];
    static unsigned turn;
    uint8_t *bytes = store[turn++ % 8];
    size_t size = 0;
    unsigned digits = 0, byte = 0;
    for (; *text != '\0'; text++) {
        if (*text == ' ')
            continue;
        char digit[2] = {*text, '\0'};
        byte = byte << 4 | (unsigned)strtoul(digit, NULL, 16);
        if (++digits % 2 == 0) {
            bytes[size++] = (uint8_t)byte;
            byte = 0;
        }
    }
    return slice_of(bytes, size);
}

static int feed(struct handshake *handshake, struct slice bytes, struct buffer *out)
{
    size_t consumed;
    return handshake_feed(handshake, bytes, &consumed, out);
}

#define assert_bytes(actual, expected_hex)                                                         \
    do {                                                                                           \
        struct slice actual_ = buffer_slice(actual), expected_ = hex(expected_hex);                \
        ck_assert_uint_eq(actual_.size, expected_.size);                                           \
        if (expected_.size != 0)                                                                   \
            ck_assert_mem_eq(actual_.data, expected_.data, expected_.size);                        \
    } while (0)

#define NAME_TESTER "001f 4e 0000000d07df7fbd 6b00f765 0010 746573746572406c6f63616c686f7374"
#define CHALLENGE_BRAIN                                                                            \
    "0022 4e 0000000407074f9c 55828aad 6b00f764 000f 627261696e406c6f63616c686f7374"
#define REPLY_TESTER "0015 72 f1c156c4 14f23ed73a2ccb2b03ae4c6b0cef296a"
#define ACK_BRAIN    "0011 61 b9c9b538fd75918281937dcab2321ea4"

/* ---- dumps of real nodes ----------------------------------------------------------------------
 */

START_TEST(digest_of_a_real_node)
{
    uint8_t digest[16];
    ck_assert(handshake_digest(slice_of_string("secret"), 0x55828aad, digest));
    ck_assert_mem_eq(digest, hex("14f23ed73a2ccb2b03ae4c6b0cef296a").data, 16);
    ck_assert(handshake_digest(slice_of_string("secret"), 0xf1c156c4, digest));
    ck_assert_mem_eq(digest, hex("b9c9b538fd75918281937dcab2321ea4").data, 16);
}
END_TEST

START_TEST(otp25_connects_to_us)
{
    struct handshake_options options = acceptor_options();
    options.flags = UINT64_C(0x407074f9c);
    struct handshake handshake;
    struct buffer out;
    buffer_init(&out);
    handshake_init(&handshake, &options, &out);
    ck_assert_uint_eq(out.size, 0);
    ck_assert_int_eq(feed(&handshake, hex(NAME_TESTER), &out), HANDSHAKE_MORE);
    assert_bytes(&out, "0003 73 6f6b" CHALLENGE_BRAIN);
    buffer_clear(&out);
    ck_assert_int_eq(feed(&handshake, hex(REPLY_TESTER), &out), HANDSHAKE_DONE);
    assert_bytes(&out, ACK_BRAIN);
    ck_assert_uint_eq(handshake.peer_name_size, 16);
    ck_assert_mem_eq(handshake.peer_name, "tester@localhost", 16);
    ck_assert_uint_eq(handshake.peer_creation, 0x6b00f765);
    ck_assert(handshake.peer_flags == UINT64_C(0xd07df7fbd));
    ck_assert(handshake.flags == UINT64_C(0x407074f9c));
    buffer_release(&out);
}
END_TEST

static bool is_dialling(void *context, struct slice peer)
{
    const char **asked = context;
    ck_assert_mem_eq(peer.data, "tester@localhost", peer.size);
    *asked = "asked";
    return true;
}

/* As between Erlang nodes: the connection of the greater name goes on. */
START_TEST(both_sides_dial)
{
    static const struct {
        const char *node;
        int result;
        const char *status;
    } rows[] = {
        {"brain@localhost", HANDSHAKE_MORE, "0010 73 6f6b5f73696d756c74616e656f7573"},
        {"tester@localhos", HANDSHAKE_MORE, "0010 73 6f6b5f73696d756c74616e656f7573"},
        {"tester@localhost2", BRAIN_EREFUSED, "0004 73 6e6f6b"},
        {"zebra@localhost", BRAIN_EREFUSED, "0004 73 6e6f6b"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct handshake_options options = acceptor_options();
        const char *asked = NULL;
        options.node = slice_of_string(rows[i].node);
        options.is_dialling = is_dialling;
        options.context = &asked;
        struct handshake acceptor, initiator;
        struct buffer out;
        buffer_init(&out);
        handshake_init(&acceptor, &options, &out);
        ck_assert_int_eq(feed(&acceptor, hex(NAME_TESTER), &out), rows[i].result);
        ck_assert_ptr_nonnull(asked);
        struct slice status = hex(rows[i].status);
        ck_assert_uint_ge(out.size, status.size);
        ck_assert_mem_eq(out.data, status.data, status.size);
        ck_assert(rows[i].result == HANDSHAKE_MORE || out.size == status.size);
        buffer_clear(&out);
        options = initiator_options();
        handshake_init(&initiator, &options, &out);
        ck_assert_int_eq(feed(&initiator, status, &out), rows[i].result);
        ck_assert_int_eq(initiator.gave_way, rows[i].result != HANDSHAKE_MORE);
        buffer_release(&out);
    }
}
END_TEST

START_TEST(elixir_and_otp29_connect_to_us)
{
    static const struct {
        uint64_t flags;
        uint32_t creation, challenge;
        const char *name, *challenge_packet, *reply, *ack;
    } dumps[] = {
        {UINT64_C(0xd07df5fbc), 0x6b00f76f, 0x0e17d508,
            "001b 4e 0000000d07df7fbd 6b00fa73 000c 6578406c6f63616c686f7374",
            "0022 4e 0000000d07df5fbc 0e17d508 6b00f76f 000f 627261696e406c6f63616c686f7374",
            "0015 72 403ce977 b0c7454e9d39a55f3b4a63fb9ee1a6ff",
            "0011 61 8500bead61b82ead90c8a0e6ce190d04"},
        {UINT64_C(0x2d07074fbc), 0x6b00f77a, 0x6cdd1446,
            "001d 4e 0000006d07df7fbd 6b00fc6e 000e 616c3239406c6f63616c686f7374",
            "0022 4e 0000002d07074fbc 6cdd1446 6b00f77a 000f 627261696e406c6f63616c686f7374",
            "0015 72 35c3052f a0f90ba52a6d5980dd3ac8dd1582786e",
            "0011 61 28fdcf75c2f2db5f275d05edbded18b1"},
    };
    for (size_t i = 0; i < sizeof(dumps) / sizeof(dumps[0]); i++) {
        struct handshake_options options = acceptor_options();
        options.flags = dumps[i].flags;
        options.creation = dumps[i].creation;
        options.challenge = dumps[i].challenge;
        struct handshake handshake;
        struct buffer out;
        buffer_init(&out);
        handshake_init(&handshake, &options, &out);
        ck_assert_int_eq(feed(&handshake, hex(dumps[i].name), &out), HANDSHAKE_MORE);
        struct slice challenge = hex(dumps[i].challenge_packet);
        ck_assert_uint_eq(out.size, 5 + challenge.size);
        ck_assert_mem_eq(out.data + 5, challenge.data, challenge.size);
        buffer_clear(&out);
        ck_assert_int_eq(feed(&handshake, hex(dumps[i].reply), &out), HANDSHAKE_DONE);
        assert_bytes(&out, dumps[i].ack);
        buffer_release(&out);
    }
}
END_TEST

START_TEST(we_connect_as_otp25_does)
{
    struct handshake_options options = initiator_options();
    struct handshake handshake;
    struct buffer out;
    buffer_init(&out);
    handshake_init(&handshake, &options, &out);
    assert_bytes(&out, NAME_TESTER);
    buffer_clear(&out);
    ck_assert_int_eq(feed(&handshake, hex("0003 73 6f6b"), &out), HANDSHAKE_MORE);
    ck_assert_uint_eq(out.size, 0);
    ck_assert_int_eq(feed(&handshake, hex(CHALLENGE_BRAIN), &out), HANDSHAKE_MORE);
    assert_bytes(&out, REPLY_TESTER);
    ck_assert_int_eq(feed(&handshake, hex(ACK_BRAIN), &out), HANDSHAKE_DONE);
    ck_assert_uint_eq(handshake.peer_creation, 0x6b00f764);
    ck_assert(handshake.flags == UINT64_C(0x407074f9c));
    ck_assert_mem_eq(handshake.peer_name, node_name, 15);
    buffer_release(&out);
}
END_TEST

/* OTP 23 and 24 without epmd: 6e 0005 01df7fbc ... -> N challenge -> 63 00000000 e8c70a66 -> 72 */
START_TEST(old_name_is_upgraded)
{
    struct handshake_options options = acceptor_options();
    options.flags = UINT64_C(0x407074f9c);
    struct handshake handshake;
    struct buffer out;
    buffer_init(&out);
    handshake_init(&handshake, &options, &out);
    struct slice name = hex("0017 6e 0005 01df7fbc 746573746572406c6f63616c686f7374");
    ck_assert_int_eq(feed(&handshake, name, &out), HANDSHAKE_MORE);
    assert_bytes(&out, "0003 73 6f6b" CHALLENGE_BRAIN);
    buffer_clear(&out);
    ck_assert_int_eq(feed(&handshake, hex("0009 63 0000000c e8c70a66"), &out), HANDSHAKE_MORE);
    ck_assert_uint_eq(out.size, 0);
    ck_assert_int_eq(feed(&handshake, hex(REPLY_TESTER), &out), HANDSHAKE_DONE);
    assert_bytes(&out, ACK_BRAIN);
    ck_assert_uint_eq(handshake.peer_creation, 0xe8c70a66);
    ck_assert(handshake.peer_flags == UINT64_C(0xc01df7fbc));
    ck_assert(handshake.flags == (UINT64_C(0xc01df7fbc) & UINT64_C(0x407074f9c)));
    buffer_release(&out);
}
END_TEST

/* 00 16 73 6e 61 6d 65 64 3a: named, and the flag must come back in the challenge. */
START_TEST(a_name_is_given_on_request)
{
    struct handshake_options options = acceptor_options();
    struct handshake handshake;
    struct buffer out;
    buffer_init(&out);
    handshake_init(&handshake, &options, &out);
    struct slice name = hex("0018 4e 0000000f07df7fbd 00000000 0009 6c6f63616c686f7374");
    ck_assert_int_eq(feed(&handshake, name, &out), HANDSHAKE_MORE);
    static const char given[] = "dyn6b00f764n7@localhost";
    size_t size = sizeof(given) - 1;
    ck_assert_uint_eq(load_be16(out.data), 1 + 6 + 2 + size + 4);
    ck_assert_mem_eq(out.data + 2, "snamed:", 7);
    ck_assert_uint_eq(load_be16(out.data + 9), size);
    ck_assert_mem_eq(out.data + 11, given, size);
    ck_assert_uint_eq(load_be32(out.data + 11 + size), handshake.peer_creation);
    ck_assert_uint_ge(handshake.peer_creation, 4);
    const uint8_t *challenge = out.data + 11 + size + 4;
    ck_assert_mem_eq(challenge, hex("0022 4e").data, 3);
    ck_assert(load_be64(challenge + 3) == (DFLAGS_OFFERED | DFLAG_NAME_ME));
    ck_assert_int_eq(feed(&handshake, hex(REPLY_TESTER), &out), HANDSHAKE_DONE);
    ck_assert_uint_eq(handshake.peer_name_size, size);
    ck_assert_mem_eq(handshake.peer_name, given, size);
    buffer_release(&out);
}
END_TEST

START_TEST(the_digest_bit_stands_for_all_required_flags)
{
    struct handshake_options options = acceptor_options();
    struct handshake handshake;
    struct buffer out;
    buffer_init(&out);
    handshake_init(&handshake, &options, &out);
    struct slice name = hex("001a 4e 0000000005000000 6b00f765 000b 61406c6f63616c686f7374");
    ck_assert_int_eq(feed(&handshake, name, &out), HANDSHAKE_MORE);
    ck_assert((handshake.flags & DFLAGS_REQUIRED) == DFLAGS_REQUIRED);
    ck_assert(!(handshake.flags & DFLAG_FRAGMENTS));
    buffer_release(&out);
}
END_TEST

/* ---- both roles against each other ------------------------------------------------------------
 */

/* Carries bytes between the two in chunks; returns the first error or DONE when both are done. */
static int converse(const struct handshake_options *a_options,
    const struct handshake_options *b_options, size_t chunk, struct handshake *a,
    struct handshake *b)
{
    struct buffer to_a, to_b, none;
    buffer_init(&to_a);
    buffer_init(&to_b);
    buffer_init(&none);
    handshake_init(b, b_options, &none);
    handshake_init(a, a_options, &to_b);
    size_t a_read = 0, b_read = 0;
    int a_result = buffer_status(&to_b), b_result = HANDSHAKE_MORE;
    for (int turns = 0; turns < 10000 && a_result >= 0 && b_result >= 0; turns++) {
        if (a_result == HANDSHAKE_DONE && b_result == HANDSHAKE_DONE)
            break;
        size_t consumed, left = to_b.size - b_read;
        b_result = handshake_feed(
            b, slice_of(to_b.data + b_read, left < chunk ? left : chunk), &consumed, &to_a);
        b_read += consumed;
        left = to_a.size - a_read;
        if (b_result < 0)
            break;
        a_result = handshake_feed(
            a, slice_of(to_a.data + a_read, left < chunk ? left : chunk), &consumed, &to_b);
        a_read += consumed;
    }
    buffer_release(&to_a);
    buffer_release(&to_b);
    return a_result < 0 ? a_result : b_result < 0 ? b_result : a_result & b_result;
}

START_TEST(both_roles_with_all_chunkings)
{
    for (unsigned length_bytes = 2; length_bytes <= 4; length_bytes += 2) {
        for (size_t chunk = 1; chunk < 80; chunk++) {
            struct handshake_options accept = acceptor_options(), initiate = initiator_options();
            accept.length_bytes = initiate.length_bytes = length_bytes;
            struct handshake a, b;
            ck_assert_int_eq(converse(&initiate, &accept, chunk, &a, &b), HANDSHAKE_DONE);
            ck_assert(a.flags == b.flags && a.flags == (DFLAGS_OFFERED & accept.flags));
            ck_assert_uint_eq(a.peer_creation, accept.creation);
            ck_assert_uint_eq(b.peer_creation, initiate.creation);
        }
    }
}
END_TEST

START_TEST(what_follows_the_handshake_is_left_alone)
{
    struct handshake_options options = acceptor_options();
    struct handshake handshake;
    struct buffer out;
    buffer_init(&out);
    handshake_init(&handshake, &options, &out);
    struct slice bytes = hex(NAME_TESTER REPLY_TESTER "00000000 ffff");
    size_t consumed;
    ck_assert_int_eq(handshake_feed(&handshake, bytes, &consumed, &out), HANDSHAKE_DONE);
    ck_assert_uint_eq(consumed, bytes.size - 6);
    ck_assert_int_eq(handshake_feed(&handshake, bytes, &consumed, &out), HANDSHAKE_DONE);
    ck_assert_uint_eq(consumed, 0);
    buffer_release(&out);
}
END_TEST

START_TEST(wrong_cookie_either_way)
{
    struct handshake_options accept = acceptor_options(), initiate = initiator_options();
    initiate.cookie = slice_of_string("secreT");
    struct handshake a, b;
    ck_assert_int_eq(converse(&initiate, &accept, 1000, &a, &b), BRAIN_EAUTH);
    ck_assert_ptr_nonnull(strstr(handshake_error(&b), "cookie"));
    ck_assert_ptr_null(strstr(handshake_error(&b), "secre"));

    /* The initiator hears a digest made with another cookie. */
    struct buffer out;
    buffer_init(&out);
    initiate = initiator_options();
    handshake_init(&a, &initiate, &out);
    ck_assert_int_eq(feed(&a, hex("0003 73 6f6b" CHALLENGE_BRAIN), &out), HANDSHAKE_MORE);
    struct slice bad_ack = hex("0011 61 b9c9b538fd75918281937dcab2321ea5");
    ck_assert_int_eq(feed(&a, bad_ack, &out), BRAIN_EAUTH);
    /* It stays refused, whatever comes after. */
    ck_assert_int_eq(feed(&a, hex(ACK_BRAIN), &out), BRAIN_EAUTH);
    buffer_release(&out);
}
END_TEST

START_TEST(status_of_the_peer)
{
    static const struct {
        const char *packet;
        int result;
        const char *answer;
    } cases[] = {
        {"0003 73 6f6b", HANDSHAKE_MORE, ""},
        {"0010 73 6f6b5f73696d756c74616e656f7573", HANDSHAKE_MORE, ""},
        {"0006 73 616c697665", HANDSHAKE_MORE, "0005 73 74727565"},
        {"0004 73 6e6f6b", BRAIN_EREFUSED, ""},
        {"000c 73 6e6f745f616c6c6f776564", BRAIN_EREFUSED, ""},
        {"0016 73 6e616d65643a 0009 64796e34313740766d 01234567", BRAIN_EPROTO, ""},
        {"0001 73", BRAIN_EPROTO, ""},
        {"0004 73 6f6b00", BRAIN_EPROTO, ""},
        {"0003 72 6f6b", BRAIN_EPROTO, ""},
        {"0000", BRAIN_EPROTO, ""},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct handshake_options options = initiator_options();
        struct handshake handshake;
        struct buffer out;
        buffer_init(&out);
        handshake_init(&handshake, &options, &out);
        buffer_clear(&out);
        ck_assert_int_eq(feed(&handshake, hex(cases[i].packet), &out), cases[i].result);
        assert_bytes(&out, cases[i].answer);
        buffer_release(&out);
    }
}
END_TEST

/* ---- everything broken ------------------------------------------------------------------------
 */

static void expect_first_packet(const char *packet, int result, const char *answer)
{
    struct handshake_options options = acceptor_options();
    struct handshake handshake;
    struct buffer out;
    buffer_init(&out);
    handshake_init(&handshake, &options, &out);
    int got = feed(&handshake, hex(packet), &out);
    ck_assert_msg(got == result, "%s: %d, not %d", packet, got, result);
    if (answer != NULL)
        assert_bytes(&out, answer);
    buffer_release(&out);
}

START_TEST(malformed_names)
{
    static const char *const packets[] = {
        "0000",                                              /* empty */
        "0001 4e",                                           /* a tag alone */
        "000e 4e 0000000d07df7fbd 6b00f765 00",              /* cut in NameLength */
        "000f 4e 0000000d07df7fbd 6b00f765 0000",            /* no name */
        "0012 4e 0000000d07df7fbd 6b00f765 0004 614062",     /* name longer than it is */
        "0012 4e 0000000d07df7fbd 6b00f765 ffff 614062",     /* much longer */
        "0012 4e 0000000d07df7fbd 6b00f765 0003 616263",     /* no host */
        "0012 4e 0000000d07df7fbd 6b00f765 0003 406162",     /* nothing before @ */
        "0012 4e 0000000d07df7fbd 6b00f765 0003 616240",     /* nothing after @ */
        "0014 4e 0000000d07df7fbd 6b00f765 0005 6140624063", /* two @ */
        "0012 4e 0000000d07df7fbd 6b00f765 0003 6140ff",     /* not UTF-8 */
        "0013 4e 0000000d07df7fbd 6b00f765 0004 6140c385",   /* fine, see below */
        "0013 4e 0000000d07df7fbd 6b00f765 0004 6140c285",   /* C1 control */
        "0013 4e 0000000d07df7fbd 6b00f765 0004 61400a62",   /* line break */
        "0013 4e 0000000d07df7fbd 6b00f765 0004 61407f62",   /* DEL */
        "0013 4e 0000000d07df7fbd 6b00f765 0004 61400062",   /* NUL */
        "0012 4e 0000000f07df7fbd 00000000 0003 614062",     /* NAME_ME with a full name */
        "000f 4e 0000000f07df7fbd 00000000 0000",            /* NAME_ME without host */
        "0005 6e 0005 01df",                                 /* old, cut */
        "0007 6e 0005 01df7fbc",                             /* old, no name */
        "000a 6e 0004 01df7fbc 614062",                      /* version 4 */
        "0012 4d 0000000d07df7fbd 6b00f765 0003 614062",     /* unknown tag */
        "0003 73 6f6b",                                      /* a status */
        "0015 72 f1c156c4 14f23ed73a2ccb2b03ae4c6b0cef296a", /* a reply */
    };
    for (size_t i = 0; i < sizeof(packets) / sizeof(packets[0]); i++) {
        bool fine = strstr(packets[i], "c385") != NULL;
        expect_first_packet(packets[i], fine ? HANDSHAKE_MORE : BRAIN_EPROTO, fine ? NULL : "");
    }
}
END_TEST

START_TEST(names_of_255_characters_and_more)
{
    for (size_t characters = 255; characters <= 256; characters++) {
        uint8_t packet[1024] = {0};
        size_t name_size = characters * 2 - 1; /* all but the @ take two bytes */
        store_be16(packet, (uint16_t)(15 + name_size));
        packet[2] = 'N';
        store_be64(packet + 3, DFLAGS_OFFERED);
        store_be16(packet + 15, (uint16_t)name_size);
        for (size_t i = 0; i < characters - 1; i++)
            memcpy(packet + 17 + 2 * i + (i > 9), "\xc3\xa9", 2);
        packet[17 + 20] = '@';
        struct handshake_options options = acceptor_options();
        struct handshake handshake;
        struct buffer out;
        buffer_init(&out);
        handshake_init(&handshake, &options, &out);
        ck_assert_int_eq(feed(&handshake, slice_of(packet, 17 + name_size), &out),
            characters == 255 ? HANDSHAKE_MORE : BRAIN_EPROTO);
        buffer_release(&out);
    }
}
END_TEST

START_TEST(bytes_after_the_name_are_ignored)
{
    expect_first_packet(
        "0015 4e 0000000d07df7fbd 6b00f765 0003 614062 aabbcc", HANDSHAKE_MORE, NULL);
}
END_TEST

START_TEST(refusals_that_the_peer_hears)
{
#define NOT_ALLOWED "000c 73 6e6f745f616c6c6f776564"
    /* without MAP_TAG */
    expect_first_packet("0012 4e 0000000d03dd7fbd 6b00f765 0003 614062", BRAIN_EFLAGS, NOT_ALLOWED);
    /* version 5 that cannot be upgraded: no HANDSHAKE_23, with and without the digest bit */
    expect_first_packet("000a 6e 0005 00df7fbc 614062", BRAIN_EFLAGS, NOT_ALLOWED);
    expect_first_packet("000a 6e 0005 04df7fbc 614062", BRAIN_EFLAGS, NOT_ALLOWED);
    /* our own name */
    expect_first_packet("001e 4e 0000000d07df7fbd 6b00f765 000f 627261696e406c6f63616c686f7374",
        BRAIN_EREFUSED, NOT_ALLOWED);
}
END_TEST

START_TEST(malformed_second_packets)
{
    static const char *const packets[] = {
        "0000",
        "0001 72",
        "0014 72 f1c156c4 14f23ed73a2ccb2b03ae4c6b0cef29",
        "0016 72 f1c156c4 14f23ed73a2ccb2b03ae4c6b0cef296a 00",
        "0015 61 f1c156c4 14f23ed73a2ccb2b03ae4c6b0cef296a",
        "0009 63 0000000c e8c70a66",
        NAME_TESTER,
    };
    for (size_t i = 0; i < sizeof(packets) / sizeof(packets[0]); i++) {
        struct handshake_options options = acceptor_options();
        struct handshake handshake;
        struct buffer out;
        buffer_init(&out);
        handshake_init(&handshake, &options, &out);
        ck_assert_int_eq(feed(&handshake, hex(NAME_TESTER), &out), HANDSHAKE_MORE);
        buffer_clear(&out);
        ck_assert_int_eq(feed(&handshake, hex(packets[i]), &out), BRAIN_EPROTO);
        ck_assert_uint_eq(out.size, 0);
        buffer_release(&out);
    }
    /* An old name must be completed first. */
    static const char *const complements[] = {REPLY_TESTER, "0008 63 0000000c e8c70a", "0000"};
    for (size_t i = 0; i < sizeof(complements) / sizeof(complements[0]); i++) {
        struct handshake_options options = acceptor_options();
        struct handshake handshake;
        struct buffer out;
        buffer_init(&out);
        handshake_init(&handshake, &options, &out);
        ck_assert_int_eq(
            feed(&handshake, hex("000a 6e 0005 01df7fbc 614062"), &out), HANDSHAKE_MORE);
        ck_assert_int_eq(feed(&handshake, hex(complements[i]), &out), BRAIN_EPROTO);
        buffer_release(&out);
    }
}
END_TEST

START_TEST(malformed_challenges_and_acks)
{
    static const struct {
        const char *packet;
        int result;
    } cases[] = {
        {"0000", BRAIN_EPROTO},
        {"0001 4e", BRAIN_EPROTO},
        {"0022 4e 0000000407074f9c 55828aad 6b00f764 0010 627261696e406c6f63616c686f7374",
            BRAIN_EPROTO},
        {"0022 4e 0000000407074f9c 55828aad 6b00f764 000f 627261696e616c6f63616c686f7374",
            BRAIN_EPROTO},
        {"0022 4e 0000000407074f9c 55828aad 6b00f764 000f 627261696f406c6f63616c686f7374",
            BRAIN_EREFUSED},
        {"0022 4e 0000000403054f9c 55828aad 6b00f764 000f 627261696e406c6f63616c686f7374",
            BRAIN_EFLAGS},
        {"001a 6e 0005 01df7fbc 55828aad 627261696e406c6f63616c686f7374", BRAIN_EFLAGS},
        {"0003 73 6f6b", BRAIN_EPROTO},
        {"0024 4e 0000000407074f9c 55828aad 6b00f764 000f 627261696e406c6f63616c686f7374 0000",
            HANDSHAKE_MORE},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct handshake_options options = initiator_options();
        struct handshake handshake;
        struct buffer out;
        buffer_init(&out);
        handshake_init(&handshake, &options, &out);
        ck_assert_int_eq(feed(&handshake, hex("0003 73 6f6b"), &out), HANDSHAKE_MORE);
        int got = feed(&handshake, hex(cases[i].packet), &out);
        ck_assert_msg(got == cases[i].result, "%s: %d", cases[i].packet, got);
        if (got == HANDSHAKE_MORE)
            ck_assert_int_eq(feed(&handshake, hex("0010 61 b9c9b538fd75918281937dcab2321e"), &out),
                BRAIN_EPROTO);
        buffer_release(&out);
    }
}
END_TEST

START_TEST(too_large_is_refused_by_its_length_alone)
{
    expect_first_packet("07ff", BRAIN_ETOOBIG, "");
    expect_first_packet("07fe", HANDSHAKE_MORE, "");
    expect_first_packet("ffff", BRAIN_ETOOBIG, "");
    struct handshake_options options = acceptor_options();
    options.length_bytes = 4;
    struct handshake handshake;
    struct buffer out;
    buffer_init(&out);
    handshake_init(&handshake, &options, &out);
    ck_assert_int_eq(feed(&handshake, hex("ffffffff"), &out), BRAIN_ETOOBIG);
    buffer_release(&out);
}
END_TEST

/* Every prefix of a good stream waits; every flipped bit gives an answer and reads nothing past. */
START_TEST(every_prefix_and_every_flipped_bit)
{
    struct slice whole = hex(NAME_TESTER REPLY_TESTER);
    for (size_t size = 0; size < whole.size; size++) {
        struct handshake_options options = acceptor_options();
        struct handshake handshake;
        struct buffer out;
        buffer_init(&out);
        handshake_init(&handshake, &options, &out);
        uint8_t *copy = malloc(size + 1); /* so that the sanitizer sees a read past the end */
        memcpy(copy, whole.data, size);
        ck_assert_int_eq(feed(&handshake, slice_of(copy, size), &out), HANDSHAKE_MORE);
        free(copy);
        buffer_release(&out);
    }
    for (size_t bit = 0; bit < whole.size * 8; bit++) {
        struct handshake_options options = acceptor_options();
        struct handshake handshake;
        struct buffer out;
        buffer_init(&out);
        handshake_init(&handshake, &options, &out);
        uint8_t *copy = malloc(whole.size);
        memcpy(copy, whole.data, whole.size);
        copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
        int result = feed(&handshake, slice_of(copy, whole.size), &out);
        /* the digest covers only the cookie and our challenge: its own bits must matter */
        if (bit / 8 >= whole.size - 16)
            ck_assert_int_eq(result, BRAIN_EAUTH);
        free(copy);
        buffer_release(&out);
    }
}
END_TEST

START_TEST(no_memory_is_reported)
{
    for (unsigned n = 1;; n++) {
        struct handshake_options accept = acceptor_options(), initiate = initiator_options();
        struct handshake a, b;
        heap_fault_start(n);
        int result = converse(&initiate, &accept, 7, &a, &b);
        bool failed = heap_fault_stop();
        ck_assert_int_eq(result, failed ? BRAIN_ENOMEM : HANDSHAKE_DONE);
        if (!failed) {
            ck_assert_uint_gt(n, 2);
            break;
        }
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dist/handshake");
    TCase *dumps = tcase_create("dumps of real nodes");
    tcase_add_test(dumps, digest_of_a_real_node);
    tcase_add_test(dumps, otp25_connects_to_us);
    tcase_add_test(dumps, elixir_and_otp29_connect_to_us);
    tcase_add_test(dumps, both_sides_dial);
    tcase_add_test(dumps, we_connect_as_otp25_does);
    tcase_add_test(dumps, old_name_is_upgraded);
    tcase_add_test(dumps, a_name_is_given_on_request);
    tcase_add_test(dumps, the_digest_bit_stands_for_all_required_flags);
    suite_add_tcase(suite, dumps);
    TCase *roles = tcase_create("both roles");
    tcase_add_test(roles, both_roles_with_all_chunkings);
    tcase_add_test(roles, what_follows_the_handshake_is_left_alone);
    tcase_add_test(roles, wrong_cookie_either_way);
    tcase_add_test(roles, status_of_the_peer);
    suite_add_tcase(suite, roles);
    TCase *broken = tcase_create("broken");
    tcase_add_test(broken, malformed_names);
    tcase_add_test(broken, names_of_255_characters_and_more);
    tcase_add_test(broken, bytes_after_the_name_are_ignored);
    tcase_add_test(broken, refusals_that_the_peer_hears);
    tcase_add_test(broken, malformed_second_packets);
    tcase_add_test(broken, malformed_challenges_and_acks);
    tcase_add_test(broken, too_large_is_refused_by_its_length_alone);
    tcase_add_test(broken, every_prefix_and_every_flipped_bit);
    tcase_add_test(broken, no_memory_is_reported);
    suite_add_tcase(suite, broken);
    return suite_run(suite);
}
