#include "worker/demo_registry.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

#define NAME "headlines"
#define ALIAS "production"

static int copy_files(const char *from, const char *to, struct err *err)
{
    struct file_list list;
    if (file_mkdirs(to, err) != 0 || file_list(from, &list, err) != 0)
        return -1;
    int rc = 0;
    for (size_t i = 0; i < list.n && rc == 0; i++) {
        char *a = file_path("%s/%s", from, list.names[i]),
             *b = file_path("%s/%s", to, list.names[i]);
        rc = file_copy(a, b, err);
        free(a);
        free(b);
    }
    file_list_free(&list);
    return rc;
}

/* The version in production of the shipped registry, and the directory it lies in. */
static int find_shipped(const char *shipped, char **dir, struct err *err)
{
    struct registry *r = NULL;
    char version[REGISTRY_VERSION], *url = file_path("dir:%s", shipped);
    int rc = registry_open(url, &r, err);
    if (rc == 0)
        rc = registry_resolve(r, NAME, ALIAS, version, err);
    if (rc == 0)
        rc = registry_fetch(r, NAME, version, dir, err);
    registry_close(r);
    free(url);
    return rc;
}

static int fill(struct demo_registry *r, const char *model, struct err *err)
{
    static const char note[] = "The same network, published again.\n";
    struct registry *to = NULL;
    char *second = file_path("%s/second", r->dir), *path = file_path("%s/NOTE.txt", second);
    int rc = registry_open(r->url, &to, err);
    if (rc == 0)
        rc = registry_push(to, NAME, model, r->first, err);
    if (rc == 0)
        rc = registry_set_alias(to, NAME, ALIAS, r->first, err);
    if (rc == 0)
        rc = copy_files(model, second, err);
    if (rc == 0)
        rc = file_replace(path, note, sizeof note - 1, err);
    if (rc == 0)
        rc = registry_push(to, NAME, second, r->second, err);
    registry_close(to);
    free(path);
    free(second);
    return rc;
}

int demo_registry_open(const char *shipped, struct demo_registry *r, struct err *err)
{
    const char *tmp = getenv("TMPDIR");
    char *model = NULL;
    *r = (struct demo_registry){.dir = file_path("%s/rubric-demo-XXXXXX", tmp ? tmp : "/tmp")};
    if (!mkdtemp(r->dir)) {
        (void)err_set(err, ERR_IO, "%s: cannot make a directory: %s", r->dir, strerror(errno));
        free(r->dir);
        r->dir = NULL;
        return -1;
    }
    r->url = file_path("dir:%s/registry", r->dir);
    int rc = find_shipped(shipped, &model, err);
    if (rc == 0)
        rc = fill(r, model, err);
    free(model);
    if (rc != 0)
        demo_registry_close(r);
    return rc;
}

int demo_registry_promote(const struct demo_registry *r, struct err *err)
{
    struct registry *to = NULL;
    int rc = registry_open(r->url, &to, err);
    if (rc == 0)
        rc = registry_set_alias(to, NAME, ALIAS, r->second, err);
    registry_close(to);
    return rc;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *where)
{
    (void)st;
    (void)type;
    (void)where;
    return remove(path);
}

void demo_registry_close(struct demo_registry *r)
{
    if (r->dir)
        (void)nftw(r->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(r->dir);
    free(r->url);
    *r = (struct demo_registry){0};
}
