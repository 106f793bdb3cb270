/* Time. Durations and deadlines use the monotonic clock; only what leaves the process uses the wall
 * clock. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

int64_t clock_ns(void);      /* monotonic */
int64_t clock_wall_ms(void); /* Unix time in milliseconds */

#endif
