/* Holding back signals for a while: while threads are started that must take none (they inherit what is
 * held), or while code runs that a handler must not interrupt. Between the two calls the thread
 * takes no signal that can be held; what came meanwhile is taken at the second. */
#ifndef BASE_SIGNALS_H
#define BASE_SIGNALS_H

#include <signal.h>

void signals_hold(sigset_t *before);
void signals_release(const sigset_t *before);

#endif
