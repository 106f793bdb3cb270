/* SIGINT and SIGTERM as a request: the loop looks at stop_signal() between steps. A second signal
 * ends the process at once.
 *
 * The signals are blocked and asked for, not handled: oneDNN's generated GEMM kernels point the
 * stack pointer into a work buffer on the heap, and a handler that interrupts one writes its frame
 * over whatever lies before that buffer. Threads inherit the mask, so stop_catch comes before any
 * thread is started that may compute. */
#ifndef TRAINER_STOP_H
#define TRAINER_STOP_H

/* From here on the first signal is kept for stop_signal; catches nest, the last release counts. */
void stop_catch(void);
void stop_release(void); /* the default action again */
int stop_signal(void);   /* 0, SIGINT or SIGTERM; called by the thread that called stop_catch */

#endif
