/* The lock of a registry in a directory. The file is never removed, so that tokens never start
 * again; who finds it gone while holding the lock has lost it. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "models/registry_lock_backend.h"

enum { LINE = 256 };

struct lock {
    char *path;
    int fd;
};

static int fail(struct err *err, const char *path, const char *what)
{
    return err_set(err, ERR_IO, "%s: %s: %s", path, what, strerror(errno));
}

/* The line "TOKEN OWNER"; an empty file is token 0. *owner points into line. */
static int read_line(const struct lock *l, char line[LINE], long long *token, const char **owner,
                     struct err *err)
{
    ssize_t n = pread(l->fd, line, LINE - 1, 0);
    if (n < 0)
        return fail(err, l->path, "read");
    line[n] = '\0';
    line[strcspn(line, "\n")] = '\0';
    char *end = line;
    errno = 0;
    *token = n ? strtoll(line, &end, 10) : 0;
    if (*token < 0 || errno || (n && (end == line || *end != ' ')))
        return err_set(err, ERR_FORMAT, "%s: expected \"TOKEN OWNER\", found \"%.40s\"", l->path,
                       line);
    *owner = *end ? end + 1 : end;
    return 0;
}

/* The token has a fixed width: the line is replaced by one write, and is never empty in between. */
static int write_line(const struct lock *l, long long token, const char *owner, struct err *err)
{
    char line[LINE];
    int n = snprintf(line, sizeof line, "%019lld %s\n", token, owner);
    if (n < 0 || n >= LINE)
        return err_set(err, ERR_IO, "%s: an owner's name too long", l->path);
    ssize_t put = pwrite(l->fd, line, (size_t)n, 0);
    if (put != n || ftruncate(l->fd, n) != 0 || fsync(l->fd) != 0)
        return fail(err, l->path, "write");
    return 0;
}

/* The descriptor is still the file that others open. */
static bool same_file(const struct lock *l)
{
    struct stat own, there;
    return fstat(l->fd, &own) == 0 && stat(l->path, &there) == 0 && own.st_dev == there.st_dev &&
           own.st_ino == there.st_ino;
}

static void dir_release(void *state)
{
    struct lock *l = state;
    if (l->fd >= 0)
        (void)close(l->fd); /* gives the flock back */
    free(l->path);
    free(l);
}

static int take(struct lock *l, const char *owner, long long *token, struct err *err)
{
    char line[LINE];
    const char *other;
    long long last;
    l->fd = open(l->path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (l->fd < 0)
        return fail(err, l->path, "open");
    if (flock(l->fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK)
            return fail(err, l->path, "flock");
        if (read_line(l, line, &last, &other, NULL) != 0)
            other = "";
        (void)err_set(err, ERR_CONFLICT, "%s: another job works on this model: %s", l->path,
                      *other ? other : "unknown");
        if (err)
            err->retriable = true;
        return -1;
    }
    if (!same_file(l))
        return err_set(err, ERR_CONFLICT, "%s: replaced while it was being locked", l->path);
    if (read_line(l, line, &last, &other, err) != 0 || write_line(l, last + 1, owner, err) != 0)
        return -1;
    *token = last + 1;
    return 0;
}

static int dir_take(const char *rest, const char *name, const char *owner, void **state,
                    long long *token, struct err *err)
{
    char *model = file_path("%s/%s", rest, name);
    struct lock *l = xcalloc(1, sizeof *l);
    *l = (struct lock){.path = file_path("%s/.lock", model), .fd = -1};
    int rc = file_mkdirs(model, err);
    if (rc == 0)
        rc = take(l, owner, token, err);
    if (rc == 0)
        *state = l;
    else
        dir_release(l);
    free(model);
    return rc;
}

/* Between this look and the alias's change nobody can take the lock: it is held. */
static int still_held(const struct lock *l, long long token, struct err *err)
{
    char line[LINE];
    const char *owner;
    long long last;
    if (!same_file(l))
        return err_set(err, ERR_CONFLICT, "%s: gone or replaced: the lock is lost", l->path);
    if (read_line(l, line, &last, &owner, err) != 0)
        return -1;
    return last == token
               ? 0
               : err_set(err, ERR_CONFLICT, "%s: token %lld is stale: %s has taken %lld since",
                         l->path, token, owner, last);
}

static int dir_promote(void *state, struct registry *r, const char *name, const char *alias,
                       const char *from, const char *to, long long token, struct err *err)
{
    if (still_held(state, token, err) != 0)
        return -1;
    return registry_move_alias(r, name, alias, from, to, err);
}

const struct registry_lock_backend registry_lock_dir = {
    .scheme = "dir", .take = dir_take, .promote = dir_promote, .release = dir_release};
