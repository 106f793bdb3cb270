/* The registry in a directory: a local disk, or a volume that several hosts mount. Nothing is
 * locked: a version is put together in a hidden directory beside and appears by one rename, which
 * the file system lets one pusher win; the others find the same files there. Nothing is ever
 * changed in place, so a reader needs no lock either. */
#include "models/registry_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "models/manifest.h"

enum { COPY_BLOCK = 1 << 18 };

int dir_fail(struct err *err, const char *path, const char *what)
{
    return err_set(err, errno == ENOENT ? ERR_MISSING : ERR_IO, "%s: %s: %s", path, what,
                   strerror(errno));
}

static int dir_open(const char *rest, void **store, struct err *err)
{
    (void)err; /* the directory may be made by the first push */
    struct dir_store *s = xcalloc(1, sizeof *s);
    s->root = xstrdup(rest);
    *store = s;
    return 0;
}

static void dir_close(void *store)
{
    struct dir_store *s = store;
    free(s->root);
    free(s);
}

char *dir_version_path(const struct dir_store *s, const char *name, const char *version)
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
            rc = dir_fail(err, from, "read");
        if (got <= 0)
            break;
        for (ssize_t at = 0; at < got && rc == 0;) {
            ssize_t put = write(out, block + at, (size_t)(got - at));
            if (put >= 0)
                at += put;
            else if (errno != EINTR)
                rc = dir_fail(err, to, "write");
        }
        if (rc != 0)
            break;
    }
    free(block);
    if (rc == 0 && fsync(out) != 0)
        rc = dir_fail(err, to, "fsync");
    return rc;
}

/* Copies a plain file, a symbolic link to one included (a checkpoint's cache is made of those).
 * Read, not mapped: a file that is cut off meanwhile must not kill the process. *st says what was
 * copied. */
static int copy_file(const char *from, const char *to, struct stat *st, struct err *err)
{
    int in = open(from, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO must not hold us */
    if (in < 0)
        return dir_fail(err, from, "open");
    int out = -1, rc = 0;
    if (fstat(in, st) != 0)
        rc = dir_fail(err, from, "stat");
    else if (!S_ISREG(st->st_mode))
        rc = err_set(err, ERR_FORMAT, "%s: %s; a version holds plain files only", from,
                     S_ISDIR(st->st_mode) ? "a directory" : "not a plain file");
    if (rc == 0 && (out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644)) < 0)
        rc = dir_fail(err, to, "create");
    if (rc == 0)
        rc = pump(in, from, out, to, err);
    (void)close(in);
    if (out >= 0 && close(out) != 0 && rc == 0)
        rc = dir_fail(err, to, "close");
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
        rc = file_mkdirs_below(to, list.names[i], err) == 0 ? copy_file(from, copy, &before[i], err)
                                                            : -1;
        if (rc == 0 && strchr(list.names[i], '/'))
            rc = file_sync_above(copy, err);
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
        rc = dir_fail(err, tmp, "chmod");
    if (rc != 0)
        manifest_done(m);
    return rc;
}

/* A damaged version gives way to the same content, whole again. */
static int exchange(const char *path, const char *tmp, struct err *err)
{
    char *aside = file_path("%s.damaged", path);
    int rc = file_remove_tree(aside, err);
    if (rc == 0 && rename(path, aside) != 0)
        rc = dir_fail(err, path, "rename");
    if (rc == 0 && rename(tmp, path) != 0)
        rc = dir_fail(err, path, "rename");
    if (rc == 0)
        (void)file_remove_tree(aside, NULL); /* what else lies in it is nobody's version */
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
            rc = file_remove_tree(tmp, err);
        else
            rc = exchange(path, tmp, err);
    } else {
        rc = dir_fail(err, path, "rename");
    }
    free(path);
    return rc;
}

static int dir_push(void *store, const char *name, const char *dir, char version[REGISTRY_VERSION],
                    struct err *err)
{
    const struct dir_store *s = store;
    char *model = file_path("%s/%s", s->root, name), *versions = file_path("%s/versions", model);
    char *tmp = file_path("%s/.push.XXXXXX", versions);
    struct manifest m;
    int rc = file_mkdirs(versions, err);
    if (rc == 0 && !mkdtemp(tmp))
        rc = dir_fail(err, tmp, "create");
    if (rc == 0) {
        rc = prepare(name, dir, tmp, &m, err);
        if (rc == 0) {
            rc = publish(versions, tmp, &m, err);
            if (rc == 0)
                memcpy(version, m.version, sizeof m.version);
            manifest_done(&m);
        }
        if (rc != 0)
            (void)file_remove_tree(tmp, NULL);
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
    char *path = dir_version_path(store, name, version);
    if (verify(path, name, version, err) != 0) {
        free(path);
        return -1;
    }
    *dir = path;
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
