/* config: defaults, files, --set, the sentences of refusal, printing, and the manual. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "brain/base.h"
#include "brain/config.h"
#include "heap_fault.h"
#include "suite.h"

static struct config config;
static char sentence[CONFIG_SENTENCE_LIMIT];

static void clean_environment(void)
{
    unsetenv("ERL_EPMD_PORT");
}

static int parse(const char *text)
{
    return config_parse(&config, "test.conf", text, sentence);
}

static void accept(const char *text)
{
    ck_assert_msg(parse(text) == 0, "%s: %s", text, sentence);
    ck_assert_str_eq(sentence, "");
}

static void refuse(const char *text, const char *expected)
{
    ck_assert_int_eq(parse(text), BRAIN_ECONFIG);
    ck_assert_str_eq(sentence, expected);
    config_release(&config);
}

static int load_set(const char *set)
{
    char *sets[] = {(char *)(uintptr_t)set};
    return config_load(&config, "/dev/null", sets, 1, sentence);
}

static void accept_set(const char *set)
{
    ck_assert_msg(load_set(set) == 0, "%s: %s", set, sentence);
}

static void refuse_set(const char *set, const char *expected)
{
    ck_assert_int_eq(load_set(set), BRAIN_ECONFIG);
    ck_assert_str_eq(sentence, expected);
    config_release(&config);
}

/* ---- values
 * -------------------------------------------------------------------------------------- */

START_TEST(defaults)
{
    accept("");
    ck_assert_str_eq(config.node, "brain@localhost");
    ck_assert(config.key_ttl == 60000);
    ck_assert(config.max_buffers_bytes == 2147483648);
    ck_assert(config.epmd_enable && !config.manager_enable);
    ck_assert_str_eq(config.secret, "");
    ck_assert_uint_eq(config.connect_nodes_count, 0);
    ck_assert_str_eq(config.source, "test.conf");
    config_release(&config);

    char *none[] = {NULL};
    ck_assert_int_eq(config_load(&config, "/dev/null", none, 0, sentence), 0);
    ck_assert(config.key_ttl == 60000);
    config_release(&config);
}
END_TEST

START_TEST(values_of_all_kinds)
{
    accept("# a comment\n"
           "node = a-b_1@host.example.org // another\n"
           "secret = \"it's \\\"\\x41\\\" \\${HOME} # no comment\" /* and\n another */ key_ttl=10\n"
           "epmd_enable = OFF\nserver_port = '65535'\n"
           "connect_nodes = {one@a,\n  \"two@b\", # here too\n three@::1}\n"
           "data_dir = /a//b\n");
    ck_assert_str_eq(config.node, "a-b_1@host.example.org");
    ck_assert_str_eq(config.secret, "it's \"A\" ${HOME} # no comment");
    ck_assert(config.key_ttl == 10 && config.server_port == 65535);
    ck_assert(!config.epmd_enable);
    ck_assert_uint_eq(config.connect_nodes_count, 3);
    ck_assert_str_eq(config.connect_nodes[1], "two@b");
    ck_assert_str_eq(config.connect_nodes[2], "three@::1");
    ck_assert_str_eq(config.data_dir, "/a//b");
    config_release(&config);

    accept("key_ttl = 11\nkey_ttl = 12\nconnect_nodes = {a@b, c@d}\nconnect_nodes = {e@f}\n");
    ck_assert(config.key_ttl == 12); /* the last one counts */
    ck_assert_uint_eq(config.connect_nodes_count, 1);
    ck_assert_str_eq(config.connect_nodes[0], "e@f");
    config_release(&config);

    setenv("BRAIN_TEST_DIR", "/from/environment", 1);
    accept("data_dir = ${BRAIN_TEST_DIR}\nsecret_file = \"${BRAIN_TEST_DIR}/cookie\"");
    ck_assert_str_eq(config.data_dir, "/from/environment");
    ck_assert_str_eq(config.secret_file, "/from/environment/cookie");
    config_release(&config);
}
END_TEST

