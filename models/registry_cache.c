#include "models/registry_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"

enum { MAX_VERSIONS = 10000 };

static int find_dir(struct registry_cache *c, struct err *err)
{
    const char *base = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (c->dir)
        return 0;
    if (base && *base)
        c->dir = file_path("%s/rubric", base);
    else if (home && *home)
        c->dir = file_path("%s/.cache/rubric", home);
    else
        return err_set(err, ERR_CONFIG, "cache: set it, or XDG_CACHE_HOME or HOME");
    return 0;
}

/* One process at a time takes names away or gives them, so that what a name stands for is never half
 * gone. -1: not to be had (another process would only lose a race for it). */
static int lock_cache(const struct registry_cache *c)
{
    char *path = file_path("%s/.lock", c->dir);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd >= 0)
        (void)flock(fd, LOCK_EX);
    free(path);
    return fd;
}

static void unlock_cache(int fd)
{
    if (fd >= 0)
        (void)close(fd);
}

/* Its name goes first, by one rename: a reader with open files keeps them, nobody sees half of it. */
static int retire(const char *path)
{
    char *aside = file_path("%s.retired.%ld", path, (long)getpid());
    int rc = rename(path, aside) == 0 ? file_remove_tree(aside, NULL) : -1;
    free(aside);
    return rc;
}

static int check(const char *path, const char *name, const char *version, struct err *err)
{
    struct manifest m;
    if (manifest_read(&m, path, err) != 0)
        return -1;
    int rc = 0;
    if (strcmp(m.name, name) != 0 || strcmp(m.version, version) != 0)
        rc = err_set(err, ERR_FORMAT, "%s: is of %s %s", path, m.name, m.version);
    if (rc == 0)
        rc = manifest_verify(&m, path, err);
    manifest_done(&m);
    return rc;
}

int cache_find(struct registry_cache *c, const char *name, const char *version, char **path,
               struct err *err)
{
    struct err why = {0};
    if (find_dir(c, err) != 0)
        return -1;
    *path = file_path("%s/%s/%s", c->dir, name, version);
    if (file_exists(*path)) {
        int lock = lock_cache(c), rc = check(*path, name, version, &why);
        /* Damage goes; what only could not be read this time stays. */
        if (rc == 0)
            (void)utimensat(AT_FDCWD, *path, NULL, 0); /* used now */
        else if (why.code != ERR_IO)
            (void)retire(*path);
        unlock_cache(lock);
        if (rc == 0)
            return 0;
    }
    free(*path);
    *path = NULL;
    if (why.code == ERR_IO) {
        if (err)
            *err = why;
        return -1;
    }
    return 1;
}

int cache_begin(struct registry_cache *c, const char *name, char **tmp, struct err *err)
{
    if (find_dir(c, err) != 0)
        return -1;
    char *dir = file_path("%s/%s", c->dir, name);
    *tmp = file_path("%s/.fetch.XXXXXX", dir);
    int rc = file_mkdirs(dir, err);
    if (rc == 0 && !mkdtemp(*tmp))
        rc = err_set(err, ERR_IO, "%s: create: %s", *tmp, strerror(errno));
    free(dir);
    if (rc != 0) {
        free(*tmp);
        *tmp = NULL;
    }
    return rc;
}

void cache_drop(char *tmp)
{
    (void)file_remove_tree(tmp, NULL);
    free(tmp);
}

struct cached {
    char *path;
    int64_t bytes, used_ns;
};

/* A version that an alias was last served by: what a start without the registry needs. */
static bool noted(const char *dir, const char *version)
{
    struct file_list list;
    char *aliases = file_path("%s/aliases", dir);
    bool found = false;
    if (file_list(aliases, &list, NULL) == 0) {
        for (size_t i = 0; i < list.n; i++) {
            char *path = file_path("%s/%s", aliases, list.names[i]), *line = NULL;
            if (file_read(path, 64, &line, NULL, NULL) == 0)
                found |= strncmp(line, version, REGISTRY_VERSION - 1) == 0;
            free(line);
            free(path);
        }
        file_list_free(&list);
    }
    free(aliases);
    return found;
}

static int by_use(const void *a, const void *b)
{
    const struct cached *x = a, *y = b;
    return (x->used_ns > y->used_ns) - (x->used_ns < y->used_ns);
}

static int64_t bytes_of(const char *dir)
{
    struct file_list list;
    int64_t bytes = 0;
    if (file_list_tree(dir, true, &list, NULL) != 0)
        return 0;
    for (size_t i = 0; i < list.n; i++) {
        struct stat st;
        char *path = file_path("%s/%s", dir, list.names[i]);
        if (stat(path, &st) == 0 && S_ISREG(st.st_mode))
            bytes += st.st_size;
        free(path);
    }
    file_list_free(&list);
    return bytes;
}

