/* Files: read whole with a bound, replace atomically, walk a directory. Every message names the
 * path. */
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

/* Reads all of path (at most max bytes, else an error) into a malloc'd, NUL-terminated block that
 * the caller frees. */
int file_read(const char *path, size_t max, char **data, size_t *len, struct err *err);

/* A whole file mapped read-only. An empty file maps to data = NULL, len = 0. */
struct file_map {
    const unsigned char *data;
    size_t len;
};
int file_map_open(struct file_map *m, const char *path, struct err *err);
void file_map_close(struct file_map *m);

/* Writes a hidden temporary file beside path (mode 0644), fsyncs it, renames it over path and
 * fsyncs the directory: a reader sees the old file or the new one, never a part. On failure the old
 * file is untouched and the temporary one removed. */
int file_replace(const char *path, const void *data, size_t len, struct err *err);

/* Copies a file the same way. */
int file_copy(const char *from, const char *to, struct err *err);

int file_mkdirs(const char *path, struct err *err); /* like mkdir -p, mode 0755 */
bool file_exists(const char *path);
bool file_is_directory(const char *path);           /* or a link to one */
bool file_same_place(const char *a, const char *b); /* both are there, and one */
/* Removes a directory and the plain files in it (one level; what a version directory is). Missing
 * is success. */
int file_remove_dir(const char *path, struct err *err);
int file_sync_dir(const char *path, struct err *err);

/* Names in a directory, sorted by bytes, without "." and ".."; free with file_list_free. */
struct file_list {
    char **names;
    size_t n;
};
int file_list(const char *path, struct file_list *list, struct err *err);
void file_list_add(struct file_list *list, char *name); /* malloc'd, the list's from here on */
void file_list_sort(struct file_list *list);
void file_list_free(struct file_list *list);

/* The same of all that is below a directory: "a", "b/" (a directory), "b/c", …, sorted by bytes.
 * Symbolic links are names like files'.  hidden: names that begin with '.' too, and what is below them.
 * Refused: over FILE_TREE_LEVELS directories deep. */
enum { FILE_TREE_LEVELS = 8 };
int file_list_tree(const char *path, bool hidden, struct file_list *list, struct err *err);
/* Removes a directory and all below it; symbolic links are removed, not followed. Missing is success. */
int file_remove_tree(const char *path, struct err *err);
/* The directories of "a/b/file" below root, which must be there. */
int file_mkdirs_below(const char *root, const char *name, struct err *err);
int file_sync_above(const char *path, struct err *err); /* the directory that a file lies in */

/* printf into a malloc'd path that the caller frees. */
char *file_path(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
