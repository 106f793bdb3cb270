#include "models/checkpoint.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "models/safetensors.h"
#include "models/torch_file.h"

enum {
    MAX_INDEX = 64 << 20,
    MAX_INDEX_COST = 1 << 29, /* bytes by json_cost: some 300,000 tensors */
};

/* One file; exactly one of the two readers has it. */
struct part {
    char *name;
    struct safetensors *safetensors;
    struct torch_file *torch;
};

struct checkpoint {
    char *name; /* of the file, or of the index */
    struct part *parts;
    size_t n_parts;
    struct tensor *tensors; /* of several files together */
    size_t n_tensors;
    struct tensor_set set; /* of one file: that file's own */
    char sha256[SHA256_HEX];
};

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

static const struct tensor_set *set_of(const struct part *p)
{
    return p->torch ? torch_file_tensors(p->torch) : safetensors_tensors(p->safetensors);
}

/* A clone without git-lfs has a few lines of text in place of each large file. */
static bool is_pointer(const char *path)
{
    static const char begin[] = "version https://git-lfs";
    struct file_map map;
    if (file_map_open(&map, path, NULL) != 0)
        return false;
    bool yes = map.len >= sizeof begin - 1 && memcmp(map.data, begin, sizeof begin - 1) == 0;
    file_map_close(&map);
    return yes;
}

static int open_part(const char *dir, const char *name, struct part *p, struct err *err)
{
    char *path = file_path("%s/%s", dir, name);
    int rc = ends_with(name, ".safetensors") ? safetensors_open(path, &p->safetensors, err)
                                             : torch_file_open(path, &p->torch, err);
    if (rc == 0)
        p->name = xstrdup(name);
    else if (is_pointer(path))
        (void)err_set(err, ERR_INCOMPLETE,
                      "%s: a pointer of git-lfs in place of the file: fetch it, git lfs pull",
                      path);
    free(path);
    return rc;
}

static int open_single(const char *dir, const char *name, struct checkpoint *ck, struct err *err)
{
    ck->name = file_path("%s/%s", dir, name);
    ck->parts = xcalloc(1, sizeof *ck->parts);
    ck->n_parts = 1;
    /* Hashed first: a message about the bytes should be about those that were hashed. */
    if (sha256_file(ck->name, ck->sha256, NULL, err) != 0 ||
        open_part(dir, name, ck->parts, err) != 0)
        return -1;
    ck->set = *set_of(ck->parts);
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct part *)a)->name, ((const struct part *)b)->name);
}

/* The files that an index names, each once, opened. */
static int open_shards(const char *dir, const json_t *map, struct checkpoint *ck, struct err *err)
{
    const char *key;
    json_t *value;
    size_t n = json_object_size(map);
    ck->parts = xcalloc(n + 1, sizeof *ck->parts);
    json_object_foreach((json_t *)(uintptr_t)map, key, value)
    {
        const char *file = json_string_value(value);
        size_t i = 0;
        if (!file || !*file || strchr(file, '/') || strchr(file, '\\') || *file == '.' ||
            !(ends_with(file, ".safetensors") || ends_with(file, ".bin")))
            return err_set(err, ERR_FORMAT,
                           "%s: \"%.200s\" is in \"%.200s\", which names no file beside the index",
                           ck->name, key, file ? file : "nothing");
        while (i < ck->n_parts && strcmp(ck->parts[i].name, file) != 0)
            i++;
        if (i < ck->n_parts)
            continue;
        if (open_part(dir, file, &ck->parts[i], err) != 0)
            return err_prefix(err, "%s", ck->name);
        ck->n_parts++;
    }
    qsort(ck->parts, ck->n_parts, sizeof *ck->parts, by_name);
    return 0;
}

/* A tensor in two shards: whichever is meant, the other may be another model's. */
static int check_shards(const json_t *map, const struct checkpoint *ck, struct err *err)
{
    for (size_t i = 0; i < ck->n_parts; i++) {
        const struct tensor_set *set = set_of(&ck->parts[i]);
        for (size_t k = 0; k < set->n; k++) {
            const char *mapped = json_string_value(json_object_get(map, set->tensors[k].name));
            if (mapped && strcmp(mapped, ck->parts[i].name) != 0)
                return err_set(err, ERR_CONFLICT,
                               "%s: tensor \"%.300s\" is mapped to %s, but %s has one too",
                               ck->name, set->tensors[k].name, mapped, ck->parts[i].name);
        }
    }
    return 0;
}

static int gather(const json_t *map, struct checkpoint *ck, struct err *err)
{
    const char *key;
    json_t *value;
    ck->tensors = xcalloc(json_object_size(map) + 1, sizeof *ck->tensors);
    json_object_foreach((json_t *)(uintptr_t)map, key, value)
    {
        struct part *p = ck->parts;
        while (strcmp(p->name, json_string_value(value)) != 0)
            p++;
        const struct tensor *t = tensor_set_find(set_of(p), key);
        if (!t)
            return err_set(err, ERR_INCOMPLETE,
                           "%s: tensor \"%.300s\" is not in %s, where it should be", ck->name, key,
                           p->name);
        ck->tensors[ck->n_tensors++] = *t;
    }
    return tensor_set_init(&ck->set, ck->name, ck->tensors, ck->n_tensors, err);
}

