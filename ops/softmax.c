#include "ops/softmax.h"

#include <math.h>

#include "ops/rows.h"

void softmax_row(float *p, const float *x, int n)
{
    const struct rows *r = rows();
    float sum = r->exp_sum(p, x, r->max(x, n), n);
    r->scale(p, p, 1.0f / sum, n);
}

/* In double: rows are short here, and a loss that is right to the last bit makes runs easy to
 * compare. */
double softmax_cross_entropy(float *dx, const float *x, int n, int32_t label, float smoothing,
                             float scale)
{
    double max = (double)rows()->max(x, n), sum = 0.0, all = 0.0;
    for (int i = 0; i < n; i++) {
        sum += exp((double)x[i] - max);
        all += (double)x[i] - max;
    }
    double log_sum = log(sum), even = (double)smoothing / (double)n;
    double hit = log_sum - ((double)x[label] - max), mean = (double)n * log_sum - all;
    for (int i = 0; dx && i < n; i++) {
        double q = even + (i == label ? 1.0 - (double)smoothing : 0.0);
        dx[i] = scale * (float)(exp((double)x[i] - max - log_sum) - q);
    }
    return (1.0 - (double)smoothing) * hit + even * mean;
}

/* Pieces are summed in floats and their sums in double: a float that has grown to thousands loses what is added. */
double softmax_cross_entropy_long(float *dx, const float *x, int n, int32_t label, float scale)
{
    enum { PIECE = 512 };
    const struct rows *r = rows();
    float max = r->max(x, n), hit = x[label] - max;
    double sum = 0;
    for (int i = 0; i < n; i += PIECE)
        sum += (double)r->exp_sum(dx + i, x + i, max, n - i < PIECE ? n - i : PIECE);
    r->scale(dx, dx, (float)((double)scale / sum), n);
    dx[label] -= scale;
    return log(sum) - (double)hit;
}

double softmax_taught(float *dx, const float *x, int n, int32_t label, float smoothing, float scale,
                      const float *taught, float temperature, float part)
{
    double t = (double)temperature, soft = label < 0 ? 1.0 : (double)part, hard = 1.0 - soft;
    double max = (double)rows()->max(x, n), sum = 0.0, warm = 0.0, all = 0.0, divergence = 0.0;
    double even = (double)smoothing / (double)n;
    for (int i = 0; i < n; i++) {
        double d = (double)x[i] - max;
        sum += exp(d);
        warm += exp(d / t);
        all += d;
    }
    double hit = label < 0 ? 0.0 : log(sum) - ((double)x[label] - max);
    double mean = (double)n * log(sum) - all;
    for (int i = 0; i < n; i++) {
        double d = (double)x[i] - max, p = exp(d - log(sum)), log_p = d / t - log(warm);
        double q = (double)taught[i], target = even + (i == label ? 1.0 - (double)smoothing : 0.0);
        divergence += q > 0 ? q * (log(q) - log_p) : 0.0;
        dx[i] = scale * (float)(hard * (p - target) + soft * t * (exp(log_p) - q));
    }
    return hard * ((1.0 - (double)smoothing) * hit + even * mean) + soft * t * t * divergence;
}
