/* Every form of a request, from the bytes that clients send (Erlang, Elixir, Peb), and everything
 * that is refused: with which error, and who is told. */
#include "brain/command.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "heap_fault.h"
#include "suite.h"

static const struct etf_limits limits = {.max_depth = 64, .max_elements = 10000};

/* Pieces of messages, in hex. */
#define PID      "58 770c6578406c6f63616c686f7374 00000066 00000000 6b00fa73"
#define OLD_PID  "67 6400076140686f737431 00000026 00000000 01"
#define REF      "5a 0003 770c6578406c6f63616c686f7374 6b00fa73 00026650 c6e90001 3a13d452"
#define ALIAS    "6c 00000001 7705616c696173" REF
#define ID       "6d 00000006 757365723a31" /* <<"user:1">> */
#define TRUE     "7704 74727565"
#define FALSE    "7705 66616c7365"
#define NULL_    "7704 6e756c6c"
#define CALL     "6803 7709 2467656e5f63616c6c 6802" PID ALIAS
#define CAST     "6802 7709 2467656e5f63617374"
#define GET      "7703 676574"
#define SET      "7703 736574"
#define PERSIST  "7707 70657273697374"
#define DELETE   "7706 64656c657465"
#define OWNER    "7705 6f776e6572"
#define INFO     "7704 696e666f"
#define SHUTDOWN "7708 73687574646f776e"
#define CONSIST  "770b 636f6e73697374656e6379"
#define ACK      "7703 61636b"
#define MEMORY   "7706 6d656d6f7279"
#define BAD_LIST "6c 7fffffff 6101" /* claims 2^31 elements */

static uint8_t bytes[65536];

static struct slice from_hex(const char *hex)
{
    size_t size = 0;
    unsigned byte;
    while (*hex != '\0') {
        if (*hex == ' ') {
            hex++;
            continue;
        }
        ck_assert_int_eq(sscanf(hex, "%2x", &byte), 1);
        ck_assert_uint_lt(size, sizeof(bytes));
        bytes[size++] = (uint8_t)byte;
        hex += 2;
    }
    /* A copy of exactly this size: the sanitizer sees a byte read too many. */
    uint8_t *exact = malloc(size + (size == 0));
    memcpy(exact, bytes, size);
    return slice_of(exact, size);
}

static struct command command;
static struct slice message;

static int parse(const char *hex)
{
    free((void *)message.data);
    message = from_hex(hex);
    memset(&command, 0xa5, sizeof(command));
    return command_parse(&command, message, NULL, limits, 0);
}

static void release(void)
{
    free((void *)message.data);
    message = slice_of(NULL, 0);
}

static void expect_slice(struct slice actual, const char *hex)
{
    struct slice expected = from_hex(hex);
    ck_assert_uint_eq(actual.size, expected.size);
    ck_assert_mem_eq(actual.data, expected.data, expected.size);
    free((void *)expected.data);
}

#define expect_parsed(hex, operation_, form_)                                                      \
    do {                                                                                           \
        ck_assert_int_eq(parse(hex), 0);                                                           \
        ck_assert_int_eq(command.operation, operation_);                                           \
        ck_assert_int_eq(command.reply.form, form_);                                               \
    } while (0)

#define expect_refused(hex, error, form_)                                                          \
    do {                                                                                           \
        ck_assert_int_eq(parse(hex), error);                                                       \
        ck_assert_int_eq(command.reply.form, form_);                                               \
    } while (0)

static void expect_id(const char *text)
{
    ck_assert_uint_eq(command.id.size, strlen(text));
    ck_assert_mem_eq(command.id.data, text, strlen(text));
}

/* ---- plain ----------------------------------------------------------------------------------- */

