/* config_cookie: the shared secret of the Erlang nodes, found the way Erlang finds it; and the
 * password for etcd, whose file is read by the same rules. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config_private.h"

enum { COOKIE_LIMIT = 255, MADE_LETTERS = 20 };

static int refuse_errno(char *sentence, const char *path, const char *what)
{
    return config_refuse(
        sentence, (struct config_origin){path, 0}, NULL, "%s: %s", what, strerror(errno));
}

/* Reads until `size` bytes or the end of the file. Returns their number, or -1 with errno. */
static ssize_t read_up_to(int fd, char *out, size_t size)
{
    size_t got = 0;

    while (got < size) {
        ssize_t count = read(fd, out + got, size - got);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return -1;
        if (count == 0)
            break;
        got += (size_t)count;
    }
    return (ssize_t)got;
}

/* The first line of an open file, without spaces around it. `what`: "cookie" or "password". */
static int read_line(int fd, const char *path, const char *what, char **secret, char *sentence)
{
    struct config_origin origin = {path, 0};
    char text[COOKIE_LIMIT + 64]; /* room for spaces around it */
    ssize_t size = read_up_to(fd, text, sizeof text - 1);
    if (size < 0)
        return config_refuse(
            sentence, origin, NULL, "the %s cannot be read: %s", what, strerror(errno));
    text[size] = '\0';
    size_t line = strcspn(text, "\r\n");
    bool whole = line < sizeof text - 1;
    text[line] = '\0';
    char *begin = text + strspn(text, " \t");
    size_t length = strlen(begin);
    while (length > 0 && (begin[length - 1] == ' ' || begin[length - 1] == '\t'))
        begin[--length] = '\0';

    int status = 0;
    if (!whole || length > COOKIE_LIMIT)
        status = config_refuse(
            sentence, origin, NULL, "the %s in its first line is longer than 255 bytes", what);
    else if (length == 0)
        status =
            config_refuse(sentence, origin, NULL, "the first line of the %s file is empty", what);
    else if ((*secret = config_copy(begin)) == NULL)
        status = config_no_memory(sentence);
    explicit_bzero(text, sizeof text);
    return status;
}

/* Checks the open file, as OTP does: whoever reads the cookie owns the node. */
static int read_secret_file(
    int fd, const char *path, const char *what, char **secret, char *sentence)
{
    struct config_origin origin = {path, 0};
    struct stat file;

    if (fstat(fd, &file) != 0)
        return config_refuse(
            sentence, origin, NULL, "the %s file cannot be examined: %s", what, strerror(errno));
    if (!S_ISREG(file.st_mode))
        return config_refuse(sentence, origin, NULL, "the %s file is not a regular file", what);
    if ((file.st_mode & (S_IRWXG | S_IRWXO)) != 0)
        return config_refuse(
            sentence, origin, NULL, "the %s file must be accessible by owner only", what);
    return read_line(fd, path, what, secret, sentence);
}

/* O_NONBLOCK: a pipe with nobody at the other end must not hold the start. */
static int open_secret(const char *path)
{
    return open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
}

/* Twenty letters, as OTP makes them; 26 letters into 256 values without bias. */
static int random_letters(char letters[MADE_LETTERS + 1])
{
    for (size_t made = 0; made < MADE_LETTERS;) {
        uint8_t byte;
        if (getrandom(&byte, 1, 0) != 1) {
            if (errno == EINTR)
                continue;
            return BRAIN_EIO;
        }
        if (byte < 26 * 9)
            letters[made++] = (char)('A' + byte % 26);
    }
    letters[MADE_LETTERS] = '\0';
    return 0;
}

/* Makes `path` with a new cookie. The letters are written to a file of another name that is then
 * linked, so that an Erlang node starting at the same moment sees the whole cookie or none; the
 * link fails when that node was first, and then its cookie counts. */
static int make_cookie_file(const char *path, char *sentence)
{
    char letters[MADE_LETTERS + 1], unfinished[PATH_MAX + 32];
    int status = 0;

    if (random_letters(letters) != 0)
        return refuse_errno(sentence, path, "no random bytes for a new cookie");
    snprintf(unfinished, sizeof unfinished, "%s.%ld", path, (long)getpid());
    int fd = open(unfinished, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0400);
    if (fd < 0)
        return refuse_errno(sentence, path, "the cookie file cannot be made");
    bool written = write(fd, letters, MADE_LETTERS) == MADE_LETTERS;
    written = close(fd) == 0 && written;
    if (!written || (link(unfinished, path) != 0 && errno != EEXIST))
        status = refuse_errno(sentence, path, "the cookie file cannot be made");
    unlink(unfinished);
    explicit_bzero(letters, sizeof letters);
    return status;
}

static int home_cookie(char **cookie, char *sentence)
{
    const char *home = getenv("HOME");
    char path[PATH_MAX];

    if (home == NULL || home[0] == '\0')
        return config_refuse(sentence, (struct config_origin){NULL, 0}, NULL,
            "there is no cookie: set secret or secret_file, or HOME for ~/.erlang.cookie");
    int size = snprintf(path, sizeof path, "%s/.erlang.cookie", home);
    if (size < 0 || (size_t)size >= sizeof path)
        return config_refuse(sentence, (struct config_origin){NULL, 0}, NULL,
            "the path of ~/.erlang.cookie is too long");

    int fd = open_secret(path);
    if (fd < 0 && errno == ENOENT) {
        int status = make_cookie_file(path, sentence);
        if (status != 0)
            return status;
        fd = open_secret(path);
    }
    if (fd < 0)
        return refuse_errno(sentence, path, "the cookie file cannot be opened");
    int status = read_secret_file(fd, path, "cookie", cookie, sentence);
    close(fd);
    return status;
}

int config_cookie(const struct config *config, char **cookie, char sentence[CONFIG_SENTENCE_LIMIT])
{
    *cookie = NULL;
    sentence[0] = '\0';
    if (config->secret[0] != '\0') {
        *cookie = config_copy(config->secret);
        return *cookie != NULL ? 0 : config_no_memory(sentence);
    }
    if (config->secret_file[0] == '\0')
        return home_cookie(cookie, sentence);
    int fd = open_secret(config->secret_file);
    if (fd < 0)
        return refuse_errno(sentence, config->secret_file, "the cookie file cannot be opened");
    int status = read_secret_file(fd, config->secret_file, "cookie", cookie, sentence);
    close(fd);
    return status;
}

int config_manager_password(
    const struct config *config, char **password, char sentence[CONFIG_SENTENCE_LIMIT])
{
    const char *path = config->manager_password_file;

    *password = NULL;
    sentence[0] = '\0';
    if (config->manager_password[0] != '\0' || path[0] == '\0') {
        *password = config_copy(config->manager_password);
        return *password != NULL ? 0 : config_no_memory(sentence);
    }
    int fd = open_secret(path);
    if (fd < 0)
        return refuse_errno(sentence, path, "the password file cannot be opened");
    int status = read_secret_file(fd, path, "password", password, sentence);
    close(fd);
    return status;
}
