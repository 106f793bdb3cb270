/* What a scheduled job decides about the model it made: the challenger takes production's place
 * only when it is not worse on the same dev titles. Pure functions. */
#ifndef TRAINER_RETRAIN_H
#define TRAINER_RETRAIN_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "models/registry.h"

/* Each has a word of its own in --json, and the exit status of the job. */
enum retrain_outcome {
    RETRAIN_PROMOTED,  /* 0 */
    RETRAIN_SAME,      /* 3: production is the very same content */
    RETRAIN_WORSE,     /* 3: less accurate than production, by more than is allowed */
    RETRAIN_SUSPECT,   /* 3: production itself does far worse on dev than when it was made */
    RETRAIN_BELOW,     /* 3: less accurate than any model may be */
    RETRAIN_LOCKED,    /* 4: another job works on this model */
    RETRAIN_OVERTAKEN, /* 4: production or the lock changed hands in the meantime */
    RETRAIN_LABELS,    /* 5: the data has other labels than production */
    RETRAIN_OUTCOMES
};
const char *retrain_word(enum retrain_outcome outcome); /* "promoted", … */
int retrain_status(enum retrain_outcome outcome);

struct retrain_side {
    char version[REGISTRY_VERSION]; /* "": there is none (yet) */
    int64_t right;                  /* titles of dev classified as labelled */
    double loss;                    /* over the dev titles whose label it knows */
    bool measured;
    double made; /* dev accuracy when it was made, from its lineage; below 0: unknown */
};

struct retrain {
    struct retrain_side champion, challenger;
    int64_t titles; /* of dev, at least 1 */
    double max_drop, max_shift, min_accuracy;
    long long token; /* of the lock; 0: never held */
    enum retrain_outcome outcome;
    char why[1200]; /* one line */
};

/* Sets outcome and why from everything above them. In this order: RETRAIN_SAME when the versions are
 * equal; RETRAIN_SUSPECT when the champion's accuracy < made - max_shift (labels that contradict a
 * model which was right before are more likely wrong than news, and would favour a model that learnt
 * them); RETRAIN_BELOW when the challenger's accuracy < min_accuracy; RETRAIN_WORSE when it is < the
 * champion's - max_drop; else RETRAIN_PROMOTED. Accuracies are compared with 1e-9 to spare, so that a
 * drop of exactly max_drop is allowed. */
void retrain_decide(struct retrain *r);

/* Two or three lines for people; one JSON object for programs. */
void retrain_text(const struct retrain *r, const char *name, const char *alias, struct buf *out);
void retrain_json(const struct retrain *r, const char *name, const char *alias, struct buf *out);

#endif