START_TEST(plain_set)
{
    /* Elixir: send({:brain, n}, {:s, "user:1", %{a: 1, name: "J"}}) */
    expect_parsed("6803 770173 " ID "74 00000002 770161 6101 77046e616d65 6d 00000001 4a",
        COMMAND_SET, REPLY_NONE);
    expect_id("user:1");
    expect_slice(command.value, "74 00000002 770161 6101 77046e616d65 6d 00000001 4a");
    /* Peb: peb_vencode("{~a,~s,~s}", ...) */
    expect_parsed("6803 770173 6b00046f626a31 6b000568656c6c6f", COMMAND_SET, REPLY_NONE);
    expect_id("obj1");
    expect_slice(command.value, "6b000568656c6c6f");
    /* Atoms in each of their forms, as old and new clients write them. */
    expect_parsed("6803 64000173 " ID "6101", COMMAND_SET, REPLY_NONE);
    expect_parsed("6803 730173 " ID "6101", COMMAND_SET, REPLY_NONE);
    expect_parsed("6803 76000173 " ID "6101", COMMAND_SET, REPLY_NONE);
    /* A tuple of three in the large form. */
    expect_parsed("69 00000003 770173 " ID "6101", COMMAND_SET, REPLY_NONE);
}
END_TEST

START_TEST(plain_set_acknowledged)
{
    expect_parsed("6805 770173 " ID "6107" PID "6101", COMMAND_SET, REPLY_TAGGED);
    expect_slice(command.value, "6107");
    expect_slice(command.reply.pid, PID);
    expect_slice(command.reply.tag, "6101");
    ck_assert_uint_eq(command.reply.alias.size, 0);
    expect_parsed("6805 770173 " ID "6107" OLD_PID REF, COMMAND_SET, REPLY_TAGGED);
    expect_slice(command.reply.pid, OLD_PID);
    expect_slice(command.reply.tag, REF);
    /* Only g has an untagged answer; here null is a tag like any other. */
    expect_parsed("6805 770173 " ID "6107" PID NULL_, COMMAND_SET, REPLY_TAGGED);
    expect_slice(command.reply.tag, NULL_);
}
END_TEST

START_TEST(plain_get)
{
    /* Peb: {g, true, "obj1", self, null} */
    expect_parsed("6805 770167 " TRUE "6b00046f626a31" PID NULL_, COMMAND_GET, REPLY_UNTAGGED);
    expect_id("obj1");
    ck_assert(command.consistent);
    expect_slice(command.reply.pid, PID);
    expect_parsed("6805 770167 " FALSE ID PID "7703 6e696c", COMMAND_GET, REPLY_UNTAGGED);
    ck_assert(!command.consistent);
    expect_parsed(
        "6805 770167 " TRUE ID PID "7709 756e646566696e6564", COMMAND_GET, REPLY_UNTAGGED);
    expect_parsed("6805 770167 " TRUE ID PID "6b0001ff", COMMAND_GET, REPLY_TAGGED);
    expect_slice(command.reply.tag, "6b0001ff");
    expect_parsed("6805 770167 " TRUE ID PID ALIAS, COMMAND_GET, REPLY_TAGGED);
    expect_slice(command.reply.tag, ALIAS);
    ck_assert_uint_eq(command.reply.alias.size, 0); /* plain: always to the pid */
}
END_TEST

START_TEST(plain_persist_and_delete)
{
    expect_parsed("6802 770170 " ID, COMMAND_PERSIST, REPLY_NONE);
    expect_id("user:1");
    expect_parsed("6802 770164 6105", COMMAND_DELETE, REPLY_NONE);
    expect_id("5");
    expect_parsed("6804 770170 " ID PID "6109", COMMAND_PERSIST, REPLY_TAGGED);
    expect_slice(command.reply.tag, "6109");
    expect_parsed("6804 770164 " ID PID "6109", COMMAND_DELETE, REPLY_TAGGED);
    expect_slice(command.reply.pid, PID);
}
END_TEST

