/* Softmax of a row, and its cross-entropy with label smoothing (Szegedy et al., arXiv:1512.00567,
 * as PyTorch has it).
 *
 *     p[i]  = e^(x[i] - max x) / sum                      p may be x
 *     loss  = - sum_i q[i] ln p[i],   q[i] = (1 - smoothing) [i == label] + smoothing / n
 *     dx[i] = scale (p[i] - q[i])                         OVERWRITTEN; may be x; NULL: not wanted
 *
 * n >= 1, 0 <= label < n, x finite.  No allocation, cannot fail. */
#ifndef OPS_SOFTMAX_H
#define OPS_SOFTMAX_H

#include <stdint.h>

void softmax_row(float *p, const float *x, int n);
double softmax_cross_entropy(float *dx, const float *x, int n, int32_t label, float smoothing,
                             float scale);

/* Distillation (Hinton et al., arXiv:1503.02531): (1 - part) times the loss above, and part T^2 times the
 * Kullback-Leibler divergence of softmax(x / T) from taught[n], a teacher's probabilities at the same T.
 * label -1: part is 1.  dx not NULL; as above. */
double softmax_taught(float *dx, const float *x, int n, int32_t label, float smoothing, float scale,
                      const float *taught, float temperature, float part);

/* The same without smoothing for a row as long as a vocabulary, in single precision. */
double softmax_cross_entropy_long(float *dx, const float *x, int n, int32_t label, float scale);

#endif
