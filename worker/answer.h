/* One title's result as a JSON object, the same from `classify --json` and from POST /v1/classify:
 *
 *     {"title": …, "label": …, "index": …, "probability": …, "top": [{label, index, probability}, …],
 *      "model": {"name", "version"}[, "truncated": true]}          or  {"title": …, "error": …}
 *
 * title NULL (bytes that are not UTF-8 cannot stand in JSON) becomes null. */
#ifndef WORKER_ANSWER_H
#define WORKER_ANSWER_H

#include "base/buf.h"
#include "models/model.h"

/* cut: the model read the title's beginning only.  p [n_labels], best[0..k) as model_top_k gives them, k >= 1. */
void answer_put(struct buf *out, const struct model_info *info, const char *title, size_t n,
                bool cut, const float *p, const int32_t *best, int32_t k);
void answer_put_error(struct buf *out, const char *title, size_t n, const char *error);

#endif
