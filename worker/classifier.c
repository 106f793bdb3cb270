/* One inference thread's part of work.h: titles of a work become ids, probabilities, encoded
 * categories. A work may hold more headlines than a workspace: it goes through in slices. */
#include <stdlib.h>

#include "base/clock.h"
#include "base/err.h"
#include "worker/metrics.h"
#include "worker/work.h"

struct classifier {
    const struct config *cfg;
    struct served *served; /* held; NULL before the first work */
    const struct model_info *info;
    struct workspace *ws;
    int32_t max_titles, max_ids;
    int32_t *ids, *start;
    size_t *slots; /* which item each title of the slice is */
    float *probabilities;
    int32_t *best;
    struct score *top;
};

struct classifier *classifier_open(const struct config *cfg)
{
    struct classifier *c = xcalloc(1, sizeof *c);
    c->cfg = cfg;
    return c;
}

bool classifier_holds_other(const struct classifier *c, const struct served *s)
{
    return c->served && c->served != s;
}

void classifier_forget(struct classifier *c)
{
    workspace_close(c->ws);
    free(c->ids);
    free(c->start);
    free(c->slots);
    free(c->probabilities);
    free(c->best);
    free(c->top);
    served_release(c->served);
    *c = (struct classifier){.cfg = c->cfg};
}

static void serve(struct classifier *c, struct served *s)
{
    const struct config *cfg = c->cfg;
    classifier_forget(c);
    c->served = served_hold(s);
    c->info = s->info;
    c->max_titles = cfg->batch_titles < 1024 ? cfg->batch_titles : 1024;
    c->max_ids = cfg->batch_tokens > c->info->max_tokens ? cfg->batch_tokens : c->info->max_tokens;
    c->ws = workspace_open(s->model, c->max_titles, c->max_ids);
    c->ids = xcalloc((size_t)c->max_ids, sizeof *c->ids);
    c->start = xcalloc((size_t)c->max_titles + 1, sizeof *c->start);
    c->slots = xcalloc((size_t)c->max_titles, sizeof *c->slots);
    c->probabilities =
        xcalloc((size_t)c->max_titles * (size_t)c->info->n_labels, sizeof *c->probabilities);
    c->best = xcalloc((size_t)c->info->n_labels, sizeof *c->best);
    c->top = xcalloc((size_t)c->info->n_labels, sizeof *c->top);
}

void classifier_close(struct classifier *c)
{
    if (!c)
        return;
    classifier_forget(c);
    free(c);
}

static void encode(struct classifier *c, struct work *w, struct item *it, const float *p,
                   int64_t now_ms)
{
    const struct model_info *info = c->info;
    int32_t k = model_top_k(p, info->n_labels, c->cfg->top_k > 1 ? c->cfg->top_k : 1, c->best);
    for (int32_t i = 0; i < k; i++)
        c->top[i] = (struct score){info->labels[c->best[i]], (uint32_t)c->best[i], p[c->best[i]]};
    struct category cat = {
        .id = w->text.data + it->id,
        .id_len = it->id_len,
        .best = c->top[0],
        .top = c->top,
        .n_top = c->cfg->top_k > 0 ? (size_t)k : 0,
        .model_name = info->name,
        .model_version = info->version,
        .published_unix_ms = it->published_unix_ms,
        .classified_unix_ms = now_ms,
        .schema_id = c->cfg->schema_id_out,
        .title = c->cfg->with_title ? w->text.data + it->title : NULL,
        .title_len = it->title_len,
    };
    it->label = c->best[0];
    it->probability = p[c->best[0]];
    it->out = w->out.len;
    codec_encode(c->cfg->wire_out, &cat, &w->out);
    it->out_len = w->out.len - it->out;
    metric_add_at(M_PREDICTIONS, c->served->categories[it->label], 1);
    metric_observe(M_CONFIDENCE, (double)it->probability, 1);
}

static void run_slice(struct classifier *c, struct work *w, int32_t n)
{
    struct batch b = {.ids = c->ids, .start = c->start, .labels = NULL, .n = n};
    model_classify(c->served->model, c->ws, &b, c->probabilities);
    int64_t now_ms = clock_wall_ms();
    for (int32_t i = 0; i < n; i++)
        encode(c, w, &w->items[c->slots[i]],
               c->probabilities + (size_t)i * (size_t)c->info->n_labels, now_ms);
}

void classifier_run(struct classifier *c, struct work *w)
{
    int64_t begin = clock_ns();
    int32_t n = 0, truncated = 0;
    if (w->served != c->served)
        serve(c, w->served);
    c->start[0] = 0;
    for (size_t i = 0; i < w->n_items; i++) {
        struct item *it = &w->items[i];
        if (it->reason != REASON_NONE)
            continue;
        if (n == c->max_titles || c->start[n] + c->info->max_tokens > c->max_ids) {
            run_slice(c, w, n);
            n = 0;
        }
        bool cut;
        c->slots[n] = i;
        c->start[n + 1] =
            c->start[n] + model_encode(c->served->model, w->text.data + it->title, it->title_len,
                                       c->ids + c->start[n], c->info->max_tokens, &cut);
        n++;
        truncated += cut;
    }
    if (n)
        run_slice(c, w, n);
    metric_add(M_HEADLINES_CLASSIFIED, w->fill.titles);
    metric_add(M_HEADLINES_TRUNCATED, truncated);
    metric_observe(M_BATCH_QUEUE_SECONDS, (double)(begin - w->fill.since_ns) * 1e-9, 1);
    metric_observe(M_STAGE_CLASSIFY_SECONDS, (double)(clock_ns() - begin) * 1e-9, 1);
}
