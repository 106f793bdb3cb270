/* The parameter tables: every weight of every family once, with its name in Hugging Face files, its
 * shape in letters and what it is to the code that uses it.  The table is walked to find, check and
 * count the weights of a checkpoint; nothing else in the project spells their names. */
#ifndef MODELS_PARAMS_H
#define MODELS_PARAMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "models/tensors.h"
#include "models/transformer_config.h"

enum param {
    /* once */
    P_WORD,         /* [V,E] */
    P_POSITION,     /* [P,E] */
    P_TYPE,         /* [Y,E] */
    P_TASK,         /* [K,E] */
    P_EMB_NORM_W,   /* [E] */
    P_EMB_NORM_B,   /* [E] */
    P_EMB_PROJ_W,   /* [C,E] */
    P_EMB_PROJ_B,   /* [C] */
    P_FINAL_NORM_W, /* [C], T5's after the last layer */
    P_BIAS_TABLE,   /* [buckets,H], T5's */
    P_MASK_EMB,     /* [1,1,C], XLNet's of a word to be found: no classifier asks for it */
    P_POOL_W,       /* [C,C] */
    P_POOL_B,
    P_HEAD_DENSE_W, /* [C,C] */
    P_HEAD_DENSE_B,
    P_HEAD_W, /* [O,C] */
    P_HEAD_B,
    P_MASK_DENSE_W, /* [E,C], of the masked-language model */
    P_MASK_DENSE_B,
    P_MASK_NORM_W, /* [E] */
    P_MASK_NORM_B,
    P_MASK_BIAS, /* [V] */
    /* of each layer */
    P_Q_W, /* [C,C]; XLNet [C,H,D], inputs first; T5 [HD,C] */
    P_Q_B,
    P_K_W,
    P_K_B,
    P_V_W,
    P_V_B,
    P_O_W, /* [C,C]; XLNet [C,H,D], outputs first; T5 [C,HD] */
    P_O_B,
    P_ATT_NORM_W,
    P_ATT_NORM_B,
    P_INNER_W, /* [F,C] */
    P_INNER_B,
    P_GATE_W,  /* [F,C], T5's second inner */
    P_OUTER_W, /* [C,F] */
    P_OUTER_B,
    P_OUT_NORM_W,
    P_OUT_NORM_B,
    P_R_W,      /* XLNet: [C,H,D] of relative positions */
    P_R_W_BIAS, /* [H,D] */
    P_R_R_BIAS,
    P_R_S_BIAS,
    P_SEGMENT, /* [2,H,D] */
    P_CROSS_Q_W,
    P_CROSS_K_W,
    P_CROSS_V_W,
    P_CROSS_O_W,
    P_CROSS_NORM_W,
    PARAMS
};
#define P_FIRST_OF_LAYER P_Q_W

/* Which of T5's two stacks; all others have the encoder only. */
enum stack { STACK_ENCODER, STACK_DECODER, STACKS };

struct params {
    int32_t layers[STACKS];
    const struct tensor *once[STACKS][P_FIRST_OF_LAYER];
    /* [layers][PARAMS - P_FIRST_OF_LAYER], shared layers named again and again */
    const struct tensor **layer[STACKS];
    int64_t count;    /* parameters, each once */
    enum param *role; /* [weights->n]: what each tensor of the file is, PARAMS where no table names
                         it */
};

/* Finds every weight of cfg's family.  The names' prefix ("bert.", "module.bert.", none) is
 * the file's own; LayerNorm's gamma and beta stand for weight and bias.  cfg->head and cfg->labels
 * are settled here: by the head that the file has (its own, or a plain linear one called classifier,
 * fc, …), or as want says unless that is HEAD_NONE.  A weight that is missing, or of another shape
 * than cfg tells, is an error that names it.  Tensors stay the set's. */
int params_find(const struct tensor_set *weights, struct transformer_config *cfg, enum head want,
                struct params *out, struct err *err);
void params_done(struct params *p);

const struct tensor *params_of(const struct params *p, enum stack stack, enum param which,
                               int32_t layer);

/* Layers of the encoder as they are run: ALBERT counts its own in groups of inner ones. */
int32_t params_layers(const struct transformer_config *cfg);

/* What params_find() leaves out of a bare encoder: its pooler, where it has one. */
int params_find_pooler(const struct tensor_set *weights, struct transformer_config *cfg,
                       struct params *p, struct err *err);

/* The same of its masked-language model's head; *found: it has one.  Families without such a head (params_masks())
 * have none. */
int params_find_masked(const struct tensor_set *weights, struct transformer_config *cfg,
                       struct params *p, bool *found, struct err *err);
bool params_masks(enum family f);

/* Every weight that a model of this configuration, head and labels has, in the table's order and under
 * the names that transformers' own classifiers write; a weight that layers share is told for each
 * of them.  The place and its name are gone when visit returns. */
struct param_place {
    enum param which;
    enum stack stack;
    int32_t layer; /* 0 for those that are there once */
    const char *name;
    int n_dims;
    int64_t dims[TENSOR_MAX_DIMS];
};
typedef void params_visit(void *arg, const struct param_place *place);
void params_each(const struct transformer_config *cfg, params_visit *visit, void *arg);

#endif