START_TEST(plain_refused)
{
    expect_refused("6803 770178 " ID "6101", BRAIN_EREQUEST, REPLY_NONE); /* {x, ...} */
    expect_refused("6804 770173 " ID "6101 6102", BRAIN_EREQUEST, REPLY_NONE);
    expect_refused("6803 770167 " TRUE ID, BRAIN_EREQUEST, REPLY_NONE);
    expect_refused("6804 770167 " TRUE ID PID, BRAIN_EREQUEST, REPLY_NONE);
    expect_refused("6803 770170 " ID PID, BRAIN_EREQUEST, REPLY_NONE);
    expect_refused("6800", BRAIN_EREQUEST, REPLY_NONE);
    expect_refused("6101", BRAIN_EREQUEST, REPLY_NONE);
    expect_refused("7704 6e6f7065", BRAIN_EREQUEST, REPLY_NONE);
    expect_refused("6801 6101", BRAIN_EREQUEST, REPLY_NONE);
    expect_refused("6803 6d 00000001 73 " ID "6101", BRAIN_EREQUEST, REPLY_NONE);
    /* A pid that is none: nobody to tell. */
    expect_refused("6805 770167 " TRUE ID "6101" NULL_, BRAIN_EREQUEST, REPLY_NONE);
    expect_refused("6805 770173 " ID "6101" REF "6101", BRAIN_EREQUEST, REPLY_NONE);
    /* A consistency that is none: told where there is a tag. */
    expect_refused("6805 770167 7705 6d61796265 " ID PID "6101", BRAIN_EREQUEST, REPLY_TAGGED);
    expect_slice(command.reply.tag, "6101");
    expect_refused("6805 770167 6101" ID PID "6101", BRAIN_EREQUEST, REPLY_TAGGED);
    expect_refused("6805 770167 6101" ID PID NULL_, BRAIN_EREQUEST, REPLY_UNTAGGED);
}
END_TEST

START_TEST(plain_bad_ids)
{
    expect_refused("6803 770173 6a 6101", BRAIN_EBADID, REPLY_NONE);
    expect_refused("6805 770173 6800 6101" PID "6102", BRAIN_EBADID, REPLY_TAGGED);
    expect_slice(command.reply.tag, "6102");
    ck_assert_uint_eq(command.id.size, 0);
    expect_refused("6805 770167 " TRUE "6d 00000000" PID "6102", BRAIN_EBADID, REPLY_TAGGED);
    expect_refused("6805 770167 " TRUE "7700" PID NULL_, BRAIN_EBADID, REPLY_UNTAGGED);
    expect_refused("6804 770164 " REF PID "6102", BRAIN_EBADID, REPLY_TAGGED);
    /* The first thing that is wrong is the one that is said. */
    expect_refused("6805 770167 6101 6a" PID "6102", BRAIN_EREQUEST, REPLY_TAGGED);
}
END_TEST

/* What PHP really sends, and what an attacker would. */
START_TEST(plain_malformed)
{
    expect_refused("", BRAIN_ETERM, REPLY_NONE);
    expect_refused("68", BRAIN_ETERM, REPLY_NONE);
    expect_refused("6803 770173 " ID, BRAIN_ETERM, REPLY_NONE);             /* an element short */
    expect_refused("6803 770173 " ID "6101 6102", BRAIN_ETERM, REPLY_NONE); /* two terms */
    expect_refused("6802 770170 " ID "83 6101", BRAIN_ETERM, REPLY_NONE);   /* and again */
    expect_refused("6803 770173 " ID BAD_LIST, BRAIN_EELEMENTS, REPLY_NONE);
    expect_refused("6803 770173 6d 00000006 7573", BRAIN_ETERM, REPLY_NONE); /* cut id */
    expect_refused("6803 7702c328 " ID "6101", BRAIN_ETERM, REPLY_NONE);     /* bad UTF-8 */
    expect_refused("6803 ff 6101 6101", BRAIN_ETERM, REPLY_NONE);
    expect_refused("6802 770178 ff", BRAIN_ETERM, REPLY_NONE); /* unknown and malformed */
    expect_refused("6805 770173 " ID "ff" PID "6101", BRAIN_ETERM, REPLY_NONE);
    /* Pid and Tag were readable, what follows them was not: told. */
    expect_refused("6805 770173 " ID "6101" PID "6101 6102", BRAIN_ETERM, REPLY_TAGGED);
    expect_refused("6805 770173 " ID "6101" PID, BRAIN_ETERM, REPLY_NONE);
    expect_refused("6805 770167 " TRUE ID PID "6d 000000ff 00", BRAIN_ETERM, REPLY_NONE);
}
END_TEST

