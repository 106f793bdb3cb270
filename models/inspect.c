#include "models/inspect.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "models/arch.h"
#include "models/body_parts.h"
#include "models/checkpoint.h"
#include "models/params.h"
#include "models/transformer.h"

enum { MAX_JSON = 16 << 20, MAX_DEPTH = 16, COLUMN = 52 };

/* A tensor on its way into the tree. */
struct leaf {
    const struct tensor *t;
    const char *runs; /* "int8", …; "" for families that have no table */
};

/* Numbers within names by value: layer 10 comes after layer 9. */
static int by_name(const void *x, const void *y)
{
    const char *a = ((const struct leaf *)x)->t->name, *b = ((const struct leaf *)y)->t->name;
    while (*a && *b) {
        if (isdigit((unsigned char)*a) && isdigit((unsigned char)*b)) {
            char *a_end, *b_end;
            unsigned long i = strtoul(a, &a_end, 10), j = strtoul(b, &b_end, 10);
            if (i != j)
                return i < j ? -1 : 1;
            a = a_end;
            b = b_end;
        } else if (*a != *b) {
            return *a < *b ? -1 : 1;
        } else {
            a++;
            b++;
        }
    }
    return (*a != 0) - (*b != 0);
}

static void put_size(struct buf *out, double bytes)
{
    if (bytes < 1e4)
        buf_printf(out, "%.0f B", bytes);
    else if (bytes < 1e7)
        buf_printf(out, "%.1f kB", bytes / 1e3);
    else
        buf_printf(out, "%.1f MB", bytes / 1e6);
}

static void indent(struct buf *out, int depth)
{
    buf_printf(out, "%*s", 2 * depth, "");
}

/* Everything below the same first `len` bytes of name, in bytes. */
static double bytes_below(const struct leaf *leaves, size_t n, const char *name, size_t len)
{
    double sum = 0;
    for (size_t i = 0; i < n && strncmp(leaves[i].t->name, name, len) == 0; i++)
        sum += (double)leaves[i].t->bytes;
    return sum;
}

static void put_leaf(struct buf *out, const struct leaf *l, const char *name, int depth)
{
    char shape[TENSOR_SHAPE_TEXT];
    size_t before = out->len;
    indent(out, depth);
    buf_puts(out, name);
    int pad = COLUMN - (int)(out->len - before);
    buf_printf(out, "%*s%s %s  ", pad > 1 ? pad : 1, "", dtype_name(l->t->dtype),
               tensor_shape_text(l->t->n_dims, l->t->dims, shape));
    put_size(out, (double)l->t->bytes);
    buf_printf(out, "%s%s\n", *l->runs ? "  " : "", l->runs);
}

static void put_tree(struct buf *out, const struct leaf *leaves, size_t n)
{
    const char *last = "";
    for (size_t i = 0; i < n; i++) {
        const char *name = leaves[i].t->name;
        int depth = 1;
        bool same = true; /* as the tensor before, so far */
        size_t at = 0;
        for (const char *dot; (dot = strchr(name + at, '.')) != NULL && depth < MAX_DEPTH;
             depth++) {
            size_t end = (size_t)(dot - name) + 1;
            same = same && strncmp(last, name, end) == 0;
            if (!same) {
                indent(out, depth);
                buf_printf(out, "%.*s  (", (int)(end - 1 - at), name + at);
                put_size(out, bytes_below(leaves + i, n - i, name, end));
                buf_puts(out, ")\n");
            }
            at = end;
        }
        put_leaf(out, &leaves[i], name + at, depth);
        last = name;
    }
}

static void put_unused_keys(struct buf *out, const json_t *config, enum family f)
{
    const char *key;
    json_t *value;
    int n = 0;
    json_object_foreach((json_t *)(uintptr_t)config, key, value)
    {
        if (!transformer_config_uses(f, key))
            buf_printf(out, "%s%s", n++ ? ", " : "config.json's keys that change nothing: ", key);
    }
    if (n)
        buf_puts(out, "\n");
}

