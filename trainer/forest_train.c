#include "trainer/forest_train.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "trainer/forest_bins.h"

#define STREAM_TREE 0x74726565ULL /* rng stream; the tree's number is added to the high half */

/* One tree while it grows; leaves are those of the forest once the trees are put together. */
struct tree {
    struct forest_node *node;
    int32_t n, room;
    int32_t root;
    float *leaf; /* [leaves][labels] */
    int32_t leaves, leaf_room;
    int32_t bagged; /* titles in its bag, and which: bits */
    uint64_t *seen;
};

/* What a thread needs for one tree after another. */
struct grower {
    const struct forest_bins *b;
    const struct forest_options *opt;
    const int32_t *labels;
    int32_t n_labels, drawn_max;
    struct tree *tree;
    uint64_t stream, counter;
    int32_t *titles;  /* [rows] in the bag, in the order of the questions */
    uint16_t *weight; /* [rows] how often each is in the bag */
    uint32_t *mark;   /* [features] 2 * question + 1: occurs there; + 2: is drawn */
    int32_t *slot;    /* [features] of the drawn ones */
    uint32_t question;
    int32_t *present;      /* [features] */
    uint32_t *count;       /* [drawn_max][FOREST_BINS][labels] */
    uint32_t *all, *right; /* [labels] */
};

struct place {
    int32_t begin, end, depth;
    int32_t parent, side; /* parent -1: the root */
};

struct split {
    int32_t feature, bin; /* bins up to this one go left */
    double score;
};

static int32_t draw(struct grower *g, int32_t n)
{
    return (int32_t)(rng_uniform(g->opt->seed, g->stream, g->counter++) * n);
}

static void fill_bag(struct grower *g)
{
    int32_t rows = g->b->rows, n = 0;
    memset(g->weight, 0, (size_t)rows * sizeof *g->weight);
    for (int32_t i = 0; i < rows; i++) {
        int32_t k = g->opt->bootstrap ? draw(g, rows) : i;
        g->weight[k] = (uint16_t)(g->weight[k] + (g->weight[k] < UINT16_MAX));
    }
    for (int32_t i = 0; i < rows; i++)
        if (g->weight[i]) {
            g->titles[n++] = i;
            g->tree->seen[i / 64] |= (uint64_t)1 << (i % 64);
        }
    g->tree->bagged = n;
}

/* Labels of the place's titles into g->all; their number. */
static uint32_t count_labels(struct grower *g, const struct place *p, bool *pure)
{
    uint32_t n = 0, most = 0;
    memset(g->all, 0, (size_t)g->n_labels * sizeof *g->all);
    for (int32_t i = p->begin; i < p->end; i++)
        g->all[g->labels[g->titles[i]]] += g->weight[g->titles[i]];
    for (int32_t k = 0; k < g->n_labels; k++) {
        n += g->all[k];
        most = g->all[k] > most ? g->all[k] : most;
    }
    *pure = most == n;
    return n;
}

/* Features of the place's titles, each once; how many. */
static int32_t find_present(struct grower *g, const struct place *p)
{
    int32_t n = 0;
    uint32_t mark = 2 * ++g->question;
    for (int32_t i = p->begin; i < p->end; i++) {
        const uint32_t *cell = g->b->cell + g->b->start[g->titles[i]],
                       *end = g->b->cell + g->b->start[g->titles[i] + 1];
        for (; cell < end; cell++) {
            uint32_t f = *cell / FOREST_BINS;
            if (g->mark[f] != mark) {
                g->mark[f] = mark;
                g->present[n++] = (int32_t)f;
            }
        }
    }
    return n;
}

/* The first k of present are drawn ones. */
static void draw_features(struct grower *g, int32_t n, int32_t k)
{
    for (int32_t i = 0; i < k; i++) {
        int32_t j = i + draw(g, n - i), f = g->present[j];
        g->present[j] = g->present[i];
        g->present[i] = f;
        g->mark[f] = 2 * g->question + 1;
        g->slot[f] = i;
    }
}

static void count_bins(struct grower *g, const struct place *p, int32_t drawn)
{
    size_t labels = (size_t)g->n_labels, each = FOREST_BINS * labels;
    uint32_t mark = 2 * g->question + 1;
    memset(g->count, 0, (size_t)drawn * each * sizeof *g->count);
    for (int32_t i = p->begin; i < p->end; i++) {
        int32_t title = g->titles[i];
        uint32_t weight = g->weight[title], label = (uint32_t)g->labels[title];
        const uint32_t *cell = g->b->cell + g->b->start[title],
                       *end = g->b->cell + g->b->start[title + 1];
        for (; cell < end; cell++) {
            uint32_t f = *cell / FOREST_BINS;
            if (g->mark[f] == mark)
                g->count[(size_t)g->slot[f] * each + *cell % FOREST_BINS * labels + label] +=
                    weight;
        }
    }
}