START_TEST(too_deep)
{
    /* {s, <<"user:1">>, [[[[...]]]]} */
    char hex[8192] = "6803 770173 " ID;
    for (int i = 0; i < 200; i++)
        strcat(hex, "6c00000001");
    for (int i = 0; i < 201; i++)
        strcat(hex, "6a");
    expect_refused(hex, BRAIN_EDEPTH, REPLY_NONE);
    /* In a call somebody can be told. */
    char call[8192] = CALL "6803 " SET ID;
    strcat(call, hex + strlen("6803 770173 " ID));
    expect_refused(call, BRAIN_EDEPTH, REPLY_CALL);
}
END_TEST

/* Any message cut anywhere is malformed, never accepted, and nothing behind it is read. */
START_TEST(every_cut)
{
    static const char *const messages[] = {
        "6803 770173 " ID "74 00000001 770161 6101",
        "6805 770173 " ID "6107" PID ALIAS,
        "6805 770167 " TRUE "6b00046f626a31" PID NULL_,
        "6804 770164 " ID PID "6109",
        CALL "6804 " SET ID "6101 6c00000001 6802" ACK MEMORY "6a",
        CALL "6803 " GET ID "74 00000001 " CONSIST FALSE,
    };
    for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++) {
        struct slice whole = from_hex(messages[i]);
        for (size_t size = 0; size <= whole.size; size++) {
            uint8_t *cut = malloc(size + (size == 0));
            memcpy(cut, whole.data, size);
            int status = command_parse(&command, slice_of(cut, size), NULL, limits, 0);
            ck_assert_int_eq(status, size == whole.size ? 0 : BRAIN_ETERM);
            free(cut);
        }
        free((void *)whole.data);
    }
}
END_TEST

/* ---- calls ----------------------------------------------------------------------------------- */

START_TEST(calls)
{
    /* GenServer.call({:brain, n}, {:get, "user:1"}), Elixir 1.14 on OTP 25 */
    expect_parsed(CALL "6802 " GET ID, COMMAND_GET, REPLY_CALL);
    expect_id("user:1");
    ck_assert(command.consistent);
    expect_slice(command.reply.pid, PID);
    expect_slice(command.reply.tag, ALIAS);
    expect_slice(command.reply.alias, REF);

    expect_parsed(CALL "6803 " SET ID "463ff8000000000000", COMMAND_SET, REPLY_CALL);
    expect_slice(command.value, "463ff8000000000000");
    expect_parsed(CALL "6802 " PERSIST ID, COMMAND_PERSIST, REPLY_CALL);
    expect_parsed(CALL "6802 " DELETE ID, COMMAND_DELETE, REPLY_CALL);
    expect_parsed(CALL "6802 " OWNER ID, COMMAND_OWNER, REPLY_CALL);
    expect_id("user:1");
    expect_parsed(CALL INFO, COMMAND_INFO, REPLY_CALL);
    expect_parsed(CALL SHUTDOWN, COMMAND_SHUTDOWN, REPLY_CALL);
}
END_TEST

