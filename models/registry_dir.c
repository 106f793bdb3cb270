/* The registry in a directory: a local disk, or a volume that several hosts mount. Nothing is
 * locked: a version is put together in a hidden directory beside and appears by one rename, which
 * the file system lets one pusher win; the others find the same files there. Nothing is ever
 * changed in place, so a reader needs no lock either. */
#include "models/registry_backend.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "models/manifest.h"

enum { COPY_BLOCK = 1 << 18, MAX_HISTORY = 64 << 20, LEASE_SECONDS = 600 };

struct store {
    char *root;
};

static int fail(struct err *err, const char *path, const char *what)
{
    return err_set(err, errno == ENOENT ? ERR_MISSING : ERR_IO, "%s: %s: %s", path, what,
                   strerror(errno));
}

static int dir_open(const char *rest, void **store, struct err *err)
{
    (void)err; /* the directory may be made by the first push */
    struct store *s = xcalloc(1, sizeof *s);
    s->root = xstrdup(rest);
    *store = s;
    return 0;
}

static void dir_close(void *store)
{
    struct store *s = store;
    free(s->root);
    free(s);
}

static char *version_path(const struct store *s, const char *name, const char *version)
{
    return file_path("%s/%s/versions/%s", s->root, name, version);
}

/* A version is what its manifest says, and stands where it says. */
static int verify(const char *path, const char *name, const char *version, struct err *err)
{
    struct manifest m;
    if (!file_exists(path))
        return err_set(err, ERR_MISSING, "%s: no such version", path);
    if (manifest_read(&m, path, err) != 0)
        return -1;
    int rc = 0;
    if (strcmp(m.name, name) != 0 || strcmp(m.version, version) != 0)
        rc = err_set(err, ERR_CONFLICT, "%s/%s: is of %s %s", path, MANIFEST_FILE, m.name,
                     m.version);
    if (rc == 0)
        rc = manifest_verify(&m, path, err);
    manifest_done(&m);
    return rc;
}

static int pump(int in, const char *from, int out, const char *to, struct err *err)
{
    char *block = xmalloc(COPY_BLOCK);
    int rc = 0;
    for (;;) {
        ssize_t got = read(in, block, COPY_BLOCK);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            rc = fail(err, from, "read");
        if (got <= 0)
            break;
        for (ssize_t at = 0; at < got && rc == 0;) {
            ssize_t put = write(out, block + at, (size_t)(got - at));
            if (put >= 0)
                at += put;
            else if (errno != EINTR)
                rc = fail(err, to, "write");
        }
        if (rc != 0)
            break;
    }
    free(block);
    if (rc == 0 && fsync(out) != 0)
        rc = fail(err, to, "fsync");
    return rc;
}

/* Copies a plain file, a symbolic link to one included (a checkpoint's cache is made of those).
 * Read, not mapped: a file that is cut off meanwhile must not kill the process. *st says what was
 * copied. */
static int copy_file(const char *from, const char *to, struct stat *st, struct err *err)
{
    int in = open(from, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO must not hold us */
    if (in < 0)
        return fail(err, from, "open");
    int out = -1, rc = 0;
    if (fstat(in, st) != 0)
        rc = fail(err, from, "stat");
    else if (!S_ISREG(st->st_mode))
        rc = err_set(err, ERR_FORMAT, "%s: %s; a version holds plain files only", from,
                     S_ISDIR(st->st_mode) ? "a directory" : "not a plain file");
    if (rc == 0 && (out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644)) < 0)
        rc = fail(err, to, "create");
    if (rc == 0)
        rc = pump(in, from, out, to, err);
    (void)close(in);
    if (out >= 0 && close(out) != 0 && rc == 0)
        rc = fail(err, to, "close");
    return rc;
}

