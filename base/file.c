#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int fail(struct err *err, const char *path, const char *what)
{
    return err_set(err, errno == ENOENT ? ERR_MISSING : ERR_IO, "%s: %s: %s", path, what,
                   strerror(errno));
}

int file_read(const char *path, size_t max, char **data, size_t *len, struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return fail(err, path, "open");
    /* Not sized by fstat: pipes and /proc files have no size to trust. */
    size_t cap = 65536, n = 0;
    char *p = xmalloc(cap + 1);
    for (;;) {
        if (n == cap) {
            cap *= 2;
            p = xrealloc(p, cap + 1);
        }
        ssize_t got = read(fd, p + n, cap - n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            (void)fail(err, path, "read");
            break;
        }
        if (got == 0) {
            (void)close(fd);
            p[n] = '\0';
            *data = p;
            if (len)
                *len = n;
            return 0;
        }
        n += (size_t)got;
        if (n > max) {
            (void)err_set(err, ERR_FORMAT, "%s: more than %zu bytes", path, max);
            break;
        }
    }
    free(p);
    (void)close(fd);
    return -1;
}

int file_map_open(struct file_map *m, const char *path, struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return fail(err, path, "open");
    struct stat st;
    if (fstat(fd, &st) != 0) {
        (void)fail(err, path, "stat");
        (void)close(fd);
        return -1;
    }
    if (!S_ISREG(st.st_mode)) {
        (void)close(fd);
        return err_set(err, ERR_FORMAT, "%s: not a plain file", path);
    }
    void *p = NULL;
    if (st.st_size > 0) {
        p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED) {
            (void)fail(err, path, "mmap");
            (void)close(fd);
            return -1;
        }
    }
    (void)close(fd);
    m->data = p;
    m->len = (size_t)st.st_size;
    return 0;
}

void file_map_close(struct file_map *m)
{
    if (m->data)
        (void)munmap((void *)(size_t)m->data, m->len);
    m->data = NULL;
    m->len = 0;
}

static int write_all(int fd, const char *p, size_t n)
{
    while (n) {
        ssize_t done = write(fd, p, n);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return -1;
        p += done;
        n -= (size_t)done;
    }
    return 0;
}

bool file_same_place(const char *a, const char *b)
{
    char *x = realpath(a, NULL), *y = realpath(b, NULL);
    bool same = x && y && strcmp(x, y) == 0;
    free(x);
    free(y);
    return same;
}

int file_sync_dir(const char *path, struct err *err)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return fail(err, path, "open");
    int rc = fsync(fd);
    if (rc != 0)
        (void)fail(err, path, "fsync");
    (void)close(fd);
    return rc;
}

int file_replace(const char *path, const void *data, size_t len, struct err *err)
{
    /* A hidden name of its own: process ids collide between containers that share a volume. */
    const char *base = strrchr(path, '/');
    base = base ? base + 1 : path;
    char *tmp = file_path("%.*s.%s.XXXXXX", (int)(base - path), path, base);
    int fd = mkostemp(tmp, O_CLOEXEC);
    if (fd < 0) {
        (void)fail(err, path, "create beside it");
        free(tmp);
        return -1;
    }
    int rc = write_all(fd, data, len);
    if (rc != 0)
        (void)fail(err, tmp, "write");
    else if ((rc = fchmod(fd, 0644)) != 0)
        (void)fail(err, tmp, "chmod");
    else if ((rc = fsync(fd)) != 0)
        (void)fail(err, tmp, "fsync");
    (void)close(fd);
    if (rc == 0 && (rc = rename(tmp, path)) != 0)
        (void)fail(err, path, "rename");
    if (rc != 0) {
        (void)unlink(tmp);
        free(tmp);
        return -1;
    }
    free(tmp);
    char *dir = xstrdup(path);
    char *slash = strrchr(dir, '/');
    if (slash)
        slash[slash == dir] = '\0';
    rc = file_sync_dir(slash ? dir : ".", err);
    free(dir);
    return rc;
}

int file_copy(const char *from, const char *to, struct err *err)
{
    struct file_map m;
    if (file_map_open(&m, from, err) != 0)
        return -1;
    int rc = file_replace(to, m.data, m.len, err);
    file_map_close(&m);
    return rc;
}

int file_mkdirs(const char *path, struct err *err)
{
    if (!*path)
        return err_set(err, ERR_IO, "an empty path is no directory");
    char *p = xstrdup(path);
    for (char *s = p + 1;; s++) {
        if (*s != '/' && *s != '\0')
            continue;
        char kept = *s;
        *s = '\0';
        if (mkdir(p, 0755) != 0 && errno != EEXIST) {
            (void)fail(err, p, "mkdir");
            free(p);
            return -1;
        }
        *s = kept;
        if (!kept)
            break;
    }
    struct stat st;
    int ok = stat(p, &st) == 0 && S_ISDIR(st.st_mode);
    free(p);
    return ok ? 0 : err_set(err, ERR_IO, "%s: not a directory", path);
}

bool file_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

bool file_is_directory(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

int file_remove_dir(const char *path, struct err *err)
{
    struct file_list list;
    if (!file_exists(path))
        return 0;
    if (file_list(path, &list, err) != 0)
        return -1;
    for (size_t i = 0; i < list.n; i++) {
        char *p = file_path("%s/%s", path, list.names[i]);
        (void)unlink(p);
        free(p);
    }
    file_list_free(&list);
    return rmdir(path) == 0 ? 0 : fail(err, path, "rmdir");
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

void file_list_sort(struct file_list *list)
{
    if (list->n)
        qsort(list->names, list->n, sizeof *list->names, by_name);
}

void file_list_add(struct file_list *list, char *name)
{
    if ((list->n & (list->n - 1)) == 0) /* room for a power of two */
        list->names = xrealloc(list->names, (list->n ? 2 * list->n : 1) * sizeof *list->names);
    list->names[list->n++] = name;
}

int file_list(const char *path, struct file_list *list, struct err *err)
{
    *list = (struct file_list){0};
    DIR *dir = opendir(path);
    if (!dir)
        return fail(err, path, "open");
    for (struct dirent *e; (e = readdir(dir));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            file_list_add(list, xstrdup(e->d_name));
    (void)closedir(dir);
    file_list_sort(list);
    return 0;
}

void file_list_free(struct file_list *list)
{
    for (size_t i = 0; i < list->n; i++)
        free(list->names[i]);
    free(list->names);
    *list = (struct file_list){0};
}

char *file_path(const char *fmt, ...)
{
    char *p = NULL;
    va_list ap;
    va_start(ap, fmt);
    int n = vasprintf(&p, fmt, ap);
    va_end(ap);
    return n < 0 ? xstrdup("") : p;
}