START_TEST(call_tags)
{
#define CALL_TAGGED(tag) "6803 7709 2467656e5f63616c6c 6802" PID tag "6802 " GET ID
    /* OTP 23: a reference. multi_call: {Ref, Node}. */
    expect_parsed(CALL_TAGGED(REF), COMMAND_GET, REPLY_CALL);
    expect_slice(command.reply.tag, REF);
    ck_assert_uint_eq(command.reply.alias.size, 0);
    expect_parsed(CALL_TAGGED("6802" REF "7701 78"), COMMAND_GET, REPLY_CALL);
    ck_assert_uint_eq(command.reply.alias.size, 0);
    /* gen: [[alias|Ref]|_], as an improper and as a proper list */
    expect_parsed(CALL_TAGGED("6c 00000001 " ALIAS "6105"), COMMAND_GET, REPLY_CALL);
    expect_slice(command.reply.tag, "6c 00000001 " ALIAS "6105");
    expect_slice(command.reply.alias, REF);
    expect_parsed(CALL_TAGGED("6c 00000002 " ALIAS "6105 6a"), COMMAND_GET, REPLY_CALL);
    expect_slice(command.reply.alias, REF);
    /* OTP 29: five words in a reference */
#define LONG_REF "5a 0005 770161 6b00fa73 00000001 00000002 00000003 00000004 00000005"
    expect_parsed(CALL_TAGGED("6c 00000001 7705616c696173 " LONG_REF), COMMAND_GET, REPLY_CALL);
    expect_slice(command.reply.alias, LONG_REF);
    /* Nearly aliases: opaque. */
    expect_parsed(CALL_TAGGED("6c 00000001 7705616c696174" REF), COMMAND_GET, REPLY_CALL);
    ck_assert_uint_eq(command.reply.alias.size, 0);
    expect_parsed(CALL_TAGGED("6c 00000001 7705616c696173 6101"), COMMAND_GET, REPLY_CALL);
    ck_assert_uint_eq(command.reply.alias.size, 0);
    expect_parsed(CALL_TAGGED("6c 00000002 7705616c696173" REF "6a"), COMMAND_GET, REPLY_CALL);
    ck_assert_uint_eq(command.reply.alias.size, 0);
    expect_parsed(CALL_TAGGED("6a"), COMMAND_GET, REPLY_CALL);
    expect_parsed(CALL_TAGGED("6c 00000001 6c 00000001" ALIAS "6a6a"), COMMAND_GET, REPLY_CALL);
    ck_assert_uint_eq(command.reply.alias.size, 0);
}
END_TEST

START_TEST(casts)
{
    /* GenServer.cast({:brain, n}, {:set, "k", 1.5}) */
    expect_parsed("6802 7709 2467656e5f63617374 6803 7703736574 6d000000016b 463ff8000000000000",
        COMMAND_SET, REPLY_NONE);
    expect_id("k");
    expect_parsed(CAST "6802 " DELETE ID, COMMAND_DELETE, REPLY_NONE);
    expect_parsed(CAST SHUTDOWN, COMMAND_SHUTDOWN, REPLY_NONE);
    expect_refused(CAST "6101", BRAIN_EREQUEST, REPLY_NONE);
    expect_refused(CAST "6802 " GET "6a", BRAIN_EBADID, REPLY_NONE);
}
END_TEST