/* Removes what was used longest ago until the bound holds; never `kept`.  A directory that is being
 * filled has no version's name and is left alone for an hour. */
static void make_room(const struct registry_cache *c, const char *kept)
{
    struct file_list names, versions;
    struct cached *all = xcalloc(MAX_VERSIONS, sizeof *all);
    size_t n = 0;
    int64_t sum = 0;
    if (file_list(c->dir, &names, NULL) != 0)
        names = (struct file_list){0};
    for (size_t i = 0; i < names.n; i++) {
        char *dir = file_path("%s/%s", c->dir, names.names[i]);
        if (file_list(dir, &versions, NULL) != 0)
            versions = (struct file_list){0};
        for (size_t k = 0; k < versions.n && n < MAX_VERSIONS; k++) {
            char *path = file_path("%s/%s", dir, versions.names[k]);
            struct stat st;
            bool version = manifest_is_version(versions.names[k]);
            if (version && noted(dir, versions.names[k])) {
                sum += bytes_of(path);
                free(path);
                continue;
            }
            if (stat(path, &st) == 0 && S_ISDIR(st.st_mode) &&
                (version ||
                 (strcmp(versions.names[k], "aliases") != 0 && time(NULL) - st.st_mtime > 3600))) {
                all[n] = (struct cached){
                    path, bytes_of(path),
                    version ? st.st_mtim.tv_sec * INT64_C(1000000000) + st.st_mtim.tv_nsec : 0};
                sum += all[n++].bytes;
            } else {
                free(path);
            }
        }
        file_list_free(&versions);
        free(dir);
    }
    file_list_free(&names);
    qsort(all, n, sizeof *all, by_use);
    for (size_t i = 0; i < n; i++) {
        if ((sum > c->bytes || all[i].used_ns == 0) && strcmp(all[i].path, kept) != 0 &&
            retire(all[i].path) == 0)
            sum -= all[i].bytes;
        free(all[i].path);
    }
    free(all);
}

int cache_keep(struct registry_cache *c, char *tmp, const struct manifest *m, char **path,
               struct err *err)
{
    char *text = manifest_text(m), *file = file_path("%s/%s", tmp, MANIFEST_FILE);
    char *to = file_path("%s/%s/%s", c->dir, m->name, m->version);
    int rc = file_replace(file, text, strlen(text), err);
    if (rc == 0)
        rc = manifest_verify(m, tmp, err);
    if (rc == 0 && chmod(tmp, 0755) != 0)
        rc = err_set(err, ERR_IO, "%s: chmod: %s", tmp, strerror(errno));
    int lock = lock_cache(c);
    if (rc == 0 && rename(tmp, to) != 0) {
        int why = errno; /* another process may have been quicker */
        if (check(to, m->name, m->version, NULL) != 0)
            rc = err_set(err, ERR_IO, "%s: rename: %s", to, strerror(why));
    }
    free(text);
    free(file);
    cache_drop(tmp);
    if (rc == 0)
        make_room(c, to);
    unlock_cache(lock);
    if (rc != 0) {
        free(to);
        return -1;
    }
    *path = to;
    return 0;
}

int cache_note(struct registry_cache *c, const char *name, const char *alias, const char *version,
               struct err *err)
{
    if (find_dir(c, err) != 0)
        return -1;
    char *dir = file_path("%s/%s/aliases", c->dir, name), *path = file_path("%s/%s", dir, alias);
    char now[REGISTRY_VERSION], line[REGISTRY_VERSION + 1];
    (void)snprintf(line, sizeof line, "%s\n", version);
    int rc = 0;
    if (cache_last(c, name, alias, now, NULL) != 0 || strcmp(now, version) != 0) {
        rc = file_mkdirs(dir, err);
        if (rc == 0)
            rc = file_replace(path, line, strlen(line), err);
    }
    free(dir);
    free(path);
    return rc;
}

int cache_last(struct registry_cache *c, const char *name, const char *alias,
               char version[REGISTRY_VERSION], struct err *err)
{
    char *line = NULL;
    if (find_dir(c, err) != 0)
        return -1;
    char *path = file_path("%s/%s/aliases/%s", c->dir, name, alias);
    int rc = file_read(path, 64, &line, NULL, err);
    if (rc == 0) {
        line[strcspn(line, "\n")] = '\0';
        if (manifest_is_version(line))
            memcpy(version, line, REGISTRY_VERSION);
        else
            rc = err_set(err, ERR_FORMAT, "%s: expected a version", path);
    }
    free(line);
    free(path);
    return rc;
}