static bool same_file(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
           a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

/* Copies all files of dir, then looks whether all of them are still what they were: what is kept
 * was one state of dir. */
static int copy_files(const char *dir, const char *to, struct err *err)
{
    struct file_list list;
    if (manifest_list(dir, &list, err) != 0)
        return -1;
    struct stat now, *before = xcalloc(list.n, sizeof *before);
    int rc = 0;
    for (size_t i = 0; i < list.n && rc == 0; i++) {
        char *from = file_path("%s/%s", dir, list.names[i]);
        char *copy = file_path("%s/%s", to, list.names[i]);
        rc = copy_file(from, copy, &before[i], err);
        free(from);
        free(copy);
    }
    for (size_t i = 0; i < list.n && rc == 0; i++) {
        char *from = file_path("%s/%s", dir, list.names[i]);
        if (stat(from, &now) != 0 || !same_file(&before[i], &now))
            rc = err_set(err, ERR_CONFLICT, "%s: changed while it was copied", from);
        free(from);
    }
    free(before);
    file_list_free(&list);
    return rc;
}

/* Fills the hidden directory; *m describes it. */
static int prepare(const char *name, const char *dir, const char *tmp, struct manifest *m,
                   struct err *err)
{
    if (copy_files(dir, tmp, err) != 0 || manifest_make(m, name, tmp, err) != 0)
        return -1;
    char *text = manifest_text(m), *path = file_path("%s/%s", tmp, MANIFEST_FILE);
    int rc = file_replace(path, text, strlen(text), err);
    free(text);
    free(path);
    if (rc == 0 && chmod(tmp, 0755) != 0)
        rc = fail(err, tmp, "chmod");
    if (rc != 0)
        manifest_done(m);
    return rc;
}

/* A damaged version gives way to the same content, whole again. */
static int exchange(const char *path, const char *tmp, struct err *err)
{
    char *aside = file_path("%s.damaged", path);
    int rc = file_remove_dir(aside, err);
    if (rc == 0 && rename(path, aside) != 0)
        rc = fail(err, path, "rename");
    if (rc == 0 && rename(tmp, path) != 0)
        rc = fail(err, path, "rename");
    if (rc == 0)
        (void)file_remove_dir(aside, NULL); /* what else lies in it is nobody's version */
    free(aside);
    return rc;
}

/* Gives the version its name, unless somebody else has done so with the same files. */
static int publish(const char *versions, const char *tmp, const struct manifest *m, struct err *err)
{
    char *path = file_path("%s/%s", versions, m->version);
    int rc = 0;
    if (!file_exists(path) && rename(tmp, path) == 0) {
        rc = file_sync_dir(versions, err);
    } else if (file_exists(path)) {
        if (verify(path, m->name, m->version, NULL) == 0)
            rc = file_remove_dir(tmp, err);
        else
            rc = exchange(path, tmp, err);
    } else {
        rc = fail(err, path, "rename");
    }
    free(path);
    return rc;
}

static int dir_push(void *store, const char *name, const char *dir, char version[REGISTRY_VERSION],
                    struct err *err)
{
    const struct store *s = store;
    char *model = file_path("%s/%s", s->root, name), *versions = file_path("%s/versions", model);
    char *tmp = file_path("%s/.push.XXXXXX", versions);
    struct manifest m;
    int rc = file_mkdirs(versions, err);
    if (rc == 0 && !mkdtemp(tmp))
        rc = fail(err, tmp, "create");
    if (rc == 0) {
        rc = prepare(name, dir, tmp, &m, err);
        if (rc == 0) {
            rc = publish(versions, tmp, &m, err);
            if (rc == 0)
                memcpy(version, m.version, sizeof m.version);
            manifest_done(&m);
        }
        if (rc != 0)
            (void)file_remove_dir(tmp, NULL);
    }
    if (rc == 0) /* the directories above may be new as well */
        rc = file_sync_dir(model, err) != 0 ? -1 : file_sync_dir(s->root, err);
    free(tmp);
    free(versions);
    free(model);
    return rc;
}

static int dir_fetch(void *store, const char *name, const char *version, char **dir,
                     struct err *err)
{
    char *path = version_path(store, name, version);
    if (verify(path, name, version, err) != 0) {
        free(path);
        return -1;
    }
    *dir = path;
    return 0;
}

/* Changes of aliases take turns: what is expected, the flip and its line in the history are one
 * step. -1, or a descriptor to close. */
static int lock_model(const struct store *s, const char *name, struct err *err)
{
    char *path = file_path("%s/%s/.changes", s->root, name);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0 || flock(fd, LOCK_EX) != 0) {
        (void)fail(err, path, "lock");
        if (fd >= 0)
            (void)close(fd);
        fd = -1;
    }
    free(path);
    return fd;
}