static int hash_shards(const char *dir, struct checkpoint *ck, struct err *err)
{
    struct sha256 *s = sha256_open();
    int rc = 0;
    for (size_t i = 0; i < ck->n_parts && rc == 0; i++) {
        char hex[SHA256_HEX], *path = file_path("%s/%s", dir, ck->parts[i].name);
        rc = sha256_file(path, hex, NULL, err);
        if (rc == 0)
            sha256_add(s, hex, SHA256_HEX - 1);
        free(path);
    }
    sha256_close(s, rc == 0 ? ck->sha256 : NULL);
    return rc;
}

static json_t *read_index(const char *path, struct err *err)
{
    char *text;
    size_t len;
    if (file_read(path, MAX_INDEX, &text, &len, err) != 0)
        return NULL;
    size_t cost = json_cost(text, len);
    json_t *index = NULL;
    if (cost > MAX_INDEX_COST)
        (void)err_set(err, ERR_FORMAT, "%s: reading it could take %zu bytes, at most %d", path,
                      cost, MAX_INDEX_COST);
    else
        index = json_parse(path, text, len, err);
    free(text);
    return index;
}

static int open_index(const char *dir, const char *name, struct checkpoint *ck, struct err *err)
{
    ck->name = file_path("%s/%s", dir, name);
    json_t *index = read_index(ck->name, err);
    const json_t *map = json_object_get(index, "weight_map");
    int rc = index ? 0 : -1;
    if (rc == 0 && (!json_is_object(map) || json_object_size(map) == 0))
        rc = err_set(err, ERR_FORMAT, "%s: no \"weight_map\" of tensors to files", ck->name);
    if (rc == 0)
        rc = open_shards(dir, map, ck, err);
    if (rc == 0)
        rc = gather(map, ck, err);
    if (rc == 0)
        rc = check_shards(map, ck, err);
    if (rc == 0)
        rc = hash_shards(dir, ck, err);
    json_decref(index);
    return rc;
}

/* Whether a file may be a state dictionary under a name of its own. */
static bool may_be_weights(const char *name)
{
    static const char *const others[] = {
        "optimizer.pt", "optimizer.bin", "scheduler.pt",      "scheduler.bin",
        "scaler.pt",    "rng_state.pt",  "training_args.bin", NULL};
    for (int i = 0; others[i]; i++)
        if (strcmp(name, others[i]) == 0)
            return false;
    return *name != '.' && (ends_with(name, ".bin") || ends_with(name, ".pt"));
}

bool checkpoint_is_weights(const char *name)
{
    return ends_with(name, ".safetensors") || ends_with(name, ".ftz") || may_be_weights(name);
}

static int open_other(const char *dir, struct checkpoint *ck, struct err *err)
{
    struct file_list list;
    const char *found = NULL, *first = NULL;
    int rc = file_list(dir, &list, err), n = 0;
    if (rc != 0)
        return -1;
    for (size_t i = 0; i < list.n; i++)
        if (may_be_weights(list.names[i])) {
            first = first ? first : list.names[i];
            found = list.names[i];
            n++;
        }
    if (n == 1)
        rc = open_single(dir, found, ck, err);
    else if (n == 0)
        rc =
            err_set(err, ERR_MISSING,
                    "%s: no weights: neither model.safetensors nor pytorch_model.bin, nor an index "
                    "of either, nor another file ending in .bin or .pt",
                    dir);
    else
        rc = err_set(err, ERR_CONFLICT,
                     "%s: %d files end in .bin or .pt (%s, %s%s), and none is called "
                     "model.safetensors or pytorch_model.bin",
                     dir, n, first, found, n > 2 ? ", ..." : "");
    file_list_free(&list);
    return rc;
}

static bool has(const char *dir, const char *name)
{
    char *path = file_path("%s/%s", dir, name);
    bool yes = file_exists(path);
    free(path);
    return yes;
}

int checkpoint_open(const char *dir, struct checkpoint **out, struct err *err)
{
    static const char *const files[] = {"model.safetensors", "model.safetensors.index.json",
                                        "pytorch_model.bin", "pytorch_model.bin.index.json", NULL};
    struct checkpoint *ck = xcalloc(1, sizeof *ck);
    int i = 0, rc;
    while (files[i] && !has(dir, files[i]))
        i++;
    if (!files[i])
        rc = open_other(dir, ck, err);
    else
        rc = (i % 2 ? open_index : open_single)(dir, files[i], ck, err);
    if (rc != 0) {
        checkpoint_close(ck);
        return -1;
    }
    *out = ck;
    return 0;
}

void checkpoint_close(struct checkpoint *ck)
{
    if (!ck)
        return;
    for (size_t i = 0; i < ck->n_parts; i++) {
        safetensors_close(ck->parts[i].safetensors);
        torch_file_close(ck->parts[i].torch);
        free(ck->parts[i].name);
    }
    free(ck->parts);
    if (ck->tensors)
        tensor_set_done(&ck->set);
    free(ck->tensors);
    free(ck->name);
    free(ck);
}

const struct tensor_set *checkpoint_tensors(const struct checkpoint *ck)
{
    return &ck->set;
}

const char *checkpoint_sha256(const struct checkpoint *ck)
{
    return ck->sha256;
}

size_t checkpoint_skipped(const struct checkpoint *ck)
{
    size_t n = 0;
    for (size_t i = 0; i < ck->n_parts; i++)
        n += ck->parts[i].torch ? torch_file_skipped(ck->parts[i].torch) : 0;
    return n;
}
