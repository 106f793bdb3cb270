/* What the versions in a directory are called: aliases, their history, and which versions there are.
 * Changes take turns by a lock file. */
#include <errno.h>
#include <fcntl.h>
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
#include "models/registry_dir.h"

enum { MAX_HISTORY = 64 << 20, LEASE_SECONDS = 600 };

/* Changes of aliases take turns: what is expected, the flip and its line in the history are one
 * step. -1, or a descriptor to close. */
static int lock_model(const struct dir_store *s, const char *name, struct err *err)
{
    char *path = file_path("%s/%s/.changes", s->root, name);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0 || flock(fd, LOCK_EX) != 0) {
        (void)dir_fail(err, path, "lock");
        if (fd >= 0)
            (void)close(fd);
        fd = -1;
    }
    free(path);
    return fd;
}

/* A line is whole or not there: what a full disk cut off is taken back. */
static int append_history(const struct dir_store *s, const char *name, const char *line,
                          struct err *err)
{
    char *path = file_path("%s/%s/history", s->root, name);
    size_t n = strlen(line);
    int rc = 0, fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    struct stat st = {0};
    if (fd < 0 || fstat(fd, &st) != 0)
        rc = dir_fail(err, path, "open");
    else if (write(fd, line, n) != (ssize_t)n || fsync(fd) != 0) {
        rc = dir_fail(err, path, "append");
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

static int flip(const struct dir_store *s, const char *name, const char *alias, const char *version,
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
    char *there = dir_version_path(s, name, version);
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

int dir_set_alias(void *store, const char *name, const char *alias, const char *version,
                  const char *expect, const char *by, struct err *err)
{
    const struct dir_store *s = store;
    if (registry_dir.verify(store, name, version, err) != 0)
        return -1;
    int lock = lock_model(s, name, err);
    if (lock < 0)
        return -1;
    int rc = flip(s, name, alias, version, expect, by, err);
    (void)close(lock);
    return rc;
}

int dir_resolve(void *store, const char *name, const char *what, char version[REGISTRY_VERSION],
                struct err *err)
{
    const struct dir_store *s = store;
    char *alias = file_path("%s/%s/aliases/%s", s->root, name, what), *path = NULL;
    char found[REGISTRY_VERSION];
    int rc = 0;
    if (manifest_is_version(what)) {
        memcpy(found, what, sizeof found);
        path = dir_version_path(s, name, found);
        if (!file_exists(path))
            rc = err_set(err, ERR_MISSING, "%s: no such version", path);
    } else if (!file_exists(alias)) {
        rc = err_set(err, ERR_MISSING, "%s: no such alias", alias);
    } else if ((rc = read_alias(alias, found, err)) == 0) {
        path = dir_version_path(s, name, found);
        if (!file_exists(path))
            rc = err_set(err, ERR_CONFLICT, "%s: points to %s, which does not exist", alias, path);
    }
    if (rc == 0)
        memcpy(version, found, sizeof found);
    free(path);
    free(alias);
    return rc;
}

int dir_list(void *store, const char *name, char ***versions, size_t *n, struct err *err)
{
    const struct dir_store *s = store;
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

int dir_aliases(void *store, const char *name, struct registry_alias **all, size_t *n,
                struct err *err)
{
    const struct dir_store *s = store;
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

int dir_history(void *store, const char *name, struct registry_change **all, size_t *n,
                struct err *err)
{
    const struct dir_store *s = store;
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
    char *path = dir_version_path(store, name, version), *gone = file_path("%s.gone", path);
    int rc = dir_aliases(store, name, &all, &n, err);
    for (size_t i = 0; rc == 0 && i < n; i++)
        if (strcmp(all[i].version, version) == 0)
            rc = err_set(err, ERR_CONFLICT, "%s: the alias %s names it", path, all[i].alias);
    if (rc == 0) {
        free(all);
        if (!file_exists(path))
            rc = err_set(err, ERR_MISSING, "%s: no such version", path);
        else if (file_remove_tree(gone, err) != 0) /* of a removal that was killed */
            rc = -1;
        else if (rename(path, gone) != 0) /* readers see all of it or none */
            rc = dir_fail(err, path, "rename");
        else
            rc = file_remove_tree(gone, err);
    }
    free(gone);
    free(path);
    return rc;
}

int dir_remove(void *store, const char *name, const char *version, struct err *err)
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
    if (file_list_tree(dir, true, &list, NULL) != 0)
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
static void sweep(const struct dir_store *s, const char *name)
{
    char *dir = file_path("%s/%s/versions", s->root, name);
    struct file_list list;
    if (file_list(dir, &list, NULL) == 0) {
        for (size_t i = 0; i < list.n; i++) {
            char *path = file_path("%s/%s", dir, list.names[i]);
            struct stat st;
            if (!manifest_is_version(list.names[i]) && stat(path, &st) == 0 &&
                time(NULL) - newest_in(path, st.st_mtime) > LEASE_SECONDS)
                (void)file_remove_tree(path, NULL);
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
        char *path = dir_version_path(store, name, versions[i]);
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

int dir_gc(void *store, const char *name, int keep, char ***removed, size_t *n, struct err *err)
{
    int lock = lock_model(store, name, err);
    if (lock < 0)
        return -1;
    int rc = gc_locked(store, name, keep, removed, n, err);
    (void)close(lock);
    return rc;
}