START_TEST(sets_override)
{
    accept_set("key_ttl=1000");
    ck_assert(config.key_ttl == 1000);
    config_release(&config);
    accept_set("node=brain@host");
    ck_assert_str_eq(config.node, "brain@host");
    config_release(&config);
    accept_set("secret=a b # ${HOME} = \"x\" *"); /* as it stands: the shell has read it already */
    ck_assert_str_eq(config.secret, "a b # ${HOME} = \"x\" *");
    config_release(&config);
    accept_set("secret=\"a \\x42\"");
    ck_assert_str_eq(config.secret, "a B");
    config_release(&config);
    accept_set("connect_nodes={a@b, \"c@d\"}");
    ck_assert_uint_eq(config.connect_nodes_count, 2);
    ck_assert_str_eq(config.connect_nodes[1], "c@d");
    config_release(&config);
    accept_set("connect_nodes=a@b,c@d");
    ck_assert_uint_eq(config.connect_nodes_count, 2);
    config_release(&config);
    accept_set("log_dir=");
    ck_assert_str_eq(config.log_dir, "");
    config_release(&config);

    char path[] = "/tmp/brain-config-test-XXXXXX";
    int fd = mkstemp(path);
    static const char text[] = "key_ttl = 500\nconnect_nodes = {a@b}\nserver_port = 1\n";
    ck_assert_int_eq(write(fd, text, sizeof text - 1), (int)sizeof text - 1);
    close(fd);
    char first[] = "key_ttl=600", second[] = "connect_nodes={}", third[] = " key_ttl = 700";
    char *sets[] = {first, second, third + 1};
    ck_assert_int_eq(config_load(&config, path, sets, 3, sentence), 0);
    ck_assert(config.key_ttl == 700 && config.server_port == 1);
    ck_assert_uint_eq(config.connect_nodes_count, 0);
    ck_assert_str_eq(config.source, path);
    config_release(&config);
    unlink(path);
}
END_TEST

START_TEST(epmd_port_of_the_environment)
{
    setenv("ERL_EPMD_PORT", "5555", 1);
    accept("");
    ck_assert(config.epmd_port == 5555);
    config_release(&config);
    accept("epmd_port = 4369");
    ck_assert(config.epmd_port == 4369);
    config_release(&config);
    setenv("ERL_EPMD_PORT", "70000", 1);
    accept("");
    ck_assert(config.epmd_port == 4369);
    config_release(&config);
    unsetenv("ERL_EPMD_PORT");
}
END_TEST

/* ---- refusals
 * ------------------------------------------------------------------------------------ */

START_TEST(bad_numbers)
{
    refuse("\nkey_ttl = 6o000", "test.conf:2: key_ttl: \"6o000\" is not a number of milliseconds");
    refuse("key_ttl = -1", "test.conf:1: key_ttl: \"-1\" is not a number of milliseconds");
    refuse("key_ttl = 1e3", "test.conf:1: key_ttl: \"1e3\" is not a number of milliseconds");
    refuse("key_ttl = 60_000", "test.conf:1: key_ttl: \"60_000\" is not a number of milliseconds");
    refuse("key_ttl = \"\"", "test.conf:1: key_ttl: \"\" is not a number of milliseconds");
    refuse("key_ttl = \" 60\"", "test.conf:1: key_ttl: \" 60\" is not a number of milliseconds");
    refuse("server_port = x", "test.conf:1: server_port: \"x\" is not a number");
    refuse("max_frame_bytes = 1k", "test.conf:1: max_frame_bytes: \"1k\" is not a number of bytes");
    refuse("key_ttl = 9", "test.conf:1: key_ttl: \"9\" is too small: at least 10 milliseconds");
    refuse(
        "server_port = 65536", "test.conf:1: server_port: \"65536\" is too large: at most 65535");
    refuse("epmd_port = 0", "test.conf:1: epmd_port: \"0\" is too small: at least 1");
    refuse("max_frame_bytes = 4294967296",
        "test.conf:1: max_frame_bytes: \"4294967296\" is too large: at most 4294967295 bytes");
    refuse("key_ttl = 18446744073709551617", /* 2^64 + 1 */
        "test.conf:1: key_ttl: \"18446744073709551617\" is too large: at most 315576000000 "
        "milliseconds");
}
END_TEST