/* A line is whole or not there: what a full disk cut off is taken back. */
static int append_history(const struct store *s, const char *name, const char *line,
                          struct err *err)
{
    char *path = file_path("%s/%s/history", s->root, name);
    size_t n = strlen(line);
    int rc = 0, fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    struct stat st = {0};
    if (fd < 0 || fstat(fd, &st) != 0)
        rc = fail(err, path, "open");
    else if (write(fd, line, n) != (ssize_t)n || fsync(fd) != 0) {
        rc = fail(err, path, "append");
        if (ftruncate(fd, st.st_size) != 0)
            (void)err_prefix(err, "and what was written of it cannot be taken back");
    }
    if (fd >= 0)
        (void)close(fd);
    free(path);
    return rc;
}

static int read_alias(const char *path, char version[REGISTRY_VERSION], struct err *err)
{
    char *line;
    size_t len;
    if (file_read(path, 64, &line, &len, err) != 0)
        return -1;
    while (len && (line[len - 1] == '\n' || line[len - 1] == '\r'))
        line[--len] = '\0';
    int rc = 0;
    if (manifest_is_version(line) && len == strlen(line))
        memcpy(version, line, REGISTRY_VERSION);
    else
        rc = err_set(err, ERR_FORMAT, "%s: expected a line of %d lower-case hex digits", path,
                     REGISTRY_VERSION - 1);
    free(line);
    return rc;
}

static int flip(const struct store *s, const char *name, const char *alias, const char *version,
                const char *expect, const char *by, struct err *err)
{
    char *aliases = file_path("%s/%s/aliases", s->root, name), now[REGISTRY_VERSION] = "";
    char *path = file_path("%s/%s", aliases, alias), *line = file_path("%s\n", version);
    int rc = file_mkdirs(aliases, err);
    if (rc == 0 && file_exists(path) && read_alias(path, now, NULL) != 0)
        now[0] = '\0'; /* damaged: setting it again mends it */
    if (rc == 0 && expect && strcmp(now, expect) != 0)
        rc = err_set(err, ERR_CONFLICT, "%s: names %s now, not %s", path, *now ? now : "nothing",
                     *expect ? expect : "nothing");
    char *there = version_path(s, name, version);
    if (rc == 0 && !file_exists(there)) /* gc may have been quicker than the verification */
        rc = err_set(err, ERR_MISSING, "%s: no such version", there);
    free(there);
    if (rc == 0 && strcmp(now, version) != 0) {
        /* The history first: a line whose change never came is passed over by a rollback, a change
         * without its line would lead it astray. */
        char *entry = file_path("%lld %s %s %s %s\n", (long long)clock_wall_ms(), by, alias,
                                now[0] ? now : "-", version);
        rc = append_history(s, name, entry, err);
        if (rc == 0)
            rc = file_replace(path, line, strlen(line), err);
        free(entry);
    }
    free(line);
    free(path);
    free(aliases);
    return rc;
}

static int dir_set_alias(void *store, const char *name, const char *alias, const char *version,
                         const char *expect, const char *by, struct err *err)
{
    const struct store *s = store;
    char *verified;
    if (dir_fetch(store, name, version, &verified, err) != 0)
        return -1;
    free(verified);
    int lock = lock_model(s, name, err);
    if (lock < 0)
        return -1;
    int rc = flip(s, name, alias, version, expect, by, err);
    (void)close(lock);
    return rc;
}

static int dir_resolve(void *store, const char *name, const char *what,
                       char version[REGISTRY_VERSION], struct err *err)
{
    const struct store *s = store;
    char *alias = file_path("%s/%s/aliases/%s", s->root, name, what), *path = NULL;
    char found[REGISTRY_VERSION];
    int rc = 0;
    if (manifest_is_version(what)) {
        memcpy(found, what, sizeof found);
        path = version_path(s, name, found);
        if (!file_exists(path))
            rc = err_set(err, ERR_MISSING, "%s: no such version", path);
    } else if (!file_exists(alias)) {
        rc = err_set(err, ERR_MISSING, "%s: no such alias", alias);
    } else if ((rc = read_alias(alias, found, err)) == 0) {
        path = version_path(s, name, found);
        if (!file_exists(path))
            rc = err_set(err, ERR_CONFLICT, "%s: points to %s, which does not exist", alias, path);
    }
    if (rc == 0)
        memcpy(version, found, sizeof found);
    free(path);
    free(alias);
    return rc;
}

