#include "trainer/fit.h"

#include <stdio.h>
#include <string.h>

#include "trainer/encoder_source.h"

/* Recipes: published is what the reference project's own logs and text say of its runs on these
 * headlines (batches, epochs, when to judge and when to stop); the rest is what is usual for the family:
 * BERT's and its like arXiv:1810.04805 and the customs since, ELECTRA's arXiv:2003.10555, XLNet's
 * arXiv:1906.08237, T5's its authors' advice for AdamW.  TextCNN's is that of the published distillation; its embedding of
 * 300 and 512 filters of widths 2, 3 and 4 are the family's own. */
static const struct preset {
    const char *name; /* "": every transformer's; "textcnn": when asked for by name */
    const char *option, *value;
    bool published;
} presets[] = {
    {"", "batch", "128", true},
    {"", "epochs", "5", true},
    {"", "eval-every", "200", true},
    {"", "patience", "1000", true},
    {"", "keep", "loss", true},
    {"", "max-length", "32", false},
    {"", "lr", "5e-5", false},
    {"", "schedule", "linear", false},
    {"", "warmup-share", "0.1", false},
    {"", "weight-decay", "0.01", false},
    {"", "clip", "1", false},
    {"", "ema", "0", false},
    {"electra", "lr", "1e-4", false},
    {"electra", "layer-decay", "0.8", false},
    {"albert", "lr", "3e-5", false},
    {"xlnet", "lr", "3e-5", false},
    {"t5", "lr", "1e-4", false},
    {"mt5", "lr", "3e-4", false},
    {"textcnn", "batch", "128", true},
    {"textcnn", "epochs", "50", true},
    {"textcnn", "eval-every", "100", true},
    {"textcnn", "patience", "1000", true},
    {"textcnn", "keep", "loss", true},
    {"textcnn", "dropout", "0.5", true},
    {"textcnn", "lr", "1e-3", false},
    {"textcnn", "schedule", "constant", false},
    {"textcnn", "ema", "0", false},
    {"textcnn", "char-dropout", "0", false},
};

/* Of the fasttext program's supervised mode, where the table's are another family's. */
static int fasttext_defaults(struct options *o, struct err *err)
{
    static const char why[] = "the fasttext program's";
    return options_set_default(o, "epochs", "5", why, err) != 0
               ? -1
               : options_set_default(o, "lr", "0.1", why, err);
}

int fit_preset(struct options *o, struct err *err)
{
    const char *arch = options_str(o, "arch"), *preset = options_str(o, "preset");
    if (encoder_source_prepare(o, err) != 0)
        return -1;
    if (arch && strcmp(arch, "fasttext") == 0)
        return fasttext_defaults(o, err);
    if (!preset)
        preset = arch && fit_is_transformer(arch) ? arch : "none";
    if (strcmp(preset, "none") == 0)
        return 0;
    for (size_t i = 0; i < sizeof presets / sizeof *presets; i++) {
        const struct preset *p = &presets[i];
        char why[80];
        if (*p->name ? strcmp(p->name, preset) != 0 : strcmp(preset, "textcnn") == 0)
            continue;
        (void)snprintf(why, sizeof why, "preset %s, %s", preset,
                       p->published ? "published" : "usual for the family");
        if (options_set_default(o, p->option, p->value, why, err) != 0)
            return -1;
    }
    return 0;
}
