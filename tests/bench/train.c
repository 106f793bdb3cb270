/* Steps of fine-tuning in this process: gradients, their norm, AdamW.
 *     bench_train --model DIR --titles FILE --batch N --precision fp32|bf16 [--steps K] [--threads N]
 * prints one line of JSON: titles a second (the first step warms up and is left out), the largest resident size, and
 * the share of the roof: the time that bare products of the same FLOPs take, over the time taken.  FLOPs are those of
 * all layers in full: that the last one goes on with one row of each title is a saving of this engine, printed as
 * "done", the part of them that it computes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/options.h"
#include "data/tokenizer.h"
#include "models/transformer_train.h"
#include "ops/adamw.h"
#include "ops/gemm.h"
#include "ops/gemm_bf16.h"
#include "ops/rows.h"

enum { MAX_TOKENS = 32, TILE_M = 192, TILE_N = 384, LABELS = 10 };

static const struct opt table[] = {
    {"model", OPT_STR, NULL, 0, 0, NULL, "directory of a BERT and its tokenizer", false},
    {"titles", OPT_STR, NULL, 0, 0, NULL, "file of labelled titles", false},
    {"batch", OPT_INT, "32", 1, 65536, NULL, "titles of a step", false},
    {"precision", OPT_STR, "fp32", 0, 0, NULL, "fp32 or bf16", false},
    {"steps", OPT_INT, "4", 1, 1e6, NULL, "how many", false},
    {"threads", OPT_INT, "0", 0, 1024, NULL, "threads; 0: as many as the processors allowed",
     false},
    {"recompute", OPT_BOOL, "false", 0, 0, NULL, "layers again on the way back", false},
};

struct bench {
    const struct options *o;
    struct trainable *t;
    float *w, *g, *m, *v;
    struct pool *pool;
    struct transformer_train *tt;
    int32_t *ids, *start, *labels; /* of all steps */
    int32_t n;
};

static int read_titles(struct bench *b, const char *dir, int32_t n, struct err *err)
{
    struct tokenizer *tok;
    char *text, *rest;
    size_t len;
    if (tokenizer_open(dir, TOKENIZER_BERT, &tok, err) != 0)
        return -1;
    if (file_read(options_str(b->o, "titles"), (size_t)1 << 30, &text, &len, err) != 0) {
        tokenizer_close(tok);
        return -1;
    }
    b->ids = xcalloc((size_t)n * MAX_TOKENS, sizeof *b->ids);
    b->start = xcalloc((size_t)n + 1, sizeof *b->start);
    b->labels = xcalloc((size_t)n, sizeof *b->labels);
    rest = text;
    for (char *line; b->n < n && (line = strsep(&rest, "\n")) && *line; b->n++) {
        size_t title = strcspn(line, "\t");
        b->start[b->n + 1] =
            b->start[b->n] +
            tokenizer_encode(tok, line, title, b->ids + b->start[b->n], MAX_TOKENS, NULL);
        b->labels[b->n] = b->n % LABELS;
    }
    free(text);
    tokenizer_close(tok);
    return b->n == n ? 0
                     : err_set(err, ERR_CONFIG, "only %d titles, %d are needed", (int)b->n, (int)n);
}

static int open_model(struct bench *b, const char *dir, struct err *err)
{
    char *path = file_path("%s/config.json", dir);
    json_t *config = json_parse_file(path, 1 << 24, err);
    bool *fresh = NULL;
    free(path);
    int rc =
        config ? trainable_read(dir, config, &(struct head_choice){.keep = true, .labels = LABELS},
                                &b->t, &b->w, &fresh, err)
               : -1;
    if (rc == 0)
        trainable_init(b->t, 1, 0.02, fresh, b->w);
    json_decref(config);
    free(fresh);
    return rc;
}

static void step(struct bench *b, int32_t first, int32_t n, int64_t number)
{
    int32_t *start = xmalloc(((size_t)n + 1) * sizeof *start);
    struct train_result r;
    for (int32_t i = 0; i <= n; i++)
        start[i] = b->start[first + i] - b->start[first];
    struct batch batch = {
        .ids = b->ids + b->start[first], .start = start, .labels = b->labels + first, .n = n};
    struct loss loss = {.scale = 1.0f / (float)n};
    memset(b->g, 0, b->t->size * sizeof *b->g);
    transformer_train_weights(b->tt, b->w);
    transformer_train_gradients(b->tt, b->w, b->g, &batch, &loss, 1, (uint64_t)number, 0, &r);
    double norm = grad_norm(b->g, b->t->size, b->pool);
    struct adamw base = {.lr = 1e-5f,
                         .beta1 = 0.9f,
                         .beta2 = 0.999f,
                         .eps = 1e-8f,
                         .weight_decay = 0.01f,
                         .grad_scale = (float)(norm > 1 ? 1 / norm : 1)};
    struct adamw at = adamw_at(&base, number + 1);
    for (size_t i = 0; i < b->t->n; i++) {
        const struct trainable_tensor *x = &b->t->tensors[i];
        adamw_step(&at, b->w + x->offset, b->g + x->offset, b->m + x->offset, b->v + x->offset,
                   x->size, b->pool);
    }
    free(start);
}

/* FLOPs of a layer's products for n rows, once: queries, keys and values, output, inner, outer. */
static double layer_flops(const struct transformer_config *c, double rows_kv, double rows_rest)
{
    double h = c->hidden, f = c->inner;
    return 2 * (2 * h * h * rows_kv + (2 * h * h + 2 * h * f) * rows_rest);
}