/* The Gini impurity of the two sides, weighed by their titles, falls as the sum of squares rises. */
static void try_feature(struct grower *g, int32_t slot, uint32_t n, struct split *best)
{
    size_t labels = (size_t)g->n_labels;
    const uint32_t *count = g->count + (size_t)slot * FOREST_BINS * labels;
    uint32_t n_right = 0, least = (uint32_t)g->opt->min_leaf;
    memset(g->right, 0, labels * sizeof *g->right);
    for (int32_t bin = FOREST_BINS - 2; bin >= 0; bin--) {
        const uint32_t *of = count + (size_t)(bin + 1) * labels;
        uint32_t moved = 0;
        double left = 0, right = 0;
        for (size_t k = 0; k < labels; k++) {
            g->right[k] += of[k];
            moved += of[k];
        }
        n_right += moved;
        if (moved == 0 || n_right < least || n - n_right < least || n_right == n)
            continue;
        for (size_t k = 0; k < labels; k++) {
            double r = g->right[k], l = g->all[k] - g->right[k];
            right += r * r;
            left += l * l;
        }
        double score = left / (n - n_right) + right / n_right;
        if (score > best->score)
            *best = (struct split){g->present[slot], bin, score};
    }
}

/* How many of drawn_max features drawn of all occur in the place's titles: one at least, as scikit-learn goes on
 * drawing until there is one. */
static int32_t count_drawn(struct grower *g, int32_t present)
{
    int32_t n = 0;
    if (g->drawn_max >= g->b->features)
        return present;
    for (int32_t i = 0; i < g->drawn_max; i++)
        n += draw(g, g->b->features - i) < present - n;
    return n > 0 || present == 0 ? n : 1;
}

/* False: nothing drawn lowers the impurity. */
static bool find_split(struct grower *g, const struct place *p, uint32_t n, struct split *best)
{
    int32_t present = find_present(g, p), drawn = count_drawn(g, present);
    double squares = 0;
    for (int32_t k = 0; k < g->n_labels; k++)
        squares += (double)g->all[k] * g->all[k];
    *best = (struct split){-1, 0, squares / n * (1 + 1e-12)};
    draw_features(g, present, drawn);
    count_bins(g, p, drawn);
    for (int32_t i = 0; i < drawn; i++)
        try_feature(g, i, n, best);
    return best->feature >= 0;
}

/* Titles that go left come first; where the others begin. */
static int32_t part_titles(struct grower *g, const struct place *p, const struct split *s)
{
    int32_t i = p->begin, j = p->end;
    while (i < j) {
        int32_t title = g->titles[i];
        if (forest_bins_of(g->b, title, s->feature) <= (uint32_t)s->bin) {
            i++;
        } else {
            g->titles[i] = g->titles[--j];
            g->titles[j] = title;
        }
    }
    return i;
}

static int32_t add_leaf(struct grower *g, uint32_t n)
{
    struct tree *t = g->tree;
    size_t labels = (size_t)g->n_labels;
    if (t->leaves == t->leaf_room) {
        t->leaf_room = 2 * t->leaf_room + 64;
        t->leaf = xrealloc(t->leaf, (size_t)t->leaf_room * labels * sizeof *t->leaf);
    }
    for (size_t k = 0; k < labels; k++)
        t->leaf[(size_t)t->leaves * labels + k] = (float)((double)g->all[k] / n);
    return -1 - t->leaves++;
}

static int32_t add_node(struct grower *g, const struct split *s)
{
    struct tree *t = g->tree;
    if (t->n == t->room) {
        t->room = 2 * t->room + 64;
        t->node = xrealloc(t->node, (size_t)t->room * sizeof *t->node);
    }
    t->node[t->n] = (struct forest_node){.feature = s->feature,
                                         .threshold = forest_bins_edge(g->b, s->feature, s->bin)};
    return t->n++;
}