START_TEST(bad_values)
{
    static const char *const nodes[] = {
        "brain", "@host", "brain@", "a@b@c", "a b@c", "a.b@c", "a'b@c", "\xC3\xA9@c"};
    char text[400], expected[400];
    for (size_t i = 0; i < sizeof nodes / sizeof nodes[0]; i++) {
        snprintf(text, sizeof text, "node = \"%s\"", nodes[i]);
        snprintf(expected, sizeof expected,
            "test.conf:1: node: \"%s\" is not a node name like brain@localhost", nodes[i]);
        refuse(text, expected);
    }
    refuse("connect_nodes = {a@b,\nnobody}",
        "test.conf:2: connect_nodes: \"nobody\" is not a node name like brain@localhost");
    refuse("listen_address = \"\"", "test.conf:1: listen_address: \"\" is empty");
    refuse("epmd_address = localhost",
        "test.conf:1: epmd_address: \"localhost\" is not a numeric address like 127.0.0.1");
    refuse("log_mode = quiet", "test.conf:1: log_mode: \"quiet\" is neither production nor debug");
    refuse("warehouse_manager = tape",
        "test.conf:1: warehouse_manager: \"tape\" is none of local, s3 and ftp");
    refuse("warehouse_manager = s3",
        "test.conf:1: warehouse_manager: s3 needs a bucket: set s3_bucket as well");
    refuse("warehouse_manager = ftp",
        "test.conf:1: warehouse_manager: ftp needs a server: set ftp_host as well");
    refuse("s3_endpoint = \"http://host/path\"",
        "test.conf:1: s3_endpoint: \"http://host/path\" is not a URL like https://host:port, "
        "without a path");
    refuse("s3_endpoint = \"https://\"",
        "test.conf:1: s3_endpoint: \"https://\" is not a URL like https://host:port, "
        "without a path");
    refuse("s3_bucket = Ab",
        "test.conf:1: s3_bucket: \"Ab\" is not the name of a bucket: 3 to 63 of a-z, 0-9, - and .");
    refuse("ack = disk",
        "test.conf:1: ack: \"disk\" is none of memory, journal, backup and warehouse");
    refuse("journal_sync = 0", "test.conf:1: journal_sync: \"0\" is neither always, never, nor a "
                               "number of milliseconds from 1 to 3600000");
    refuse("journal_segment_size = 1000000\njournal_max_size = 500000",
        "test.conf:1: journal_segment_size: 1000000 must be at most journal_max_size, which is "
        "500000");
    refuse("epmd_enable = 2", "test.conf:1: epmd_enable: \"2\" is neither true nor false");
    refuse("log_file_name = a/b", "test.conf:1: log_file_name: \"a/b\" is not a file name");
    refuse("registered_name = \"\xFF\"",
        "test.conf:1: registered_name: \"\xFF\" is not a name of 1 to 255 bytes of UTF-8");
    refuse("log_mode = \"a\nb\x1b[1m\"",
        "test.conf:2: log_mode: \"a?b?[1m\" is neither production nor debug");
    memset(text, 'v', 300), memcpy(text, "log_mode = ", 11), text[300] = '\0';
    ck_assert_int_eq(parse(text), BRAIN_ECONFIG); /* long ones are cut */
    ck_assert_ptr_nonnull(strstr(sentence, "vvv...\" is neither"));
    ck_assert_uint_le(strlen(sentence), 130);
    config_release(&config);
}
END_TEST

START_TEST(managers)
{
    accept("manager_servers = \"http://a:2379/, https://b.example:2379,http://[::1]:1\"\n"
           "manager_prefix = one/two-\nmanager_lease = 2000");
    config_release(&config);
    static const char *const wrong[] = {"", ",", "a:1", "http://a/path", "http://a, b", "ftp://a"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        char text[200], expected[200];
        snprintf(text, sizeof text, "manager_servers = \"%s\"", wrong[i]);
        snprintf(expected, sizeof expected,
            "test.conf:1: manager_servers: \"%s\" is not 1 to 16 URLs like http://host:2379 with "
            "commas between",
            wrong[i]);
        refuse(text, expected);
    }
    refuse("manager_prefix = \"\"", "test.conf:1: manager_prefix: \"\" may have 1 to 200 letters, "
                                    "digits and - . _ / only");
    refuse("manager_lease = 1999", "test.conf:1: manager_lease: \"1999\" is too small: at least "
                                   "2000 milliseconds");
    /* A password is not shown. */
    refuse("manager_password = \"\\xff\"",
        "test.conf:1: manager_password: it is longer than 255 bytes, or not UTF-8");
}
END_TEST