START_TEST(options)
{
    expect_parsed(CALL "6803 " GET ID "6a", COMMAND_GET, REPLY_CALL);
    ck_assert(command.consistent);
    expect_parsed(
        CALL "6803 " GET ID "6c00000001 6802" CONSIST FALSE "6a", COMMAND_GET, REPLY_CALL);
    ck_assert(!command.consistent);
    expect_parsed(CALL "6803 " GET ID "6c00000001 6802" CONSIST TRUE "6a", COMMAND_GET, REPLY_CALL);
    ck_assert(command.consistent);
    /* The first of a key counts. */
    expect_parsed(CALL "6803 " GET ID "6c00000002 6802" CONSIST FALSE "6802" CONSIST TRUE "6a",
        COMMAND_GET, REPLY_CALL);
    ck_assert(!command.consistent);
    /* #{consistency => false} */
    expect_parsed(CALL "6803 " GET ID "74 00000001" CONSIST FALSE, COMMAND_GET, REPLY_CALL);
    ck_assert(!command.consistent);
    expect_parsed(CALL "6803 " GET ID "74 00000000", COMMAND_GET, REPLY_CALL);

    expect_parsed(
        CALL "6804 " SET ID "6101 6c00000001 6802" ACK MEMORY "6a", COMMAND_SET, REPLY_CALL);
    expect_slice(command.value, "6101");
    ck_assert_int_eq(command.ack, COMMAND_ACK_MEMORY);
    expect_parsed(CALL "6804 " SET ID "6101 74 00000001" ACK MEMORY, COMMAND_SET, REPLY_CALL);
    expect_parsed(CALL "6804 " SET ID "6101 6c00000001 6802" ACK "7707 6a6f75726e616c 6a",
        COMMAND_SET, REPLY_CALL);
    ck_assert_int_eq(command.ack, COMMAND_ACK_JOURNAL);
    expect_parsed(CALL "6804 " SET ID "6101 6c00000001 6802" ACK "7709 77617265686f757365 6a",
        COMMAND_SET, REPLY_CALL);
    ck_assert_int_eq(command.ack, COMMAND_ACK_WAREHOUSE);
    expect_parsed(
        CALL "6804 " SET ID "6101 74 00000001" ACK "7706 6261636b7570", COMMAND_SET, REPLY_CALL);
    ck_assert_int_eq(command.ack, COMMAND_ACK_BACKUP);
    expect_parsed(CALL "6803 " SET ID "6101", COMMAND_SET, REPLY_CALL);
    ck_assert_int_eq(command.ack, COMMAND_ACK_DEFAULT);
    expect_parsed(
        CALL "6803 " DELETE ID "6c00000001 6802" ACK MEMORY "6a", COMMAND_DELETE, REPLY_CALL);
    expect_parsed(CALL "6803 " PERSIST ID "6a", COMMAND_PERSIST, REPLY_CALL);
}
END_TEST

START_TEST(options_refused)
{
#define SET_WITH(opts) CALL "6804 " SET ID "6101 " opts
#define GET_WITH(opts) CALL "6803 " GET ID opts
    expect_refused(SET_WITH("6c00000001 6802" ACK "7704 68656172 6a"), BRAIN_EREQUEST, REPLY_CALL);
    expect_refused(SET_WITH("6c00000001 6802" ACK "6101 6a"), BRAIN_EREQUEST, REPLY_CALL);
    expect_refused(SET_WITH("6c00000001 6802" CONSIST TRUE "6a"), BRAIN_EREQUEST, REPLY_CALL);
    expect_refused(GET_WITH("6c00000001 6802" ACK MEMORY "6a"), BRAIN_EREQUEST, REPLY_CALL);
    expect_refused(GET_WITH("6c00000001 6802" CONSIST "6101 6a"), BRAIN_EREQUEST, REPLY_CALL);
    expect_refused(GET_WITH("6c00000001 " CONSIST "6a"), BRAIN_EREQUEST, REPLY_CALL);
    expect_refused(GET_WITH("6c00000001 6803" CONSIST TRUE TRUE "6a"), BRAIN_EREQUEST, REPLY_CALL);
    expect_refused(GET_WITH("6c00000001 6802" CONSIST TRUE TRUE), BRAIN_EREQUEST, REPLY_CALL);
    expect_refused(GET_WITH("6b0002 0102"), BRAIN_EREQUEST, REPLY_CALL);
    expect_refused(GET_WITH("6101"), BRAIN_EREQUEST, REPLY_CALL);
    expect_refused(CALL "6803 " OWNER ID "6a", BRAIN_EREQUEST, REPLY_CALL);
    /* Malformed ones. */
    expect_refused(GET_WITH("6c7fffffff 6802" CONSIST TRUE), BRAIN_EELEMENTS, REPLY_CALL);
    expect_refused(GET_WITH("74 7fffffff" CONSIST TRUE), BRAIN_EELEMENTS, REPLY_CALL);
    expect_refused(GET_WITH("6c00000002 6802" CONSIST TRUE), BRAIN_ETERM, REPLY_CALL);
}
END_TEST

