/* config: every option of brain-server, read from a file of `key = value` lines (libconfuse), from
 * --set key=value, and checked. config/brain_node.conf is the manual of all of them.
 *
 * Every refusal is one sentence with file and line: `brain-server: config/brain_node.conf:14:
 * key_ttl: "6o000" is not a number of milliseconds`. */
#ifndef BRAIN_CONFIG_H
#define BRAIN_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* X(kind, name, default as text, unit or meaning) - the one list of options. kind: STRING, BOOL,
 * NUMBER (non-negative, fits int64; min and max in the table of config_options.c), LIST. */
#define CONFIG_OPTIONS(X)                                                                          \
    X(STRING, node, "brain@localhost", "name@host of this Erlang node")                            \
    X(STRING, registered_name, "brain", "the name clients send to")                                \
    X(STRING, listen_address, "127.0.0.1", "address the node listens on")                          \
    X(NUMBER, server_port, "0", "TCP port; 0: any free one, told by epmd")                         \
    X(BOOL, epmd_enable, "true", "register with epmd; false needs server_port")                    \
    X(BOOL, epmd_start, "true", "start epmd when none answers")                                    \
    X(STRING, epmd_address, "127.0.0.1", "numeric address of this host's epmd")                    \
    X(NUMBER, epmd_port, "4369", "its port; the environment's ERL_EPMD_PORT when not set")         \
    X(LIST, connect_nodes, "{}", "Erlang nodes to connect to, and to reconnect to")                \
    X(STRING, secret, "", "the cookie itself")                                                     \
    X(STRING, secret_file, "", "file whose first line is the cookie")                              \
    X(STRING, data_dir, "./data", "directory of the embedded warehouse")                           \
    X(STRING, warehouse_manager, "local", "where idle objects go: local, s3, ftp")                 \
    X(STRING, ack, "journal",                                                                      \
        "when a write is acknowledged: memory, journal, backup or warehouse")                      \
    X(BOOL, journal, "true", "keep a journal of the writes that the warehouse does not have")      \
    X(STRING, journal_sync, "1000", "always, never, or every so many ms")                          \
    X(NUMBER, journal_segment_size, "67108864", "bytes of one segment of the journal")             \
    X(NUMBER, journal_max_size, "1073741824", "bytes of journal before it is compacted")           \
    X(NUMBER, memory_limit, "0", "bytes of RAM for objects, index and buffers; 0: no limit")       \
    X(NUMBER, tombstone_keep, "604800000", "ms that the mark of a deleted object is kept")         \
    X(NUMBER, max_dirty_ms, "300000", "ms after which a busy object is dumped too; 0: never")      \
    X(NUMBER, dump_breaker_failures, "10", "failed dumps in a row before all pause; 0: never")     \
    X(NUMBER, local_map_size, "1073741824", "bytes, first size of the local warehouse's map")      \
    X(STRING, s3_endpoint, "", "URL of the store; empty: AWS's of s3_region")                      \
    X(STRING, s3_region, "us-east-1", "region that requests are signed for")                       \
    X(STRING, s3_bucket, "", "bucket; must exist")                                                 \
    X(STRING, s3_prefix, "", "put before every object's name, for instance brain/")                \
    X(BOOL, s3_path_style, "true", "endpoint/bucket/name instead of bucket.endpoint/name")         \
    X(STRING, s3_ca_file, "", "PEM file of certificate authorities; empty: the system's")          \
    X(STRING, s3_access_key, "", "empty: AWS_ACCESS_KEY_ID, else ~/.aws/credentials")              \
    X(STRING, s3_secret_key, "", "to it: the secret")                                              \
    X(STRING, s3_session_token, "", "to it, for temporary credentials")                            \
    X(STRING, s3_profile, "", "profile of ~/.aws/credentials; empty: AWS_PROFILE, else default")   \
    X(NUMBER, s3_parallel, "32", "requests under way at once, writes at most half of them")        \
    X(NUMBER, s3_timeout, "30000", "ms until a request is given up, retries included")             \
    X(NUMBER, s3_connect_timeout, "3000", "ms for a connection to be made")                        \
    X(NUMBER, s3_stall_timeout, "5000", "ms without a byte until an attempt has failed")           \
    X(BOOL, s3_require_conditions, "false", "refuse a store without conditional writes")           \
    X(STRING, ftp_host, "", "name or address of the FTP server")                                   \
    X(NUMBER, ftp_port, "21", "its port")                                                          \
    X(STRING, ftp_user, "anonymous", "user there")                                                 \
    X(STRING, ftp_pass, "", "the user's password")                                                 \
    X(STRING, ftp_dir, "", "directory for the objects, made if absent")                            \
    X(BOOL, ftp_tls, "false", "explicit TLS, required for control and data")                       \
    X(STRING, ftp_ca_file, "", "PEM file of certificate authorities; empty: the system's")         \
    X(NUMBER, ftp_parallel, "4", "transfers under way at once, each with a connection")            \
    X(NUMBER, ftp_timeout, "30000", "ms until a request is given up, retries included")            \
    X(NUMBER, key_ttl, "60000", "ms idle before a dump, and again before leaving RAM")             \
    X(NUMBER, server_exec_timeout, "5000", "ms a request may wait")                                \
    X(NUMBER, drain_timeout, "60000", "ms a stop may take to persist everything")                  \
    X(NUMBER, dumps_parallel, "1024", "dumps under way at once")                                   \
    X(NUMBER, dumps_parallel_bytes, "67108864", "bytes of dumps under way at once")                \
    X(NUMBER, dump_retry_min, "500", "ms before a failed dump is tried again, then doubling")      \
    X(NUMBER, dump_retry_max, "60000", "ms at most between two tries")                             \
    X(BOOL, manager_enable, "false", "be a member of a cluster")                                   \
    X(STRING, manager_servers, "http://127.0.0.1:2379", "URLs of the etcd servers, with commas")   \
    X(STRING, manager_prefix, "brain/", "put before every key in etcd")                            \
    X(NUMBER, manager_lease, "10000", "ms that a membership outlives its last renewal")            \
    X(NUMBER, rejoin_wait, "30000", "ms a restarted member waits for those it was a member with")  \
    X(NUMBER, backups, "1", "members besides its own that hold a changed object")                  \
    X(NUMBER, handoff_uses, "4", "uses in a row through one other node that move an object there") \
    X(STRING, replicate, "", "prefixes of ids that every member holds, with commas")               \
    X(STRING, write_wait, "all", "writes of such ids wait for: all members, or their owner only")  \
    X(STRING, manager_user, "", "user of etcd; empty: no authentication")                          \
    X(STRING, manager_password, "", "the user's password")                                         \
    X(STRING, manager_password_file, "", "file whose first line is that password")                 \
    X(STRING, manager_ca_file, "", "PEM file of certificate authorities; empty: the system's")     \
    X(STRING, manager_cert_file, "", "PEM file of this client's certificate; empty: none")         \
    X(STRING, manager_key_file, "", "PEM file of its key; empty: it is in manager_cert_file")      \
    X(STRING, log_mode, "production", "production or debug")                                       \
    X(STRING, log_dir, "", "directory of log files; empty: standard error")                        \
    X(STRING, log_file_name, "brain_log", "name of the log file")                                  \
    X(NUMBER, log_max_size, "5000000", "bytes of one log file before it is rotated")               \
    X(NUMBER, log_max_num_of_files, "10", "rotated log files kept")                                \
    X(NUMBER, handshake_timeout, "7000", "ms for a whole handshake")                               \
    X(NUMBER, tick_interval, "15000", "ms without sending before a tick is sent")                  \
    X(NUMBER, tick_timeout, "75000", "ms of silence before an Erlang peer is dropped")             \
    X(NUMBER, max_connections, "10000", "open connections")                                        \
    X(NUMBER, max_pending_handshakes, "1000", "connections whose handshake is not finished")       \
    X(NUMBER, max_frame_bytes, "134217728", "bytes of one frame")                                  \
    X(NUMBER, max_object_bytes, "67108864", "bytes of one value in external form")                 \
    X(NUMBER, max_term_depth, "4096", "containers within containers")                              \
    X(NUMBER, max_term_elements, "67108864", "terms inside one term")                              \
    X(NUMBER, max_fragment_sequences, "4096", "fragmented messages under way per connection")      \
    X(NUMBER, max_receive_bytes, "536870912", "bytes of unfinished messages per connection")       \
    X(NUMBER, max_output_bytes, "268435456", "bytes queued for one connection")                    \
    X(NUMBER, max_monitors, "100000", "monitors and links per connection")                         \
    X(NUMBER, max_buffers_bytes, "2147483648",                                                     \
        "bytes of unfinished and unsent messages, all together")