static int dir_list(void *store, const char *name, char ***versions, size_t *n, struct err *err)
{
    const struct store *s = store;
    char *path = file_path("%s/%s/versions", s->root, name);
    struct file_list list;
    int rc = file_list(path, &list, err);
    free(path);
    if (rc != 0)
        return -1;
    size_t kept = 0;
    for (size_t i = 0; i < list.n; i++)
        if (manifest_is_version(list.names[i]))
            list.names[kept++] = list.names[i];
        else
            free(list.names[i]);
    *versions = list.names ? list.names : xcalloc(1, sizeof **versions);
    *n = kept;
    return 0;
}

static int dir_verify(void *store, const char *name, const char *version, struct err *err)
{
    char *path;
    if (dir_fetch(store, name, version, &path, err) != 0)
        return -1;
    free(path);
    return 0;
}

static int dir_aliases(void *store, const char *name, struct registry_alias **all, size_t *n,
                       struct err *err)
{
    const struct store *s = store;
    char *dir = file_path("%s/%s/aliases", s->root, name);
    struct file_list list = {0};
    int rc = file_exists(dir) ? file_list(dir, &list, err) : 0;
    struct registry_alias *got = xcalloc(list.n + 1, sizeof *got);
    size_t kept = 0;
    for (size_t i = 0; i < list.n && rc == 0; i++) {
        char *path = file_path("%s/%s", dir, list.names[i]);
        if (manifest_word(list.names[i], REGISTRY_WORD)) {
            memcpy(got[kept].alias, list.names[i], strlen(list.names[i]) + 1);
            rc = read_alias(path, got[kept++].version, err);
        }
        free(path);
    }
    file_list_free(&list);
    free(dir);
    if (rc != 0) {
        free(got);
        return -1;
    }
    *all = got;
    *n = kept;
    return 0;
}

/* "ms by alias from to"; widths are those of struct registry_change. */
static int parse_change(const char *line, struct registry_change *c)
{
    long long ms;
    if (sscanf(line, "%lld %100s %64s %16s %16s", &ms, c->by, c->alias, c->from, c->to) != 5)
        return -1;
    c->unix_ms = ms;
    if (strcmp(c->from, "-") == 0)
        c->from[0] = '\0';
    return manifest_is_version(c->to) && (!c->from[0] || manifest_is_version(c->from)) ? 0 : -1;
}

static int dir_history(void *store, const char *name, struct registry_change **all, size_t *n,
                       struct err *err)
{
    const struct store *s = store;
    char *path = file_path("%s/%s/history", s->root, name), *text = NULL, *save = NULL;
    struct registry_change *got = xcalloc(1, sizeof *got);
    size_t k = 0, cap = 1, number = 0;
    int rc = file_exists(path) ? file_read(path, MAX_HISTORY, &text, NULL, err) : 0;
    for (char *line = text && rc == 0 ? strtok_r(text, "\n", &save) : NULL; line && rc == 0;
         line = strtok_r(NULL, "\n", &save)) {
        if (k == cap) {
            cap *= 2;
            got = xrealloc(got, cap * sizeof *got);
        }
        number++;
        if (parse_change(line, &got[k++]) != 0)
            rc =
                err_set(err, ERR_FORMAT, "%s:%zu: expected ms, who, alias, from, to", path, number);
    }
    free(text);
    free(path);
    if (rc != 0) {
        free(got);
        return -1;
    }
    *all = got;
    *n = k;
    return 0;
}

/* Under the lock: no alias can come to name it meanwhile. */
static int remove_locked(void *store, const char *name, const char *version, struct err *err)
{
    struct registry_alias *all;
    size_t n;
    char *path = version_path(store, name, version), *gone = file_path("%s.gone", path);
    int rc = dir_aliases(store, name, &all, &n, err);
    for (size_t i = 0; rc == 0 && i < n; i++)
        if (strcmp(all[i].version, version) == 0)
            rc = err_set(err, ERR_CONFLICT, "%s: the alias %s names it", path, all[i].alias);
    if (rc == 0) {
        free(all);
        if (!file_exists(path))
            rc = err_set(err, ERR_MISSING, "%s: no such version", path);
        else if (file_remove_dir(gone, err) != 0) /* of a removal that was killed */
            rc = -1;
        else if (rename(path, gone) != 0) /* readers see all of it or none */
            rc = fail(err, path, "rename");
        else
            rc = file_remove_dir(gone, err);
    }
    free(gone);
    free(path);
    return rc;
}