START_TEST(calls_refused)
{
    expect_refused(CALL "6101", BRAIN_EREQUEST, REPLY_CALL);
    expect_slice(command.reply.alias, REF);
    expect_refused(CALL "7708 7374617465726571", BRAIN_EREQUEST, REPLY_CALL);
    expect_refused(CALL "6802 7704 6e6f7065" ID, BRAIN_EREQUEST, REPLY_CALL);
    expect_refused(CALL "6801 " GET, BRAIN_EREQUEST, REPLY_CALL);
    expect_refused(CALL "6802 " SET ID, BRAIN_EREQUEST, REPLY_CALL);
    expect_refused(CALL "6805 " SET ID "6101 6a 6a", BRAIN_EREQUEST, REPLY_CALL);
    expect_refused(CALL "6800", BRAIN_EREQUEST, REPLY_CALL);
    expect_refused(CALL "6802 " GET "6a", BRAIN_EBADID, REPLY_CALL);
    /* Agent.get sends a fun where the id is. */
    expect_refused(CALL "6802 " GET "71 770161 770162 6101", BRAIN_EBADID, REPLY_CALL);
    expect_refused(CALL "6802 " GET ID "6101", BRAIN_ETERM, REPLY_CALL);
    expect_refused(CALL, BRAIN_ETERM, REPLY_CALL);
    expect_refused(CALL "6803 " SET ID "ff", BRAIN_ETERM, REPLY_CALL);
    expect_refused(CALL "6803 " SET ID BAD_LIST, BRAIN_EELEMENTS, REPLY_CALL);
    /* A From that is none. */
#define GEN_CALL "6803 7709 2467656e5f63616c6c "
    expect_refused(GEN_CALL "6101 6802 " GET ID, BRAIN_EREQUEST, REPLY_NONE);
    expect_refused(GEN_CALL "6802 6101" REF "6802 " GET ID, BRAIN_EREQUEST, REPLY_NONE);
    expect_refused(GEN_CALL "6803 " PID REF REF "6802 " GET ID, BRAIN_EREQUEST, REPLY_NONE);
    expect_refused("6802 7709 2467656e5f63616c6c " INFO, BRAIN_EREQUEST, REPLY_NONE);
    expect_refused("6803 7709 2467656e5f63617374 " INFO INFO, BRAIN_EREQUEST, REPLY_NONE);
}
END_TEST

/* ---- checked and refused payloads ------------------------------------------------------------ */

/* A value of 100 kB that the scanner has marked is stepped over, and what is behind it is found. */
START_TEST(marked)
{
    struct slice head = from_hex("6805 770173 " ID "6d 000186a0");
    struct slice tail = from_hex(PID "6107");
    size_t size = head.size + 100000 + tail.size;
    uint8_t *big = malloc(size);
    memcpy(big, head.data, head.size);
    memset(big + head.size, 0xff, 100000);
    memcpy(big + head.size + 100000, tail.data, tail.size);

    struct etf_scanner scanner;
    etf_scanner_init(&scanner, limits);
    ck_assert_int_eq(etf_scan(&scanner, slice_of(big, size), UINT64_MAX), ETF_DONE);
    ck_assert_uint_eq(scanner.offset, size);
    ck_assert_int_eq(command_parse(&command, slice_of(big, size), &scanner.marks, limits, 0), 0);
    ck_assert_uint_eq(command.value.size, 100005);
    ck_assert_ptr_eq(command.value.data, big + head.size - 5);
    ck_assert_int_eq(command.reply.form, REPLY_TAGGED);
    expect_slice(command.reply.tag, "6107");
    etf_scanner_release(&scanner);
    free(big);
    free((void *)head.data);
    free((void *)tail.data);
}
END_TEST