static void grow(struct grower *g)
{
    struct tree *t = g->tree;
    size_t room = 64, n_places = 0;
    struct place *places = xmalloc(room * sizeof *places);
    fill_bag(g);
    places[n_places++] = (struct place){0, t->bagged, 0, -1, 0};
    while (n_places) {
        struct place p = places[--n_places];
        struct split s;
        bool pure;
        uint32_t n = count_labels(g, &p, &pure);
        bool ends = pure || n < 2 * (uint32_t)g->opt->min_leaf ||
                    (g->opt->max_depth && p.depth >= g->opt->max_depth) ||
                    !find_split(g, &p, n, &s);
        int32_t at = ends ? add_leaf(g, n) : add_node(g, &s);
        if (p.parent < 0)
            t->root = at;
        else
            t->node[p.parent].child[p.side] = at;
        if (ends)
            continue;
        int32_t middle = part_titles(g, &p, &s);
        if (n_places + 2 > room)
            places = xrealloc(places, (room *= 2) * sizeof *places);
        places[n_places++] = (struct place){middle, p.end, p.depth + 1, at, 1};
        places[n_places++] = (struct place){p.begin, middle, p.depth + 1, at, 0};
    }
    free(places);
}

static void grower_open(struct grower *g, const struct forest_bins *b, const int32_t *labels,
                        int32_t n_labels, const struct forest_options *opt)
{
    size_t rows = (size_t)b->rows, features = (size_t)b->features, k = (size_t)n_labels;
    *g = (struct grower){.b = b, .opt = opt, .labels = labels, .n_labels = n_labels};
    g->drawn_max = opt->max_features ? opt->max_features : (int32_t)lrint(sqrt((double)features));
    g->drawn_max = g->drawn_max < 1 ? 1 : g->drawn_max > b->features ? b->features : g->drawn_max;
    g->titles = xmalloc(rows * sizeof *g->titles);
    g->weight = xmalloc(rows * sizeof *g->weight);
    g->mark = xcalloc(features, sizeof *g->mark);
    g->slot = xmalloc(features * sizeof *g->slot);
    g->present = xmalloc(features * sizeof *g->present);
    g->count = xmalloc((size_t)g->drawn_max * FOREST_BINS * k * sizeof *g->count);
    g->all = xmalloc(k * sizeof *g->all);
    g->right = xmalloc(k * sizeof *g->right);
}

static void grower_close(struct grower *g)
{
    free(g->titles);
    free(g->weight);
    free(g->mark);
    free(g->slot);
    free(g->present);
    free(g->count);
    free(g->all);
    free(g->right);
}

struct job {
    struct grower *growers; /* one per thread */
    struct tree *trees;
    const struct forest_options *opt;
    pthread_mutex_t lock;
    int32_t done;
};

static void grow_one(void *arg, int piece, int thread)
{
    struct job *job = arg;
    struct grower *g = &job->growers[thread];
    g->tree = &job->trees[piece];
    g->tree->seen = xcalloc((size_t)g->b->rows / 64 + 1, sizeof *g->tree->seen);
    g->stream = STREAM_TREE + ((uint64_t)piece << 32);
    g->counter = 0;
    if (g->question > UINT32_MAX / 4) {
        memset(g->mark, 0, (size_t)g->b->features * sizeof *g->mark);
        g->question = 0;
    }
    grow(g);
    (void)pthread_mutex_lock(&job->lock);
    job->done++;
    if (job->opt->done)
        job->opt->done(job->opt->arg, job->done);
    (void)pthread_mutex_unlock(&job->lock);
}

/* The row that says one label alone, or -1. */
static int32_t one_label(const float *leaf, int32_t labels)
{
    for (int32_t k = 0; k < labels; k++)
        if (leaf[k] == 1.0f)
            return k;
    return -1;
}

/* Trees behind one another; leaves of one label are the first rows and shared by all trees. */
static void put_together(struct forest *f, const struct tree *trees, int32_t n, int32_t labels)
{
    size_t nodes = 0, leaves = (size_t)labels, k = (size_t)labels;
    for (int32_t t = 0; t < n; t++) {
        nodes += (size_t)trees[t].n;
        leaves += (size_t)trees[t].leaves;
    }
    *f = (struct forest){.trees = n, .leaves = labels, .labels = labels};
    f->root = xmalloc((size_t)n * sizeof *f->root);
    f->node = xmalloc(nodes * sizeof *f->node + 1);
    f->leaf = xcalloc(leaves * k, sizeof *f->leaf);
    for (size_t i = 0; i < k; i++)
        f->leaf[i * k + i] = 1.0f;
    for (int32_t t = 0; t < n; t++) {
        const struct tree *tree = &trees[t];
        int32_t *row = xmalloc((size_t)tree->leaves * sizeof *row + 1);
        for (int32_t i = 0; i < tree->leaves; i++) {
            const float *leaf = tree->leaf + (size_t)i * k;
            row[i] = one_label(leaf, labels);
            if (row[i] < 0) {
                row[i] = f->leaves++;
                memcpy(f->leaf + (size_t)row[i] * k, leaf, k * sizeof *leaf);
            }
        }
        for (int32_t i = 0; i < tree->n; i++) {
            struct forest_node *to = &f->node[f->nodes + i];
            *to = tree->node[i];
            for (int side = 0; side < 2; side++)
                to->child[side] = to->child[side] >= 0 ? f->nodes + to->child[side]
                                                       : -1 - row[-1 - to->child[side]];
        }
        f->root[t] = tree->root >= 0 ? f->nodes + tree->root : -1 - row[-1 - tree->root];
        f->nodes += tree->n;
        free(row);
    }
    f->leaf = xrealloc(f->leaf, (size_t)f->leaves * k * sizeof *f->leaf);
}

