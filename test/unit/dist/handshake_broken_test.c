/* The handshake against everything broken. */
#include <stdlib.h>
#include <string.h>

#include "handshake_fixture.h"
#include "heap_fault.h"
#include "suite.h"

static void expect_first_packet(const char *packet, int result, const char *answer)
{
    struct handshake handshake;
    struct buffer out;
    begin(&handshake, acceptor_options(), &out);
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
        struct handshake handshake;
        struct buffer out;
        begin(&handshake, acceptor_options(), &out);
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
        struct handshake handshake;
        struct buffer out;
        begin(&handshake, acceptor_options(), &out);
        ck_assert_int_eq(feed(&handshake, hex(NAME_TESTER), &out), HANDSHAKE_MORE);
        buffer_clear(&out);
        ck_assert_int_eq(feed(&handshake, hex(packets[i]), &out), BRAIN_EPROTO);
        ck_assert_uint_eq(out.size, 0);
        buffer_release(&out);
    }
    /* An old name must be completed first. */
    static const char *const complements[] = {REPLY_TESTER, "0008 63 0000000c e8c70a", "0000"};
    for (size_t i = 0; i < sizeof(complements) / sizeof(complements[0]); i++) {
        struct handshake handshake;
        struct buffer out;
        begin(&handshake, acceptor_options(), &out);
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
        struct handshake handshake;
        struct buffer out;
        begin(&handshake, initiator_options(), &out);
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
    begin(&handshake, options, &out);
    ck_assert_int_eq(feed(&handshake, hex("ffffffff"), &out), BRAIN_ETOOBIG);
    buffer_release(&out);
}
END_TEST

/* Every prefix of a good stream waits; every flipped bit gives an answer and reads nothing past. */
START_TEST(every_prefix_and_every_flipped_bit)
{
    struct slice whole = hex(NAME_TESTER REPLY_TESTER);
    for (size_t size = 0; size < whole.size; size++) {
        struct handshake handshake;
        struct buffer out;
        begin(&handshake, acceptor_options(), &out);
        uint8_t *copy = malloc(size + 1); /* so that the sanitizer sees a read past the end */
        memcpy(copy, whole.data, size);
        ck_assert_int_eq(feed(&handshake, slice_of(copy, size), &out), HANDSHAKE_MORE);
        free(copy);
        buffer_release(&out);
    }
    for (size_t bit = 0; bit < whole.size * 8; bit++) {
        struct handshake handshake;
        struct buffer out;
        begin(&handshake, acceptor_options(), &out);
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
    Suite *suite = suite_create("dist/handshake_broken");
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