static int parse_rejected(const char *hex, int error)
{
    release();
    message = from_hex(hex);
    return command_parse(&command, message, NULL, limits, error);
}

START_TEST(rejected_payload)
{
    ck_assert_int_eq(parse_rejected(CALL "6803 " SET ID BAD_LIST, BRAIN_ETOOBIG), BRAIN_ETOOBIG);
    ck_assert_int_eq(command.reply.form, REPLY_CALL);
    expect_slice(command.reply.tag, ALIAS);
    ck_assert_int_eq(parse_rejected("6803 770173 " ID "6101", BRAIN_ETOOBIG), BRAIN_ETOOBIG);
    ck_assert_int_eq(command.reply.form, REPLY_NONE);
    ck_assert_int_eq(
        parse_rejected("6805 770173 " ID "6101" PID "6102", BRAIN_ETOOBIG), BRAIN_ETOOBIG);
    ck_assert_int_eq(command.reply.form, REPLY_TAGGED);
    ck_assert_int_eq(parse_rejected("6805 770173 " ID "ff" PID "6102", BRAIN_ETERM), BRAIN_ETERM);
    ck_assert_int_eq(command.reply.form, REPLY_NONE);
    ck_assert_int_eq(parse_rejected("", BRAIN_EDEPTH), BRAIN_EDEPTH);
    ck_assert_int_eq(command.reply.form, REPLY_NONE);
}
END_TEST

/* Whatever allocation fails: an error or success, nothing lost; flat messages need none at all. */
START_TEST(no_memory)
{
    char deep[4096] = CALL "6804 " SET ID;
    for (int i = 0; i < 50; i++)
        strcat(deep, "6c00000001");
    for (int i = 0; i < 51; i++)
        strcat(deep, "6a");
    strcat(deep, "6a"); /* options, so that it is parsed in one way only */
    for (unsigned n = 1;; n++) {
        heap_fault_start(n);
        int status = parse(deep);
        bool failed = heap_fault_stop();
        ck_assert_int_eq(status, failed ? BRAIN_ENOMEM : 0);
        ck_assert_int_eq(command.reply.form, REPLY_CALL);
        if (!failed)
            break;
    }
    heap_fault_start(1);
    ck_assert_int_eq(parse("6805 770167 " TRUE "6b00046f626a31" PID NULL_), 0);
    ck_assert_int_eq(parse("6803 770173 " ID "6d 00000001 4a"), 0);
    ck_assert(!heap_fault_stop());
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("command");
    TCase *plain = tcase_create("plain tuples");
    tcase_add_checked_fixture(plain, NULL, release);
    tcase_add_test(plain, plain_set);
    tcase_add_test(plain, plain_set_acknowledged);
    tcase_add_test(plain, plain_get);
    tcase_add_test(plain, plain_persist_and_delete);
    tcase_add_test(plain, plain_refused);
    tcase_add_test(plain, plain_bad_ids);
    tcase_add_test(plain, plain_malformed);
    tcase_add_test(plain, too_deep);
    tcase_add_test(plain, every_cut);
    suite_add_tcase(suite, plain);
    TCase *call = tcase_create("calls and casts");
    tcase_add_checked_fixture(call, NULL, release);
    tcase_add_test(call, calls);
    tcase_add_test(call, call_tags);
    tcase_add_test(call, casts);
    tcase_add_test(call, options);
    tcase_add_test(call, options_refused);
    tcase_add_test(call, calls_refused);
    suite_add_tcase(suite, call);
    TCase *payload = tcase_create("payloads");
    tcase_add_checked_fixture(payload, NULL, release);
    tcase_add_test(payload, marked);
    tcase_add_test(payload, rejected_payload);
    tcase_add_test(payload, no_memory);
    suite_add_tcase(suite, payload);

    return suite_run(suite);
}
