/* The handshake against byte dumps of real nodes, and against itself. */
#include <string.h>

#include "handshake_fixture.h"
#include "suite.h"

/* ---- dumps of real nodes --------------------------------------------------------------------- */

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
    begin(&handshake, options, &out);
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
        begin(&acceptor, options, &out);
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
        begin(&handshake, options, &out);
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
    struct handshake handshake;
    struct buffer out;
    begin(&handshake, initiator_options(), &out);
    assert_bytes(&out, NAME_TESTER);
    buffer_clear(&out);
    ck_assert_int_eq(feed(&handshake, hex("0003 73 6f6b"), &out), HANDSHAKE_MORE);
    ck_assert_uint_eq(out.size, 0);
    ck_assert_int_eq(feed(&handshake, hex(CHALLENGE_BRAIN), &out), HANDSHAKE_MORE);
    assert_bytes(&out, REPLY_TESTER);
    ck_assert_int_eq(feed(&handshake, hex(ACK_BRAIN), &out), HANDSHAKE_DONE);
    ck_assert_uint_eq(handshake.peer_creation, 0x6b00f764);
    ck_assert(handshake.flags == UINT64_C(0x407074f9c));
    ck_assert_mem_eq(handshake.peer_name, "brain@localhost", 15);
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
    begin(&handshake, options, &out);
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
    struct handshake handshake;
    struct buffer out;
    begin(&handshake, acceptor_options(), &out);
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
    struct handshake handshake;
    struct buffer out;
    begin(&handshake, acceptor_options(), &out);
    struct slice name = hex("001a 4e 0000000005000000 6b00f765 000b 61406c6f63616c686f7374");
    ck_assert_int_eq(feed(&handshake, name, &out), HANDSHAKE_MORE);
    ck_assert((handshake.flags & DFLAGS_REQUIRED) == DFLAGS_REQUIRED);
    ck_assert(!(handshake.flags & DFLAG_FRAGMENTS));
    buffer_release(&out);
}
END_TEST

/* ---- both roles against each other ----------------------------------------------------------- */

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
    struct handshake handshake;
    struct buffer out;
    begin(&handshake, acceptor_options(), &out);
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
    begin(&a, initiator_options(), &out);
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
        struct handshake handshake;
        struct buffer out;
        begin(&handshake, initiator_options(), &out);
        buffer_clear(&out);
        ck_assert_int_eq(feed(&handshake, hex(cases[i].packet), &out), cases[i].result);
        assert_bytes(&out, cases[i].answer);
        buffer_release(&out);
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
    return suite_run(suite);
}
