/* Which words a masked-language model is asked (Devlin et al., arXiv:1810.04805): of each sequence a share of
 * the pieces, words whole (a Chinese character is one; Latin letters and digits go with the "##" pieces
 * behind them), of those four fifths read [MASK], a tenth another piece of the vocabulary, a tenth
 * what stands there.  Drawn anew for each pass, from (seed, draw, number of the sequence) alone. */
#ifndef TRAINER_MASKING_H
#define TRAINER_MASKING_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "data/tokenizer.h"

struct masking {
    uint8_t *role;   /* [vocabulary] enum wordpiece_role */
    int32_t *pieces; /* [n_pieces] those that are words or parts of them */
    int32_t n_pieces, mask_id;
    double share;
};

/* Refused: a tokenizer that is no WordPiece, or knows no [MASK].  dir: for messages. */
int masking_open(struct masking *m, const struct tokenizer *t, const char *dir, double share,
                 struct err *err);
void masking_close(struct masking *m); /* safe on a zeroed one */

/* Can anything be asked of these ids? */
bool masking_knows(const struct masking *m, const int32_t *ids, int32_t n);

/* The most that a batch of so many ids is asked. */
int32_t masking_room(const struct masking *m, int32_t max_ids, int32_t max_titles);
/* Sequence number `number`, ids[0..n), becomes what the model sees; row[] gets the places that are asked
 * (from first on) and word[] what stood there.  Returns how many. */
int32_t masking_draw(const struct masking *m, int32_t *ids, int32_t n, uint64_t seed, uint64_t draw,
                     uint32_t number, int32_t first, int32_t *row, int32_t *word);

#endif
