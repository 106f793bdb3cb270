/* Event files as TensorBoard reads them: records of TFRecord (length, masked CRC-32C, bytes, masked CRC-32C),
 * each a protobuf Event with one scalar (tensorflow/core/util/event.proto, summary.proto; the few fields needed
 * are written by hand).  Appended as training goes; a file that cannot be written any more ends the fit. */
#ifndef TRAINER_TENSORBOARD_H
#define TRAINER_TENSORBOARD_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct tensorboard;
/* A new file in dir (made where it is missing), events.out.tfevents.SECONDS.rubric.PID. */
int tensorboard_open(const char *dir, struct tensorboard **out, struct err *err);
/* What was buffered is written; NULL allowed. */
void tensorboard_close(struct tensorboard *t);
int tensorboard_scalar(struct tensorboard *t, const char *tag, int64_t step, double value,
                       struct err *err);
/* Castagnoli's CRC-32 (RFC 3720, B.4). */
uint32_t crc32c(const void *data, size_t n);

#endif
