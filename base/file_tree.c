/* Directories with what is below them. */
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/file.h"

enum { OPEN_AT_ONCE = 16 };

/* What lies in root/below ("" or "a/b/"), each name with `below` in front. */
static int list_below(const char *root, const char *below, int levels, bool hidden,
                      struct file_list *out, struct err *err)
{
    struct file_list here;
    char *dir = file_path(*below ? "%s/%s" : "%s%s", root, below);
    int rc = levels > 0
                 ? file_list(dir, &here, err)
                 : err_set(err, ERR_FORMAT, "%s: over %d directories deep", dir, FILE_TREE_LEVELS);
    free(dir);
    if (rc != 0)
        return -1;
    for (size_t i = 0; i < here.n && rc == 0; i++) {
        struct stat st;
        if (!hidden && here.names[i][0] == '.')
            continue;
        char *path = file_path("%s/%s%s", root, below, here.names[i]);
        bool deeper = lstat(path, &st) == 0 && S_ISDIR(st.st_mode);
        free(path);
        char *name = file_path("%s%s%s", below, here.names[i], deeper ? "/" : "");
        file_list_add(out, name);
        if (deeper)
            rc = list_below(root, name, levels - 1, hidden, out, err);
    }
    file_list_free(&here);
    return rc;
}

int file_list_tree(const char *path, bool hidden, struct file_list *list, struct err *err)
{
    *list = (struct file_list){0};
    if (list_below(path, "", FILE_TREE_LEVELS, hidden, list, err) != 0) {
        file_list_free(list);
        return -1;
    }
    file_list_sort(list);
    return 0;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

int file_remove_tree(const char *path, struct err *err)
{
    struct stat st;
    if (lstat(path, &st) != 0 && errno == ENOENT)
        return 0;
    return nftw(path, remove_entry, OPEN_AT_ONCE, FTW_DEPTH | FTW_PHYS) == 0
               ? 0
               : err_set(err, ERR_IO, "%s: remove: %s", path, strerror(errno));
}

int file_mkdirs_below(const char *root, const char *name, struct err *err)
{
    char *path = file_path("%s/%s", root, name);
    int rc = 0;
    for (char *s = path + strlen(root) + 1; rc == 0 && (s = strchr(s, '/')); s++) {
        *s = '\0';
        if (mkdir(path, 0755) != 0 && errno != EEXIST)
            rc = err_set(err, ERR_IO, "%s: mkdir: %s", path, strerror(errno));
        *s = '/';
    }
    free(path);
    return rc;
}

int file_sync_above(const char *path, struct err *err)
{
    char *dir = xstrdup(path), *slash = strrchr(dir, '/');
    if (slash)
        slash[slash == dir] = '\0';
    int rc = file_sync_dir(slash ? dir : ".", err);
    free(dir);
    return rc;
}
