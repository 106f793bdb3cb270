/* SIGINT and SIGTERM as a request: the loop looks at stop_signal() between steps. A second signal
 * ends the process at once. */
#ifndef TRAINER_STOP_H
#define TRAINER_STOP_H

void stop_catch(void);   /* from here on the first signal is noted */
void stop_release(void); /* the default action again; what was noted is forgotten */
int stop_signal(void);   /* 0, SIGINT or SIGTERM */

#endif