static int dir_remove(void *store, const char *name, const char *version, struct err *err)
{
    int lock = lock_model(store, name, err);
    if (lock < 0)
        return -1;
    int rc = remove_locked(store, name, version, err);
    (void)close(lock);
    return rc;
}

struct aged {
    char *version;
    struct timespec made;
};

static int newest_first(const void *a, const void *b)
{
    const struct timespec *x = &((const struct aged *)a)->made,
                          *y = &((const struct aged *)b)->made;
    if (x->tv_sec != y->tv_sec)
        return x->tv_sec < y->tv_sec ? 1 : -1;
    return (x->tv_nsec < y->tv_nsec) - (x->tv_nsec > y->tv_nsec);
}

/* When anything in a directory was last written: the copy of a large file moves no directory's time. */
static time_t newest_in(const char *dir, time_t newest)
{
    struct file_list list;
    struct stat st;
    if (file_list(dir, &list, NULL) != 0)
        return newest;
    for (size_t i = 0; i < list.n; i++) {
        char *path = file_path("%s/%s", dir, list.names[i]);
        if (stat(path, &st) == 0 && st.st_mtime > newest)
            newest = st.st_mtime;
        free(path);
    }
    file_list_free(&list);
    return newest;
}

/* What killed pushes and removals left behind. */
static void sweep(const struct store *s, const char *name)
{
    char *dir = file_path("%s/%s/versions", s->root, name);
    struct file_list list;
    if (file_list(dir, &list, NULL) == 0) {
        for (size_t i = 0; i < list.n; i++) {
            char *path = file_path("%s/%s", dir, list.names[i]);
            struct stat st;
            if (!manifest_is_version(list.names[i]) && stat(path, &st) == 0 &&
                time(NULL) - newest_in(path, st.st_mtime) > LEASE_SECONDS)
                (void)file_remove_dir(path, NULL);
            free(path);
        }
        file_list_free(&list);
    }
    free(dir);
}

static int gc_locked(void *store, const char *name, int keep, char ***removed, size_t *n,
                     struct err *err)
{
    struct registry_alias *all = NULL;
    size_t n_all, n_versions = 0, gone = 0;
    char **versions;
    if (dir_aliases(store, name, &all, &n_all, err) != 0)
        return -1;
    if (dir_list(store, name, &versions, &n_versions, err) != 0) {
        free(all);
        return -1;
    }
    struct aged *aged = xcalloc(n_versions + 1, sizeof *aged);
    for (size_t i = 0; i < n_versions; i++) {
        struct stat st;
        char *path = version_path(store, name, versions[i]);
        aged[i].version = versions[i];
        if (stat(path, &st) == 0)
            aged[i].made = st.st_mtim;
        free(path);
    }
    qsort(aged, n_versions, sizeof *aged, newest_first);
    int rc = 0, kept = 0;
    for (size_t i = 0; i < n_versions; i++) {
        bool named = false;
        for (size_t k = 0; k < n_all; k++)
            named |= strcmp(all[k].version, aged[i].version) == 0;
        if (named || kept++ < keep || rc != 0 ||
            (rc = remove_locked(store, name, aged[i].version, err)) != 0)
            free(aged[i].version);
        else
            versions[gone++] = aged[i].version;
    }
    free(aged);
    free(all);
    sweep(store, name);
    if (rc != 0) {
        while (gone-- > 0)
            free(versions[gone]);
        free(versions);
        return -1;
    }
    *removed = versions;
    *n = gone;
    return 0;
}

static int dir_gc(void *store, const char *name, int keep, char ***removed, size_t *n,
                  struct err *err)
{
    int lock = lock_model(store, name, err);
    if (lock < 0)
        return -1;
    int rc = gc_locked(store, name, keep, removed, n, err);
    (void)close(lock);
    return rc;
}

const struct registry_backend registry_dir = {
    .scheme = "dir",
    .form = "dir:PATH",
    .open = dir_open,
    .close = dir_close,
    .push = dir_push,
    .set_alias = dir_set_alias,
    .resolve = dir_resolve,
    .fetch = dir_fetch,
    .list = dir_list,
    .verify = dir_verify,
    .aliases = dir_aliases,
    .history = dir_history,
    .remove = dir_remove,
    .gc = dir_gc,
};
