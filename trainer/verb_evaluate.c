#include "trainer/verb.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "trainer/corpus.h"
#include "trainer/evaluate.h"

static const struct opt opts[] = {
    VERB_COMMON_OPTIONS,
    {.name = "model", .type = OPT_STR, .help = "directory of the model"},
    {.name = "data",
     .type = OPT_STR,
     .help = "file of labelled titles (.txt, .tsv, .csv or fastText lines)"},
    {.name = "json",
     .type = OPT_BOOL,
     .def = "false",
     .help = "print one JSON object instead of the report"},
    {.name = "precision",
     .type = OPT_CHOICE,
     .def = "auto",
     .choices = "auto|fp32|int16|int8",
     .help = "arithmetic of the model"},
    {.name = "skip-bad",
     .type = OPT_INT,
     .def = "0",
     .min = 0,
     .max = 1e9,
     .help = "leave out at most this many bad lines"},
    {.name = "threads",
     .type = OPT_INT,
     .def = "0",
     .min = 0,
     .max = 1024,
     .help = "threads; 0: as many as the processors allowed"},
};

static int evaluate_file(const struct options *o, const struct model *m, const char *path,
                         struct err *err)
{
    const struct model_info *info = model_info(m);
    struct classes classes = {.names = (char **)(size_t)info->labels, .n = info->n_labels};
    bool json = options_bool(o, "json");
    struct dataset d;
    if (corpus_same_classes(path, &classes, err) != 0 ||
        corpus_read_file(path, &classes, options_int(o, "skip-bad"), json ? NULL : stdout, &d,
                         err) != 0)
        return -1;
    struct pool *pool = pool_open((int)options_int(o, "threads"));
    struct report r;
    report_init(&r, info->n_labels);
    evaluate_model(m, &d, pool, &r);
    pool_close(pool);
    if (json) {
        struct buf out;
        buf_init(&out, (size_t)1 << 30);
        report_json(&r, info->labels, &out);
        (void)fwrite(out.data, 1, out.len, stdout);
        buf_done(&out);
    } else {
        (void)printf("\nmodel %s, version %s, %s\n", info->name, info->version,
                     precision_name(info->precision));
        report_print(&r, info->labels, stdout);
    }
    report_done(&r);
    dataset_done(&d);
    return 0;
}

static int run(const struct options *o, const char *const *words, int n, struct err *err)
{
    const char *dir, *data;
    enum precision precision;
    struct model *m;
    if (verb_no_words(words, n, err) != 0 || verb_need(o, "model", &dir, err) != 0 ||
        verb_need(o, "data", &data, err) != 0 ||
        precision_parse(options_str(o, "precision"), &precision, err) != 0 ||
        model_open(dir, precision, &m, err) != 0)
        return -1;
    int rc = evaluate_file(o, m, data, err);
    model_close(m);
    return rc;
}

const struct verb verb_evaluate = {.name = "evaluate",
                                   .help = "measure a model on a file of labelled titles",
                                   .words = "",
                                   .opts = opts,
                                   .n_opts = sizeof opts / sizeof *opts,
                                   .run = run};
