#include "trainer/verb.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "models/registry.h"
#include "trainer/corpus.h"
#include "trainer/evaluate.h"
#include "trainer/report_html.h"

static const struct opt opts[] = {
    VERB_COMMON_OPTIONS,
    {.name = "model", .type = OPT_STR, .help = "directory of the model; else one of a registry"},
    VERB_REGISTRY_OPTIONS,
    {.name = "alias", .type = OPT_STR, .def = "production", .help = "alias or version to measure"},
    {.name = "data",
     .type = OPT_STR,
     .help = "file of labelled titles (.txt, .tsv, .csv or fastText lines)"},
    {.name = "json",
     .type = OPT_BOOL,
     .def = "false",
     .help = "print one JSON object instead of the report"},
    {.name = "report",
     .type = OPT_STR,
     .help = "also write an HTML page with tables, a heat map and learning curves to this file"},
    {.name = "head",
     .type = OPT_CHOICE,
     .def = "auto",
     .choices = "auto|pooled|row",
     .help = "what a transformer's plain linear head reads"},
    {.name = "precision",
     .type = OPT_CHOICE,
     .def = "auto",
     .choices = "auto|fp32|bf16|int16|int8",
     .help = "arithmetic of the model"},
    {.name = "skip-bad",
     .type = OPT_INT,
     .def = "0",
     .min = 0,
     .max = 1e9,
     .help = "leave out at most this many bad lines"},
    VERB_THREADS_OPTION,
};

/* --report. The history is read before the work, so that a damaged one is told at once. */
static int write_page(const struct options *o, const struct model_info *info,
                      const struct report *r, const struct history *h, const char *data,
                      struct err *err)
{
    const char *path = options_str(o, "report");
    if (!path || report_html_write(path, r, info, h, data, err) != 0)
        return path ? -1 : 0;
    if (!options_bool(o, "json"))
        (void)printf("\nreport in %s\n", path);
    return 0;
}

static int evaluate_file(const struct options *o, const struct model *m, const char *path,
                         const struct history *h, struct err *err)
{
    const struct model_info *info = model_info(m);
    struct classes classes = {.names = (char **)(size_t)info->labels, .n = info->n_labels};
    bool json = options_bool(o, "json");
    struct dataset d;
    if (corpus_same_classes(path, &classes, err) != 0 ||
        corpus_read_file(path, &classes,
                         (struct corpus_rules){options_int(o, "skip-bad"), info->spaced_words},
                         json ? NULL : stdout, &d, err) != 0)
        return -1;
    struct pool *pool = pool_open((int)options_int(o, "threads"));
    struct report r;
    report_init(&r, info->n_labels);
    evaluate_model(m, &d, pool, &r);
    pool_close(pool);
    if (json) {
        struct buf out;
        buf_init(&out, (size_t)1 << 30);
        report_json(&r, info, info->labels, &out);
        (void)fwrite(out.data, 1, out.len, stdout);
        buf_done(&out);
    } else {
        (void)printf("\nmodel %s, version %s, %s\n", info->name, info->version,
                     precision_name(info->precision));
        report_print(&r, info->labels, stdout);
    }
    int rc = write_page(o, info, &r, h, path, err);
    report_done(&r);
    dataset_done(&d);
    return rc;
}

/* The directory that --model names, or that of the registry's version; the caller frees. */
static int find_model(const struct options *o, char **dir, struct err *err)
{
    const char *model = options_str(o, "model"), *name;
    char version[REGISTRY_VERSION];
    struct registry *r;
    if (model) {
        *dir = xstrdup(model);
        return 0;
    }
    if (!options_str(o, "registry"))
        return err_set(err, ERR_USAGE, "--model is missing, or --registry and --name");
    if (verb_registry(o, &r, &name, err) != 0)
        return -1;
    int rc = registry_resolve(r, name, options_str(o, "alias"), version, err);
    if (rc == 0)
        rc = registry_fetch(r, name, version, dir, err);
    registry_close(r);
    return rc;
}

static int run(const struct options *o, const char *const *words, int n, struct err *err)
{
    const char *data;
    char *dir = NULL;
    struct model_options how;
    struct model *m;
    struct history h = {0};
    if (verb_no_words(words, n, err) != 0 || verb_need(o, "data", &data, err) != 0 ||
        model_options_parse(options_str(o, "precision"), options_str(o, "head"), &how, err) != 0 ||
        find_model(o, &dir, err) != 0)
        return -1;
    int rc = model_open_with(dir, &how, &m, err);
    if (rc == 0 && model_info(m)->n_labels == 0) {
        rc = err_set(err, ERR_FORMAT,
                     "%s has no head yet: a bare encoder, which classifies nothing before it is "
                     "fine-tuned",
                     dir);
        model_close(m);
    } else if (rc == 0) {
        rc = options_str(o, "report") ? history_read(dir, &h, err) : 0;
        if (rc == 0)
            rc = evaluate_file(o, m, data, &h, err);
        history_done(&h);
        model_close(m);
    }
    free(dir);
    return rc;
}

static const char *const environment[] = {"registry", "name", "alias", "cache", NULL};

const struct verb verb_evaluate = {.name = "evaluate",
                                   .help = "measure a model on a file of labelled titles",
                                   .words = "",
                                   .opts = opts,
                                   .n_opts = sizeof opts / sizeof *opts,
                                   .environment = environment,
                                   .run = run};