static const char *head_text(enum head h)
{
    static const char *const texts[] = {
        [HEAD_NONE] = "none: a bare encoder, which classifies nothing yet",
        [HEAD_POOLED] = "linear on the pooled first token",
        [HEAD_ROW] = "linear on one token's row",
        [HEAD_ELECTRA] = "dense, gelu, linear on the first token",
        [HEAD_SUMMARY] = "dense, tanh, linear on the last token",
        [HEAD_T5] = "dense, tanh, linear on the decoder's row",
        [HEAD_MASKED] = "masked words",
    };
    return texts[h];
}

static int inspect_transformer(const json_t *config, const struct tensor_set *set,
                               enum precision precision, struct leaf *leaves, struct buf *out,
                               struct err *err)
{
    struct transformer_config c;
    struct params p;
    if (transformer_config_read(config, set, &c, err) != 0)
        return err_prefix(err, "config.json");
    if (params_find(set, &c, HEAD_NONE, &p, err) != 0)
        return -1;
    const json_t *keep = json_object_get(config, "int8_keep");
    if (parts_check_keep(keep, set, &p, err) != 0) {
        params_done(&p);
        return err_prefix(err, "config.json");
    }
    enum product_type type = transformer_product_type(&precision, config);
    buf_printf(out, "%s: %d layers, hidden %d, %d heads of %d, inner %d%s, vocabulary %d\nhead: %s",
               family_name(c.family), (int)p.layers[STACK_ENCODER], (int)c.hidden, (int)c.heads,
               (int)c.head_size, (int)c.inner, c.gated ? " (gated)" : "", (int)c.vocab_size,
               head_text(c.head));
    if (c.labels)
        buf_printf(out, ", %d labels", (int)c.labels);
    buf_printf(out, "\n%lld parameters; would run in %s\n", (long long)p.count,
               precision_name(precision));
    size_t unused = 0;
    for (size_t i = 0; i < set->n; i++) {
        leaves[i].runs = parts_runs_in(p.role[i], type, keep, set->tensors[i].name);
        unused += p.role[i] == PARAMS;
    }
    if (unused)
        buf_printf(out, "%zu tensors that nothing reads, marked \"unused\" below\n", unused);
    put_unused_keys(out, config, c.family);
    params_done(&p);
    return 0;
}

static int inspect(const json_t *config, const struct tensor_set *set, enum precision precision,
                   struct buf *out, struct err *err)
{
    const char *type = "bert";
    if (json_get_str(config, "model_type", &type, err) != 0)
        return -1;
    const struct arch *arch = arch_find(type, err);
    if (!arch)
        return err_prefix(err, "config.json");
    struct leaf *leaves = xcalloc(set->n + 1, sizeof *leaves);
    double bytes = 0;
    for (size_t i = 0; i < set->n; i++) {
        leaves[i] = (struct leaf){&set->tensors[i], ""};
        bytes += (double)set->tensors[i].bytes;
    }
    int rc = 0;
    if (arch->tokenizer == TOKENIZER_CHARACTERS)
        buf_printf(out, "%s\n", type);
    else
        rc = inspect_transformer(config, set, precision, leaves, out, err);
    if (rc == 0) {
        qsort(leaves, set->n, sizeof *leaves, by_name);
        buf_printf(out, "%zu tensors, ", set->n);
        put_size(out, bytes);
        buf_puts(out, "\n");
        put_tree(out, leaves, set->n);
    }
    free(leaves);
    return rc;
}

int model_inspect(const char *dir, enum precision precision, struct buf *out, struct err *err)
{
    char *config_path = file_path("%s/config.json", dir);
    struct checkpoint *ck = NULL;
    json_t *config = json_parse_file(config_path, MAX_JSON, err);
    int rc = config ? 0 : -1;
    if (rc == 0 && !json_is_object(config))
        rc = err_set(err, ERR_FORMAT, "%s: expected an object", config_path);
    if (rc == 0)
        rc = checkpoint_open(dir, &ck, err);
    if (rc == 0)
        rc = inspect(config, checkpoint_tensors(ck), precision, out, err);
    if (rc == 0 && checkpoint_skipped(ck))
        buf_printf(out, "values of the state dictionary that are no tensors: %zu\n",
                   checkpoint_skipped(ck));
    checkpoint_close(ck);
    json_decref(config);
    free(config_path);
    return rc;
}
