/* Several processes of one fit, started by mpirun (MPI, where it was found when this was built): each
 * computes a share of every batch, and sums over all of them make the weights the same everywhere.  The
 * first process alone writes and prints.  Without MPI, and outside mpirun, there is one process and
 * all of this does nothing. */
#ifndef TRAINER_PROCESSES_H
#define TRAINER_PROCESSES_H

#include <stdbool.h>
#include <stddef.h>

/* Called by main(): first, and last with the exit status (an error, 1 to 127, ends all
 * processes). */
void processes_open(int *argc, char ***argv);
void processes_close(int status);
bool processes_built(void); /* with MPI */
int processes_rank(void);   /* from 0 */
int processes_count(void);

/* Sums over all processes, the same bits in each; called by all of them alike. */
void processes_add_floats(float *x, size_t n);
void processes_add_doubles(double *x, size_t n);
int processes_greatest(int x);
/* The first process's bytes for all. */
void processes_share(void *data, size_t n);
/* Seconds that this process spent in all of these. */
double processes_seconds(void);

#endif