struct judging {
    const struct forest *f;
    const struct sparse *x;
    const int32_t *labels;
    const struct tree *trees;
    int32_t *judged, *right; /* [chunks] */
};

enum { CHUNK = 4096 /* titles */ };

static void judge_chunk(void *arg, int piece, int thread)
{
    const struct judging *j = arg;
    const struct forest *f = j->f;
    struct forest_row row = forest_row_open(j->x->columns);
    double *sum = xmalloc((size_t)f->labels * sizeof *sum);
    (void)thread;
    for (int64_t i = (int64_t)piece * CHUNK; i < j->x->rows && i < ((int64_t)piece + 1) * CHUNK;
         i++) {
        int32_t asked = 0, best = 0;
        const int32_t *index = j->x->index + j->x->start[i];
        forest_row_put(&row, index, j->x->value + j->x->start[i], j->x->count[i]);
        memset(sum, 0, (size_t)f->labels * sizeof *sum);
        for (int32_t t = 0; t < f->trees; t++)
            if (!(j->trees[t].seen[i / 64] >> (i % 64) & 1)) {
                forest_add(f, &row, t, 1, sum);
                asked++;
            }
        for (int32_t k = 1; k < f->labels; k++)
            best = sum[k] > sum[best] ? k : best;
        j->judged[piece] += asked > 0;
        j->right[piece] += asked > 0 && best == j->labels[i];
        forest_row_clear(&row, index, j->x->count[i]);
    }
    forest_row_close(&row);
    free(sum);
}

static double judge(const struct forest *f, const struct sparse *x, const int32_t *labels,
                    const struct tree *trees, struct pool *pool)
{
    int chunks = (int)((x->rows + CHUNK - 1) / CHUNK);
    struct judging j = {f,
                        x,
                        labels,
                        trees,
                        xcalloc((size_t)chunks, sizeof(int32_t)),
                        xcalloc((size_t)chunks, sizeof(int32_t))};
    int64_t judged = 0, right = 0;
    pool_run(pool, chunks, judge_chunk, &j);
    for (int i = 0; i < chunks; i++) {
        judged += j.judged[i];
        right += j.right[i];
    }
    free(j.judged);
    free(j.right);
    return judged ? (double)right / (double)judged : NAN;
}

void forest_train(const struct sparse *x, const int32_t *labels, int32_t n_labels,
                  const struct forest_options *opt, struct pool *pool, struct forest *out,
                  double *out_of_bag)
{
    struct forest_bins bins;
    int threads = pool_threads(pool);
    struct job job = {.opt = opt};
    forest_bins_make(&bins, x);
    job.growers = xcalloc((size_t)threads, sizeof *job.growers);
    job.trees = xcalloc((size_t)opt->trees, sizeof *job.trees);
    (void)pthread_mutex_init(&job.lock, NULL);
    for (int i = 0; i < threads; i++)
        grower_open(&job.growers[i], &bins, labels, n_labels, opt);
    pool_run(pool, opt->trees, grow_one, &job);
    for (int i = 0; i < threads; i++)
        grower_close(&job.growers[i]);
    forest_bins_done(&bins);
    put_together(out, job.trees, opt->trees, n_labels);
    *out_of_bag = judge(out, x, labels, job.trees, pool);
    for (int32_t t = 0; t < opt->trees; t++) {
        free(job.trees[t].node);
        free(job.trees[t].leaf);
        free(job.trees[t].seen);
    }
    (void)pthread_mutex_destroy(&job.lock);
    free(job.growers);
    free(job.trees);
}
