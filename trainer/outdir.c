#include "trainer/outdir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/file.h"
#include "trainer/history.h"
#include "trainer/lineage.h"

/* A model is there when its weights are, in one of N_WEIGHTS files. The first N_MEANING files give them
 * their meaning and come before them. */
static const char *const files[] = {"vocab.txt",
                                    "spiece.model",
                                    "tokenizer_config.json",
                                    "special_tokens_map.json",
                                    "dict.txt",
                                    "prob_start.py",
                                    "prob_trans.py",
                                    "prob_emit.py",
                                    "stopwords.txt",
                                    "labels.txt",
                                    "config.json",
                                    "model.safetensors",
                                    "model.bin",
                                    "model.ftz",
                                    HISTORY_FILE};
enum { N_FILES = sizeof files / sizeof *files, N_MEANING = 11, N_WEIGHTS = 3 };
/* What is told of a model, not needed to run it: gone before the weights change, there after them. */
static const char *const told[] = {HISTORY_FILE, LINEAGE_FILE};

int outdir_mode(const struct options *o, enum outdir_mode *mode, struct err *err)
{
    bool resume = options_bool(o, "resume"), overwrite = options_bool(o, "overwrite");
    *mode = resume ? OUTDIR_RESUME : overwrite ? OUTDIR_OVERWRITE : OUTDIR_NEW;
    return resume && overwrite
               ? err_set(err, ERR_USAGE, "--resume and --overwrite exclude each other")
               : 0;
}

static bool holds(const char *dir, const char *name)
{
    char *path = file_path("%s/%s", dir, name);
    bool yes = file_exists(path);
    free(path);
    return yes;
}

static bool holds_weights(const char *dir)
{
    bool yes = false;
    for (int i = N_MEANING; i < N_MEANING + N_WEIGHTS; i++)
        yes = yes || holds(dir, files[i]);
    return yes;
}

int outdir_check(const char *path, enum outdir_mode mode, struct err *err)
{
    if (mode != OUTDIR_NEW)
        return 0;
    if (holds(path, "trainer.safetensors"))
        return err_set(err, ERR_CONFLICT,
                       "%s holds an unfinished fit: --resume continues it, --overwrite starts anew",
                       path);
    if (holds_weights(path) || holds(path, "config.json"))
        return err_set(err, ERR_CONFLICT, "%s holds a model already: --overwrite replaces it",
                       path);
    return 0;
}

static int take_lock(struct outdir *o, struct err *err)
{
    char *path = file_path("%s/.lock", o->path);
    int rc = 0;
    o->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (o->lock < 0)
        rc = err_set(err, ERR_IO, "%s: %s", path, strerror(errno));
    else if (flock(o->lock, LOCK_EX | LOCK_NB) != 0)
        rc = err_set(err, ERR_CONFLICT,
                     errno == EWOULDBLOCK ? "%s: another trainer is writing to this directory"
                                          : "%s: cannot be locked",
                     o->path);
    o->locked = rc == 0;
    free(path);
    return rc;
}

/* What a trainer that was killed in the middle of file_replace() left: ".trainer.safetensors.XXXXXX". */
static int remove_halves(const char *dir, struct err *err)
{
    static const char *const whole[] = {".trainer.safetensors.", "." LINEAGE_FILE "."};
    struct file_list list;
    if (file_list(dir, &list, err) != 0)
        return -1;
    for (size_t i = 0; i < list.n; i++)
        for (size_t k = 0; k < sizeof whole / sizeof *whole; k++)
            if (strncmp(list.names[i], whole[k], strlen(whole[k])) == 0) {
                char *path = file_path("%s/%s", dir, list.names[i]);
                (void)unlink(path);
                free(path);
            }
    file_list_free(&list);
    return 0;
}