#define CONFIG_FIELD_STRING(name) char *name;
#define CONFIG_FIELD_BOOL(name)   bool name;
#define CONFIG_FIELD_NUMBER(name) uint64_t name;
#define CONFIG_FIELD_LIST(name)                                                                    \
    char **name;                                                                                   \
    size_t name##_count;
#define CONFIG_FIELD(kind, name, value, help) CONFIG_FIELD_##kind(name)

struct config {
    CONFIG_OPTIONS(CONFIG_FIELD)
    char *source; /* path of the file that was read; NULL: none, defaults only */
};

enum { CONFIG_SENTENCE_LIMIT = 1024 };

/* Fills `config` with: defaults; then `path`, or when NULL the first that exists of
 * /etc/brain_node.conf, /etc/brain/brain_node.conf, etc/brain_node.conf; then `sets`
 * ("key=value" each; the value as it stands, or quoted or in braces as in a file). A later value
 * replaces an earlier one. Where it is to be a member of a cluster, `ack` and s3_require_conditions
 * have other defaults. Returns 0, or BRAIN_ECONFIG or BRAIN_ENOMEM with one sentence, which
 * names the place: "FILE:LINE: " or "--set: ". Release also after failure. Main thread only. */
int config_load(struct config *config, const char *path, char *const *sets, size_t sets_count,
    char sentence[CONFIG_SENTENCE_LIMIT]);
/* The same from text in memory (fuzzing, tests); `name` stands for the file in sentences. */
int config_parse(struct config *config, const char *name, const char *text,
    char sentence[CONFIG_SENTENCE_LIMIT]);
void config_release(struct config *config);

/* Prints every option as a configuration file that reads back the same, except that a secret is
 * printed as "..." and commented out (a cookie is never printed). */
void config_print(const struct config *config, FILE *out);

/* The cookie: `secret`, else the first line of `secret_file`, else of ~/.erlang.cookie, which is
 * made (20 random capital letters, mode 0400) when absent. At most 255 bytes, not empty, spaces
 * around it left out. A file that others than its owner may access is refused, as by OTP. Returns 0
 * and a string to be freed with heap_release, or BRAIN_ECONFIG or BRAIN_ENOMEM with a sentence that
 * does not show it. */
int config_cookie(const struct config *config, char **cookie, char sentence[CONFIG_SENTENCE_LIMIT]);

/* The password of manager_user: `manager_password`, else the first line of `manager_password_file`,
 * which only its owner may access, else "". As config_cookie otherwise. */
int config_manager_password(
    const struct config *config, char **password, char sentence[CONFIG_SENTENCE_LIMIT]);

#endif
