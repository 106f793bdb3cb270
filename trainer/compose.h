/* What `calibrate`, `ensemble` and `cascade` share: several models on the same titles, and a directory made of them
 * (models/composite.h). */
#ifndef TRAINER_COMPOSE_H
#define TRAINER_COMPOSE_H

#include "base/json.h"
#include "base/pool.h"
#include "data/dataset.h"
#include "models/composite.h"

struct compose {
    int n;
    char *paths[COMPOSITE_MAX]; /* of the models */
    struct model *models[COMPOSITE_MAX];
    struct dataset titles;         /* that nothing was trained on */
    float *p[COMPOSITE_MAX];       /* [titles][labels] */
    double seconds[COMPOSITE_MAX]; /* of one title, with all threads at work */
    struct pool *pool;
};

/* list: directories with commas between.  Refused: over COMPOSITE_MAX, models of other labels than the first. */
int compose_open(struct compose *c, const char *list, int threads, struct err *err);
/* Titles of a file, and what every model makes of them. */
int compose_read(struct compose *c, const char *path, FILE *console, struct err *err);
void compose_close(struct compose *c); /* safe on a zeroed one */
int32_t compose_labels(const struct compose *c);
bool compose_spaced(const struct compose *c); /* a part reads words with blanks between */

/* Mean of -ln p(label) of softmax(sum of weights · ln p). */
double compose_loss(const struct compose *c, const double *weights);
/* The name of part i in the directory: "0-linear", of a bare file "0-fasttext.ftz". */
char *compose_part_name(const struct compose *c, int i);
/* Makes out, which must not be there unless it holds a composite and overwrite is set: config (model_type and
 * the parts' list set), labels, the parts' files.  It is made whole beside out and renamed; an old one stands
 * aside, and comes back when that fails. */
int compose_write(const struct compose *c, const char *out, bool overwrite, const char *name,
                  json_t *config, struct err *err);

#endif