START_TEST(options_that_contradict)
{
    refuse("\nmax_frame_bytes = 1024", "test.conf:2: max_object_bytes: 67108864 must be at most "
                                       "max_frame_bytes, which is 1024");
    accept("max_frame_bytes = 1024\nmax_object_bytes = 1024");
    config_release(&config);
    refuse("dump_retry_min = 60001", "test.conf:1: dump_retry_min: 60001 must be at most "
                                     "dump_retry_max, which is 60000");
    refuse("tick_timeout = 15000", "test.conf:1: tick_interval: 15000 must be less than "
                                   "tick_timeout, which is 15000");
    refuse("epmd_enable = false", "test.conf:1: epmd_enable: without epmd clients need a fixed "
                                  "port: set server_port as well");
    accept("epmd_enable = false\nserver_port = 9000");
    config_release(&config);
    refuse("manager_user = brain", "test.conf:1: manager_user: it needs a password: set "
                                   "manager_password or manager_password_file as well");
    accept("manager_user = brain\nmanager_password_file = /x");
    config_release(&config);
    refuse("manager_key_file = /k", "test.conf:1: manager_key_file: a key needs its certificate: "
                                    "set manager_cert_file as well");
    accept("manager_key_file = /k\nmanager_cert_file = /c");
    config_release(&config);
}
END_TEST

#define SHARED "warehouse_manager = ftp\nftp_host = localhost\n"

START_TEST(members_of_a_cluster)
{
    const char *local = "manager_enable: the members of a cluster need one warehouse for all: set "
                        "warehouse_manager to s3 or ftp as well";
    char expected[256];
    snprintf(expected, sizeof expected, "test.conf:3: %s", local);
    refuse("# x\n# y\nmanager_enable = true", expected);
    snprintf(expected, sizeof expected, "--set: %s", local);
    refuse_set("manager_enable=true", expected);
    refuse("backups = 8", "test.conf:1: backups: \"8\" is too large: at most 7");
    const char *alone = "ack: backup needs other members: set manager_enable, and backups to at "
                        "least 1";
    snprintf(expected, sizeof expected, "test.conf:1: %s", alone);
    refuse("ack = backup", expected);
    snprintf(expected, sizeof expected, "test.conf:5: %s", alone);
    refuse(SHARED "manager_enable = true\nbackups = 0\nack = backup", expected);
}
END_TEST

/* What is given is never replaced, what is not is what a member should have. */
START_TEST(defaults_of_a_member)
{
    accept(SHARED);
    ck_assert_str_eq(config.ack, "journal");
    ck_assert(!config.s3_require_conditions);
    config_release(&config);
    accept(SHARED "manager_enable = true");
    ck_assert_str_eq(config.ack, "backup");
    ck_assert(config.s3_require_conditions);
    config_release(&config);
    accept(SHARED "manager_enable = true\nbackups = 0");
    ck_assert_str_eq(config.ack, "journal");
    config_release(&config);
    accept(SHARED "manager_enable = true\nack = journal\ns3_require_conditions = false");
    ck_assert_str_eq(config.ack, "journal");
    ck_assert(!config.s3_require_conditions);
    config_release(&config);
}
END_TEST

START_TEST(unknown_keys)
{
    refuse("/* 1\n2 */\n# 3\nkey_tll = 5\n",
        "test.conf:4: key_tll: there is no such option; did you mean key_ttl?");
    refuse("max_conections = 5",
        "test.conf:1: max_conections: there is no such option; did you mean max_connections?");
    refuse("colour = red", "test.conf:1: colour: there is no such option");
    refuse("a|b = 1", "test.conf:1: the name of an option holds no \"|\"");
    refuse_set("kye_ttl=5", "--set: kye_ttl: there is no such option; did you mean key_ttl?");
    refuse_set("colour=5", "--set: colour: there is no such option");
    refuse_set("key_ttl", "--set: \"key_ttl\" is not key=value");
    refuse_set("=5", "--set: \"=5\" is not key=value");
    refuse_set("key_ttl=x", "--set: key_ttl: \"x\" is not a number of milliseconds");
}
END_TEST

