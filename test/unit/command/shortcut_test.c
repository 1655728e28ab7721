/* The shortcut takes what busy clients send, and never differs from the general way: each of its
 * messages is cut everywhere, and has every byte replaced by every other. */
#include "command_agree.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "suite.h"

static const struct etf_limits limits = {.max_depth = 64, .max_elements = 10000};

#define PID      "58 770c6578406c6f63616c686f7374 00000066 00000000 6b00fa73"
#define EI_PID   "58 64000c6578406c6f63616c686f7374 00000066 00000000 6b00fa73"
#define REF      "5a 0003 770c6578406c6f63616c686f7374 6b00fa73 00026650 c6e90001 3a13d452"
#define ALIAS    "6c 00000001 7705616c696173" REF
#define ID       "6d 00000006 757365723a31"
#define TRUE     "7704 74727565"
#define FALSE    "7705 66616c7365"
#define GEN_CALL "6803 7709 2467656e5f63616c6c 6802" PID ALIAS

static const char *const taken[] = {
    "6805 770167 " TRUE ID PID "7704 6e756c6c",
    "6805 770167 " FALSE "6b0006 757365723a31" PID "7703 6e696c",
    "6805 770167 " TRUE "7704 75736572" PID "7709 756e646566696e6564",
    "6805 640001 67 640004 74727565" ID EI_PID "640004 6e756c6c",
    "6805 730167 7304 74727565" ID "58 760001 61 00000066 00000000 6b00fa73" REF,
    "6805 770167 " TRUE ID PID "62 00001000",
    "6805 770167 " TRUE ID PID "7700",
    "6805 770167 " TRUE ID PID "7702 c3a9",
    "6805 770167 " TRUE ID PID "6802 6101 6a",
    "6803 770173 " ID "6d 00000005 68656c6c6f",
    "6803 770173 6b00046f626a31 6b000568656c6c6f",
    "6803 770173 " ID "74 00000002 770161 6101 77046e616d65 6d 00000001 4a",
    GEN_CALL "6802 7703 676574" ID,
    GEN_CALL "6803 7703 736574" ID "6101",
};

/* Right, but for the general way; or wrong. */
static const char *const left_alone[] = {
    "6805 770167 " TRUE "6a" PID "7704 6e756c6c",
    "6805 770167 " TRUE "6d 00000000" PID "7704 6e756c6c",
    "6805 770167 " TRUE "6105" PID "7704 6e756c6c",
    "6805 770167 " TRUE "6b0001ff" PID "7704 6e756c6c",
    "6805 770167 7703 796573" ID PID "7704 6e756c6c",
    "6805 770167 " TRUE ID "6101"
    "7704 6e756c6c",
    "6803 770173 " ID "ff",
    "6803 770173 " ID "6101 6101",
    "6803 770178 " ID "6101",
    GEN_CALL "6802 7703 6e6f74" ID,
    GEN_CALL "6803 7703 676574" ID "6a",
    ("6802 7709 2467656e5f63617374 6802 7703 676574" ID),
};

/* The message, at the very end of its memory: the sanitizer sees a byte read too many. */
static struct slice from_hex(const char *hex)
{
    uint8_t *bytes = malloc(strlen(hex));
    size_t size = 0;
    unsigned byte;
    for (; *hex != '\0'; hex += *hex == ' ' ? 1 : 2) {
        if (*hex == ' ')
            continue;
        ck_assert_int_eq(sscanf(hex, "%2x", &byte), 1);
        bytes[size++] = (uint8_t)byte;
    }
    uint8_t *exact = malloc(size);
    memcpy(exact, bytes, size);
    free(bytes);
    return slice_of(exact, size);
}

START_TEST(takes_what_is_usual)
{
    for (size_t i = 0; i < sizeof taken / sizeof taken[0]; i++) {
        struct slice message = from_hex(taken[i]);
        bool did;
        ck_assert_msg(command_agree(message, limits, &did), "%s", taken[i]);
        ck_assert_msg(did, "%s", taken[i]);
        free((void *)message.data);
    }
    for (size_t i = 0; i < sizeof left_alone / sizeof left_alone[0]; i++) {
        struct slice message = from_hex(left_alone[i]);
        bool did;
        ck_assert_msg(command_agree(message, limits, &did), "%s", left_alone[i]);
        ck_assert_msg(!did, "%s", left_alone[i]);
        free((void *)message.data);
    }
}
END_TEST

START_TEST(agrees_on_every_change)
{
    unsigned changed_and_taken = 0;
    for (size_t i = 0; i < sizeof taken / sizeof taken[0]; i++) {
        struct slice message = from_hex(taken[i]);
        uint8_t *bytes = (uint8_t *)message.data;
        bool did;
        for (size_t at = 0; at < message.size; at++) {
            uint8_t right = bytes[at];
            for (unsigned byte = 0; byte < 256; byte++) {
                bytes[at] = (uint8_t)byte;
                ck_assert_msg(command_agree(message, limits, &did), "%s: byte %zu is %02x",
                    taken[i], at, byte);
                changed_and_taken += did;
            }
            bytes[at] = right;
        }
        for (size_t size = 0; size < message.size; size++) {
            uint8_t *cut = malloc(size + (size == 0));
            memcpy(cut, bytes, size);
            ck_assert_msg(
                command_agree(slice_of(cut, size), limits, &did), "%s cut at %zu", taken[i], size);
            free(cut);
        }
        free(bytes);
    }
    ck_assert_uint_gt(changed_and_taken, 1000);
}
END_TEST

START_TEST(agrees_on_limits)
{
    for (size_t i = 0; i < sizeof taken / sizeof taken[0]; i++) {
        struct slice message = from_hex(taken[i]);
        for (uint32_t elements = 0; elements < 8; elements++) {
            for (uint32_t depth = 0; depth < 3; depth++) {
                bool did;
                ck_assert(command_agree(message, (struct etf_limits){depth, elements}, &did));
            }
        }
        free((void *)message.data);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("command/shortcut");
    TCase *tcase = tcase_create("shortcut");
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, takes_what_is_usual);
    tcase_add_test(tcase, agrees_on_every_change);
    tcase_add_test(tcase, agrees_on_limits);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
