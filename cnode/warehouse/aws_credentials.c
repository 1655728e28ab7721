/* aws_credentials: configuration, else environment, else file. The first source that has an access
 * key is the source; two are never mixed. */
#include "aws_credentials.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FILE_LIMIT = 256 * 1024 };

/* ---- the file -------------------------------------------------------------------------------- */

static struct slice trim(struct slice text)
{
    while (text.size > 0 && (text.data[0] == ' ' || text.data[0] == '\t'))
        text = slice_of(text.data + 1, text.size - 1);
    while (text.size > 0 && strchr(" \t\r", text.data[text.size - 1]) != NULL)
        text.size--;
    return text;
}

/* The next line of `*text`, trimmed; false at the end. */
static bool take_line(struct slice *text, struct slice *line)
{
    if (text->size == 0)
        return false;
    const uint8_t *end = memchr(text->data, '\n', text->size);
    size_t size = end == NULL ? text->size : (size_t)(end - text->data);
    size_t used = end == NULL ? size : size + 1;
    *line = trim(slice_of(text->data, size));
    *text = slice_of(text->data + used, text->size - used);
    return true;
}

/* "[name]" or "[profile name]"? */
static bool is_section(struct slice line, const char *profile)
{
    line = trim(slice_of(line.data + 1, line.size - 1));
    if (line.size == 0 || line.data[line.size - 1] != ']')
        return false;
    line = trim(slice_of(line.data, line.size - 1));
    if (line.size > 8 && memcmp(line.data, "profile ", 8) == 0)
        line = trim(slice_of(line.data + 8, line.size - 8));
    return slice_equal_string(line, profile);
}

static int take_value(struct slice value, char *out, size_t limit)
{
    if (value.size > limit || memchr(value.data, '\0', value.size) != NULL)
        return BRAIN_ETOOBIG;
    memcpy(out, value.data, value.size);
    out[value.size] = '\0';
    return 0;
}

static int take_setting(struct slice line, struct aws_credentials *found)
{
    const uint8_t *equals = memchr(line.data, '=', line.size);
    if (equals == NULL)
        return 0;
    size_t at = (size_t)(equals - line.data);
    struct slice name = trim(slice_of(line.data, at));
    struct slice value = trim(slice_of(line.data + at + 1, line.size - at - 1));
    if (slice_equal_string(name, "aws_access_key_id"))
        return take_value(value, found->access_key, AWS_KEY_LIMIT);
    if (slice_equal_string(name, "aws_secret_access_key"))
        return take_value(value, found->secret_key, AWS_KEY_LIMIT);
    if (slice_equal_string(name, "aws_session_token"))
        return take_value(value, found->session_token, AWS_TOKEN_LIMIT);
    return 0;
}

int aws_credentials_parse(
    struct slice text, const char *profile, struct aws_credentials *credentials)
{
    struct aws_credentials found;
    struct slice line;
    bool ours = false;
    int status = 0;
    memset(&found, 0, sizeof(found));
    while (status == 0 && take_line(&text, &line)) {
        if (line.size == 0 || line.data[0] == '#' || line.data[0] == ';')
            continue;
        if (line.data[0] == '[')
            ours = is_section(line, profile);
        else if (ours)
            status = take_setting(line, &found);
    }
    if (status == 0 && (found.access_key[0] == '\0' || found.secret_key[0] == '\0'))
        status = BRAIN_ENOENT;
    if (status == 0)
        *credentials = found;
    explicit_bzero(&found, sizeof(found));
    return status;
}

/* 0, BRAIN_EIO with errno, or what the parser says. */
static int read_file(const char *path, const char *profile, struct aws_credentials *credentials)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return BRAIN_EIO;
    uint8_t *text = heap_allocate(FILE_LIMIT);
    size_t size = 0;
    ssize_t got = text == NULL ? -1 : 1;
    while (got > 0 && size < FILE_LIMIT) {
        got = read(fd, text + size, FILE_LIMIT - size);
        if (got < 0 && errno == EINTR)
            got = 1;
        else if (got > 0)
            size += (size_t)got;
    }
    int failure = errno;
    close(fd);
    int status = got < 0 ? BRAIN_EIO : BRAIN_ETOOBIG;
    if (got == 0)
        status = aws_credentials_parse(slice_of(text, size), profile, credentials);
    if (text != NULL)
        explicit_bzero(text, size);
    heap_release(text);
    errno = failure;
    return status;
}

