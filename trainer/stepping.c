#include "trainer/stepping.h"

#include <math.h>
#include <string.h>

#include "base/rng.h"

#define STREAM_ORDER 0x6f726472ULL /* an rng stream; the epoch is added to the high half */
#define PIECE 65536                /* floats */

float stepping_rate(const struct options *o, int64_t iteration, int64_t warmup, int64_t total)
{
    const char *schedule = options_str(o, "schedule");
    double lr = options_real(o, "lr");
    if (iteration < warmup)
        return (float)(lr * (double)(iteration + 1) / (double)warmup);
    double part = total > warmup ? (double)(iteration - warmup) / (double)(total - warmup) : 0.0;
    if (strcmp(schedule, "linear") == 0)
        return (float)(lr * (1 - part));
    if (strcmp(schedule, "cosine") == 0)
        return (float)(lr * 0.5 * (1 + cos(M_PI * part)));
    return (float)lr;
}

void stepping_order(uint32_t *order, size_t n, uint64_t seed, int64_t epoch)
{
    for (size_t i = 0; i < n; i++)
        order[i] = (uint32_t)i;
    rng_shuffle(order, n, seed, STREAM_ORDER + ((uint64_t)epoch << 32));
}

int32_t stepping_labelled(const struct dataset *d, const uint32_t *titles, int32_t n)
{
    int32_t labelled = 0;
    for (int32_t i = 0; i < n; i++)
        labelled += d->labels[titles[i]] >= 0;
    return labelled;
}

struct average {
    struct checkpoint *c;
    float rest;
};

static void average_piece(void *arg, int piece, int thread)
{
    const struct average *a = arg;
    struct checkpoint *c = a->c;
    size_t first = (size_t)piece * PIECE, end = c->size - first > PIECE ? first + PIECE : c->size;
    (void)thread;
    for (size_t i = first; i < end; i++)
        c->ema[i] += a->rest * (c->w[i] - c->ema[i]);
}

void stepping_average(struct checkpoint *c, double decay, struct pool *pool)
{
    double k = (double)c->iteration, grown = (1 + k) / (10 + k);
    struct average a = {c, (float)(1 - (grown < decay ? grown : decay))};
    if (c->ema)
        pool_run(pool, (int)((c->size + PIECE - 1) / PIECE), average_piece, &a);
}