/* Every thread multiplies tiles of the layers' own depths, in the three orientations. */
struct bare {
    bool bf16;
    int k[3];
    struct gemm_bf16_set *set;
    int64_t until;
    double flops[1024];
};

static void bare_run(void *arg, int piece, int thread)
{
    struct bare *r = arg;
    size_t deep = 0;
    for (int i = 0; i < 3; i++)
        deep = (size_t)r->k[i] > deep ? (size_t)r->k[i] : deep;
    float *a = xcalloc(TILE_M * deep, sizeof *a), *b = xcalloc(TILE_N * deep, sizeof *b),
          *c = xcalloc(TILE_M * TILE_N, sizeof *c);
    r->flops[piece] = 0;
    for (int i = 0; clock_ns() < r->until; i = (i + 1) % 9) {
        int k = r->k[i / 3], form = i % 3;
        bool ta = form == 2, tb = form == 0;
        int lda = ta ? TILE_M : k, ldb = tb ? k : TILE_N;
        if (r->bf16)
            gemm_bf16(r->set, thread,
                      &(struct gemm_bf16){ta, tb, form == 2, TILE_M, TILE_N, k, (const uint16_t *)a,
                                          (const uint16_t *)b, c, lda, ldb, TILE_N});
        else
            gemm(&(struct gemm){ta, tb, TILE_M, TILE_N, k, 1.0f, form == 2 ? 1.0f : 0.0f, a, b, c,
                                lda, ldb, TILE_N});
        r->flops[piece] += 2.0 * TILE_M * TILE_N * k;
    }
    free(a);
    free(b);
    free(c);
}

static double bare_rate(const struct bench *b, bool bf16, int rows_of_step)
{
    const struct transformer_config *c = &b->t->cfg;
    struct bare r = {.bf16 = bf16, .k = {c->hidden, c->inner, rows_of_step / 64 * 64 + 64}};
    int threads = pool_threads(b->pool);
    double total = 0;
    r.set = bf16 ? gemm_bf16_open(threads) : NULL;
    for (int round = 0; round < 2; round++) { /* the first warms up */
        int64_t begin = clock_ns();
        r.until = begin + (round ? 1000000000 : 300000000);
        pool_run(b->pool, threads, bare_run, &r);
        total = 0;
        for (int i = 0; i < threads; i++)
            total += r.flops[i];
        total /= (double)(clock_ns() - begin) * 1e-9;
    }
    gemm_bf16_close(r.set);
    return total;
}

static int run(struct bench *b, struct err *err)
{
    const struct options *o = b->o;
    const char *dir = options_str(o, "model");
    int32_t batch = (int32_t)options_int(o, "batch"), steps = (int32_t)options_int(o, "steps");
    bool bf16 = strcmp(options_str(o, "precision"), "bf16") == 0;
    if (bf16 && !product_has(PRODUCT_BF16))
        return err_set(err, ERR_CONFIG, "this processor or build has no bfloat16");
    if (read_titles(b, dir, batch * (steps + 1), err) != 0 || open_model(b, dir, err) != 0)
        return -1;
    struct transformer_train_options opt = {.type = bf16 ? PRODUCT_BF16 : PRODUCT_FP32,
                                            .max_titles = batch,
                                            .max_ids = batch * MAX_TOKENS,
                                            .max_tokens = MAX_TOKENS,
                                            .recompute = options_bool(o, "recompute"),
                                            .dropout = {0.1f, 0.1f, 0, 0, 0.1f}};
    b->pool = pool_open((int)options_int(o, "threads"));
    b->tt = transformer_train_open(b->t, &opt, b->pool);
    b->g = xcalloc(b->t->size, sizeof *b->g);
    b->m = xcalloc(b->t->size, sizeof *b->m);
    b->v = xcalloc(b->t->size, sizeof *b->v);
    step(b, 0, batch, 0);
    int64_t begin = clock_ns();
    for (int32_t i = 1; i <= steps; i++)
        step(b, i * batch, batch, i);
    double seconds = (double)(clock_ns() - begin) * 1e-9;
    const struct transformer_config *c = &b->t->cfg;
    double rows_all = b->start[b->n] - b->start[batch], titles = (double)batch * steps,
           layers = params_layers(c), whole = 3 * layers * layer_flops(c, rows_all, rows_all),
           done = 3 * ((layers - 1) * layer_flops(c, rows_all, rows_all) +
                       layer_flops(c, rows_all, titles));
    double rate = bare_rate(b, bf16, (int)(rows_all / steps));
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage);
    (void)printf("{\"titles_per_s\": %.4g, \"peak_mb\": %.0f, \"roofline\": %.4g, \"done\": %.4g, "
                 "\"bare_gflops\": %.4g, \"ids\": %.4g}\n",
                 titles / seconds, (double)usage.ru_maxrss / 1024, whole / rate / seconds,
                 done / whole, rate * 1e-9, rows_all / titles);
    return 0;
}

int main(int argc, char **argv)
{
    struct options *o = options_open(table, sizeof table / sizeof *table, NULL);
    struct bench b = {.o = o};
    struct err err = {0};
    const char **rest = xcalloc((size_t)argc + 1, sizeof(char *));
    int n_rest = 0, status = 0;
    if (options_read_args(o, argc - 1, argv + 1, rest, &n_rest, &err) != 0 || run(&b, &err) != 0) {
        (void)fprintf(stderr, "bench_train: %s\n", err.msg);
        status = err_exit_status(&err);
    }
    transformer_train_close(b.tt);
    trainable_close(b.t);
    pool_close(b.pool);
    void *const parts[] = {b.w, b.g, b.m, b.v, b.ids, b.start, b.labels};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        free(parts[i]);
    options_close(o);
    free(rest);
    return status;
}