/* ---- the source ------------------------------------------------------------------------------ */

static const char *environment(const char *name)
{
    const char *value = getenv(name);
    return value == NULL ? "" : value;
}

static int take_keys(struct aws_source *source, const char *access_key, const char *secret_key,
    const char *session_token, const char *where, char why[WAREHOUSE_TEXT])
{
    if (secret_key[0] == '\0') {
        snprintf(why, WAREHOUSE_TEXT, "s3: there is an access key in %s, but no secret key", where);
        return BRAIN_ECONFIG;
    }
    if (take_value(slice_of_string(access_key), source->current.access_key, AWS_KEY_LIMIT) != 0 ||
        take_value(slice_of_string(secret_key), source->current.secret_key, AWS_KEY_LIMIT) != 0 ||
        take_value(
            slice_of_string(session_token), source->current.session_token, AWS_TOKEN_LIMIT) != 0) {
        snprintf(why, WAREHOUSE_TEXT, "s3: the keys in %s are too long", where);
        return BRAIN_ECONFIG;
    }
    return 0;
}

static int open_file(
    struct aws_source *source, const struct s3_options *options, char why[WAREHOUSE_TEXT])
{
    const char *path = environment("AWS_SHARED_CREDENTIALS_FILE");
    const char *profile =
        options->profile[0] != '\0' ? options->profile : environment("AWS_PROFILE");
    if (profile[0] == '\0')
        profile = "default";
    int size = path[0] != '\0' ? snprintf(source->file, sizeof(source->file), "%s", path)
                               : snprintf(source->file, sizeof(source->file), "%s/.aws/credentials",
                                     environment("HOME"));
    if ((size_t)size >= sizeof(source->file) ||
        (size_t)snprintf(source->profile, sizeof(source->profile), "%s", profile) >=
            sizeof(source->profile)) {
        snprintf(
            why, WAREHOUSE_TEXT, "s3: the name of the credentials file or profile is too long");
        return BRAIN_ECONFIG;
    }
    int status = read_file(source->file, source->profile, &source->current);
    if (status == 0)
        return 0;
    char text[128];
    const char *reason = status == BRAIN_EIO      ? strerror_r(errno, text, sizeof(text))
                         : status == BRAIN_ENOENT ? "it lacks the profile, or a key in it"
                                                  : "it, or a key in it, is too long";
    snprintf(why, WAREHOUSE_TEXT,
        "s3: no credentials: not in s3_access_key, not in AWS_ACCESS_KEY_ID, and profile \"%s\" "
        "could not be read from %.200s: %s",
        source->profile, source->file, reason);
    return BRAIN_ECONFIG;
}

int aws_source_open(
    struct aws_source *source, const struct s3_options *options, char why[WAREHOUSE_TEXT])
{
    const char *access_key = environment("AWS_ACCESS_KEY_ID");
    memset(source, 0, sizeof(*source));
    if (options->access_key[0] != '\0')
        return take_keys(source, options->access_key, options->secret_key, options->session_token,
            "s3_access_key", why);
    /* A profile that was asked for in the configuration is not overruled by the environment. */
    if (access_key[0] != '\0' && options->profile[0] == '\0')
        return take_keys(source, access_key, environment("AWS_SECRET_ACCESS_KEY"),
            environment("AWS_SESSION_TOKEN"), "AWS_ACCESS_KEY_ID", why);
    return open_file(source, options, why);
}

bool aws_source_refresh(struct aws_source *source)
{
    struct aws_credentials fresh;
    if (source->file[0] == '\0' || read_file(source->file, source->profile, &fresh) != 0)
        return false;
    bool other = strcmp(fresh.access_key, source->current.access_key) != 0 ||
                 strcmp(fresh.secret_key, source->current.secret_key) != 0 ||
                 strcmp(fresh.session_token, source->current.session_token) != 0;
    if (other)
        source->current = fresh;
    explicit_bzero(&fresh, sizeof(fresh));
    return other;
}

void aws_source_close(struct aws_source *source)
{
    explicit_bzero(&source->current, sizeof(source->current));
}