START_TEST(broken_text)
{
    refuse("key_ttl 5", "test.conf:1: missing equal sign after option 'key_ttl'");
    refuse("key_ttl =\n", "test.conf:2: premature end of file");
    refuse("connect_nodes = {a@b", "test.conf:1: premature end of file");
    refuse("\nsecret = \"abc\nkey_ttl = 5\n",
        "test.conf:2: the quote that begins here is never closed");
    refuse("secret = 'abc", "test.conf:1: the quote that begins here is never closed");
    refuse("key_ttl = 50\n/* abc", "test.conf:2: the comment that begins here is never closed");
    refuse("secret = \"${HOME", "test.conf:1: a \"${\" here is never closed by \"}\"");
    refuse("secret = \"a\\1\"", "test.conf:1: a backslash before a digit: write \\\\ for a "
                                "backslash, \\xHH for a byte");
    refuse("secret = abc*", "test.conf:1: a value with \"*\" must be in quotes");
    refuse("secret = abc+\n", "test.conf:1: a value with \"+\" must be in quotes");
    /* Half a cookie is not shown. */
    refuse("secret = my cookie", "test.conf:1: secret: a value with spaces or any of "
                                 "#\"'={}()+,* must be in quotes");
    refuse("secret = my=cookie", "test.conf:1: secret: a value with spaces or any of "
                                 "#\"'={}()+,* must be in quotes");
    accept("key_ttl = 77"); /* nothing of the broken ones is remembered */
    ck_assert(config.key_ttl == 77);
    config_release(&config);
}
END_TEST

START_TEST(the_cookie_is_not_shown)
{
    char text[400];
    memset(text, 'c', sizeof text);
    memcpy(text, "secret=", 7), text[263] = '\0'; /* 256 bytes */
    refuse(text, "test.conf:1: secret: it is longer than 255 bytes");
    text[262] = '\0';
    accept(text);
    config_release(&config);
}
END_TEST

START_TEST(files_that_cannot_be_read)
{
    char *none[] = {NULL};
    ck_assert_int_eq(config_load(&config, "/nowhere/x.conf", none, 0, sentence), BRAIN_ECONFIG);
    ck_assert_str_eq(sentence, "/nowhere/x.conf: cannot be opened: No such file or directory");
    config_release(&config);
    ck_assert_int_eq(config_load(&config, "/tmp", none, 0, sentence), BRAIN_ECONFIG);
    ck_assert_str_eq(sentence, "/tmp: cannot be read: Is a directory");
    config_release(&config);
    ck_assert_int_eq(config_load(&config, "/dev/zero", none, 0, sentence), BRAIN_ECONFIG);
    ck_assert_str_eq(
        sentence, "/dev/zero: this is not a configuration file: it is larger than 262144 bytes");
    config_release(&config);

    char path[] = "/tmp/brain-config-test-XXXXXX";
    int fd = mkstemp(path);
    ck_assert_int_eq(write(fd, "key_ttl = 5\0", 12), 12);
    close(fd);
    ck_assert_int_eq(config_load(&config, path, none, 0, sentence), BRAIN_ECONFIG);
    ck_assert_ptr_nonnull(strstr(sentence, "holds a zero byte"));
    config_release(&config);
    unlink(path);
}
END_TEST

START_TEST(memory_may_fail_anywhere)
{
    unsigned failures = 0;
    char set[] = "connect_nodes={x@y}", path[] = MANUAL;
    char *sets[] = {set};
    for (unsigned n = 1;; n++) {
        heap_fault_start(n);
        int status = parse("node = a@b\nconnect_nodes = {a@b, c@d}\nkey_ttl = 77\n");
        int first = status;
        config_release(&config);
        if (status == 0)
            status = config_load(&config, path, sets, 1, sentence);
        if (first == 0)
            config_release(&config);
        if (!heap_fault_stop()) {
            ck_assert_int_eq(status, 0);
            break;
        }
        ck_assert_int_eq(status, BRAIN_ENOMEM);
        ck_assert_str_eq(sentence, "out of memory while the configuration was read");
        failures++;
    }
    ck_assert_uint_ge(failures, 20);
}
END_TEST

/* ---- printing and the manual
 * --------------------------------------------------------------------- */

static char *printed(void)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    config_print(&config, out);
    fclose(out);
    return text;
}