int outdir_open(struct outdir *o, const char *path, enum outdir_mode mode, struct err *err)
{
    *o = (struct outdir){.lock = -1};
    if (file_mkdirs(path, err) != 0)
        return -1;
    o->path = xstrdup(path);
    o->staging = file_path("%s/.staging", path);
    o->checkpoint = file_path("%s/trainer.safetensors", path);
    if (take_lock(o, err) != 0 || outdir_check(path, mode, err) != 0 ||
        remove_halves(path, err) != 0 || file_remove_dir(o->staging, err) != 0) {
        outdir_close(o);
        return -1;
    }
    if (mode == OUTDIR_OVERWRITE)
        (void)unlink(o->checkpoint);
    o->has_model = holds_weights(path);
    o->has_checkpoint = file_exists(o->checkpoint);
    return 0;
}

void outdir_close(struct outdir *o)
{
    if (!o->path)
        return;
    if (o->locked)
        (void)file_remove_dir(o->staging, NULL); /* what a failed save left */
    if (o->lock >= 0)
        (void)close(o->lock);
    free(o->path);
    free(o->staging);
    free(o->checkpoint);
    *o = (struct outdir){.lock = -1};
}

/* The same bytes, or both not there. */
static bool same_file(const char *a, const char *b)
{
    struct file_map x, y;
    if (!file_exists(a) && !file_exists(b))
        return true;
    if (file_map_open(&x, a, NULL) != 0)
        return false;
    bool same = false;
    if (file_map_open(&y, b, NULL) == 0) {
        same = x.len == y.len && (x.len == 0 || memcmp(x.data, y.data, x.len) == 0);
        file_map_close(&y);
    }
    file_map_close(&x);
    return same;
}

int outdir_commit(struct outdir *o, struct err *err)
{
    bool same = true;
    for (int i = 0; i < N_MEANING; i++) {
        char *from = file_path("%s/%s", o->staging, files[i]);
        char *to = file_path("%s/%s", o->path, files[i]);
        same = same && same_file(from, to);
        free(from);
        free(to);
    }
    for (size_t i = 0; i < sizeof told / sizeof *told; i++) {
        char *path = file_path("%s/%s", o->path, told[i]);
        (void)unlink(path);
        free(path);
    }
    /* Until the new ones come, there is no model rather than a mixed one. */
    for (int i = N_MEANING; i < N_MEANING + N_WEIGHTS && !same; i++) {
        char *weights = file_path("%s/%s", o->path, files[i]);
        (void)unlink(weights);
        free(weights);
    }
    int rc = 0;
    for (int i = 0; rc == 0 && i < N_FILES; i++) {
        char *from = file_path("%s/%s", o->staging, files[i]);
        char *to = file_path("%s/%s", o->path, files[i]);
        /* What this model has none of was another's. */
        if (!file_exists(from) ? unlink(to) != 0 && errno != ENOENT : rename(from, to) != 0)
            rc = err_set(err, ERR_IO, "%s: cannot be put in place: %s", to, strerror(errno));
        free(from);
        free(to);
    }
    return rc == 0 && (rc = file_remove_dir(o->staging, err)) == 0 ? file_sync_dir(o->path, err)
                                                                   : rc;
}

int outdir_complete(struct outdir *o, struct err *err)
{
    if (unlink(o->checkpoint) != 0 && errno != ENOENT)
        return err_set(err, ERR_IO, "%s: %s", o->checkpoint, strerror(errno));
    return file_sync_dir(o->path, err);
}

static int export_file(const char *from, const char *to, const char *name, struct err *err)
{
    char *source = file_path("%s/%s", from, name), *copy = file_path("%s/%s", to, name);
    int rc = file_exists(source) ? file_copy(source, copy, err) : 0;
    free(source);
    free(copy);
    return rc;
}

int outdir_export(const char *from, const char *to, struct err *err)
{
    int rc = file_remove_dir(to, err);
    if (rc == 0)
        rc = file_mkdirs(to, err);
    for (size_t i = 0; i < N_FILES && rc == 0; i++)
        rc = export_file(from, to, files[i], err);
    if (rc == 0)
        rc = export_file(from, to, LINEAGE_FILE, err);
    return rc == 0 ? export_file(from, to, REPORT_HTML_FILE, err) : rc;
}
