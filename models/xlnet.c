#include "models/xlnet.h"

#include <math.h>
#include <stdlib.h>

#include "models/body_parts.h"
#include "ops/gemm.h"

/* out[o][i] = in[i][o] */
static void transpose(float *out, const float *in, int n_in, int n_out)
{
    for (int i = 0; i < n_in; i++)
        for (int o = 0; o < n_out; o++)
            out[(size_t)o * (size_t)n_in + (size_t)i] = in[(size_t)i * (size_t)n_out + (size_t)o];
}

struct projection *xlnet_projection(const struct body_source *src, int32_t l, const enum param *w,
                                    int n_parts)
{
    int c = src->cfg->hidden;
    size_t each = (size_t)c * (size_t)c;
    float *all = xmalloc((size_t)n_parts * each * sizeof *all);
    enum product_type type = src->type;
    for (int i = 0; i < n_parts; i++) {
        type = parts_type(src->keep, params_of(src->params, STACK_ENCODER, w[i], l)->name, type);
        float *part = parts_floats(src->params, STACK_ENCODER, w[i], l);
        transpose(all + (size_t)i * each, part, c, c);
        free(part);
    }
    struct projection *p = projection_open(src->set, type, n_parts * c, c, all, NULL);
    free(all);
    return p;
}

struct projection *xlnet_out_projection(const struct body_source *src, int32_t l)
{
    int c = src->cfg->hidden;
    float *w = parts_floats(src->params, STACK_ENCODER, P_O_W, l);
    const char *name = params_of(src->params, STACK_ENCODER, P_O_W, l)->name;
    struct projection *p =
        projection_open(src->set, parts_type(src->keep, name, src->type), c, c, w, NULL);
    free(w);
    return p;
}

float *xlnet_sinusoids(int c, int max_t)
{
    int n = 2 * max_t - 1, half = c / 2;
    float *r = xcalloc((size_t)n * (size_t)c, sizeof *r);
    for (int i = 0; i < n; i++)
        for (int j = 0; j < half; j++) {
            double angle = (double)(max_t - 1 - i) / pow(10000.0, 2.0 * j / c);
            r[(size_t)i * (size_t)c + (size_t)j] = (float)sin(angle);
            r[(size_t)i * (size_t)c + (size_t)(half + j)] = (float)cos(angle);
        }
    return r;
}

void xlnet_layer(const struct body_source *src, int32_t l, struct attention *a,
                 float *own[XLNET_TABLES])
{
    int c = src->cfg->hidden, max_t = src->max_tokens, n = 2 * max_t - 1;
    size_t table = (size_t)a->head_size * (size_t)attention_table_ld(max_t);
    float *r = xlnet_sinusoids(c, max_t), *w = parts_floats(src->params, STACK_ENCODER, P_R_W, l);
    float *rows = xmalloc((size_t)n * (size_t)c * sizeof *rows);
    gemm(&(struct gemm){false, false, n, c, c, 1.0f, 0.0f, r, w, rows, c, c, c});
    own[0] = xmalloc((size_t)a->heads * table * sizeof *own[0]);
    for (int h = 0; h < a->heads; h++)
        attention_transpose_table(own[0] + (size_t)h * table, rows + h * a->head_size, c, max_t,
                                  a->head_size);
    own[1] = parts_floats(src->params, STACK_ENCODER, P_R_W_BIAS, l);
    own[2] = parts_floats(src->params, STACK_ENCODER, P_R_R_BIAS, l);
    own[3] = parts_floats(src->params, STACK_ENCODER, P_R_S_BIAS, l);
    own[4] = parts_floats(src->params, STACK_ENCODER, P_SEGMENT, l);
    a->key_table = own[0];
    a->key_table_stride = table;
    a->q_bias = own[1];
    a->position_bias = own[2];
    a->segment_bias = own[3];
    a->segment = own[4];
    free(r);
    free(w);
    free(rows);
}