static void check_same_string(const char *name, const char *a, const char *b)
{
    ck_assert_msg(strcmp(a, b) == 0, "%s: \"%s\" came back as \"%s\"", name, a, b);
}
#define SAME_STRING(name) check_same_string(#name, before.name, config.name);
#define SAME_BOOL(name)   ck_assert_int_eq(before.name, config.name);
#define SAME_NUMBER(name) ck_assert_msg(before.name == config.name, #name);
#define SAME_LIST(name)                                                                            \
    ck_assert_uint_eq(before.name##_count, config.name##_count);                                   \
    for (size_t i = 0; i < config.name##_count; i++)                                               \
        ck_assert_str_eq(before.name[i], config.name[i]);
#define SAME(kind, name, value, help) SAME_##kind(name)

START_TEST(printed_reads_back)
{
    accept("node = x@y\nconnect_nodes = {a@b, c@d}\nmanager_enable = no\nkey_ttl = 1234567\n"
           "data_dir = \"/a \\\"b\\\\ \\$\\{HOME} \\x01\\n\xC3\xA9 #'*+\"\nepmd_start = false\n");
    struct config before = config;
    char *text = printed();
    for (const char *p = text; *p != '\0'; p++)
        ck_assert_msg(*p == '\n' || (*p >= ' ' && *p <= '~'), "byte %d printed", *p);
    accept(text);
    CONFIG_OPTIONS(SAME)
    config_release(&before);
    config_release(&config);
    free(text);
}
END_TEST

START_TEST(secret_is_not_printed)
{
    accept("secret = VERYSECRET");
    char *text = printed();
    config_release(&config);
    ck_assert_ptr_null(strstr(text, "VERYSECRET"));
    ck_assert_ptr_nonnull(strstr(text, "\n# secret = \"...\"\n"));
    accept(text);
    ck_assert_str_eq(config.secret, ""); /* not three dots */
    config_release(&config);
    free(text);
}
END_TEST

#define MANUAL_ROW(kind, name, value, help) {#name, #kind, value},
static const struct {
    const char *name, *kind, *value;
} rows[] = {CONFIG_OPTIONS(MANUAL_ROW)};

START_TEST(manual_has_every_option)
{
    char *text = calloc(1, 100000), line[200];
    FILE *file = fopen(MANUAL, "r");
    ck_assert_msg(file != NULL, "%s is not there", MANUAL);
    ck_assert_uint_lt(fread(text, 1, 99999, file), 99999);
    fclose(file);
    accept(text); /* as shipped */
    struct config before = config;

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        bool quoted = strcmp(rows[i].kind, "STRING") == 0;
        snprintf(line, sizeof line, quoted ? "\n# %s = \"%s\"\n" : "\n# %s = %s\n", rows[i].name,
            rows[i].value);
        char *found = strstr(text, line);
        ck_assert_msg(found != NULL, "the manual lacks: %s", line + 1);
        ck_assert_msg(found[-1] != '\n', "the manual says nothing about %s", rows[i].name);
        found[1] = ' '; /* no longer a comment */
        ck_assert_msg(strstr(text, line) == NULL, "twice in the manual: %s", line + 1);
    }
    for (const char *p = text; (p = strstr(p, "\n# ")) != NULL; p++) {
        char name[64], equals[2];
        ck_assert_msg(sscanf(p, "\n# %63[a-z_] %1[=]", name, equals) != 2,
            "the manual has an option that does not exist: %s", name);
    }
    accept(text); /* all of them uncommented */
    CONFIG_OPTIONS(SAME)
    config_release(&before);
    config_release(&config);
    free(text);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("config");
    TCase *values = tcase_create("values");
    tcase_add_checked_fixture(values, clean_environment, NULL);
    tcase_add_test(values, defaults);
    tcase_add_test(values, values_of_all_kinds);
    tcase_add_test(values, sets_override);
    tcase_add_test(values, epmd_port_of_the_environment);
    suite_add_tcase(suite, values);
    TCase *refusals = tcase_create("refusals");
    tcase_add_test(refusals, bad_numbers);
    tcase_add_test(refusals, bad_values);
    tcase_add_test(refusals, options_that_contradict);
    tcase_add_test(refusals, members_of_a_cluster);
    tcase_add_test(values, defaults_of_a_member);
    tcase_add_test(refusals, unknown_keys);
    tcase_add_test(refusals, broken_text);
    tcase_add_test(refusals, managers);
    tcase_add_test(refusals, the_cookie_is_not_shown);
    tcase_add_test(refusals, files_that_cannot_be_read);
    tcase_add_test(refusals, memory_may_fail_anywhere);
    suite_add_tcase(suite, refusals);
    TCase *printing = tcase_create("printing");
    tcase_add_checked_fixture(printing, clean_environment, NULL);
    tcase_add_test(printing, printed_reads_back);
    tcase_add_test(printing, secret_is_not_printed);
    tcase_add_test(printing, manual_has_every_option);
    suite_add_tcase(suite, printing);
    return suite_run(suite);
}
