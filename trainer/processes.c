#include "trainer/processes.h"

#include <stdlib.h>

#include "base/clock.h"

#ifdef RUBRIC_HAVE_MPI

#include <mpi.h>

#define PIECE ((size_t)1 << 28) /* elements: MPI counts in int */

static int rank, count = 1;
static int64_t spent_ns;

/* What mpirun of Open MPI, MPICH and Slurm leave in the environment: a program that is started by hand
 * does not wait for anybody. */
static bool is_started_by_mpi(void)
{
    return getenv("OMPI_COMM_WORLD_SIZE") || getenv("PMI_SIZE") || getenv("PMIX_RANK");
}

void processes_open(int *argc, char ***argv)
{
    if (!is_started_by_mpi())
        return;
    int level;
    (void)MPI_Init_thread(argc, argv, MPI_THREAD_FUNNELED, &level);
    (void)MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    (void)MPI_Comm_size(MPI_COMM_WORLD, &count);
}

void processes_close(int status)
{
    int is_open = 0;
    (void)MPI_Initialized(&is_open);
    if (!is_open)
        return;
    /* After an error the others wait for this one's share and cannot go on; a signal stops all. */
    if (status != 0 && status < 128 && count > 1)
        (void)MPI_Abort(MPI_COMM_WORLD, status);
    (void)MPI_Finalize();
}

bool processes_built(void)
{
    return true;
}

static void add(void *x, size_t n, size_t size, MPI_Datatype type)
{
    int64_t begin = clock_ns();
    for (size_t at = 0; count > 1 && at < n; at += PIECE)
        (void)MPI_Allreduce(MPI_IN_PLACE, (char *)x + at * size,
                            (int)(n - at < PIECE ? n - at : PIECE), type, MPI_SUM, MPI_COMM_WORLD);
    spent_ns += clock_ns() - begin;
}

void processes_add_floats(float *x, size_t n)
{
    add(x, n, sizeof *x, MPI_FLOAT);
}

void processes_add_doubles(double *x, size_t n)
{
    add(x, n, sizeof *x, MPI_DOUBLE);
}

int processes_greatest(int x)
{
    if (count > 1)
        (void)MPI_Allreduce(MPI_IN_PLACE, &x, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
    return x;
}

void processes_share(void *data, size_t n)
{
    for (size_t at = 0; count > 1 && at < n; at += PIECE)
        (void)MPI_Bcast((char *)data + at, (int)(n - at < PIECE ? n - at : PIECE), MPI_BYTE, 0,
                        MPI_COMM_WORLD);
}

#else

static const int rank = 0, count = 1;
static const int64_t spent_ns = 0;

void processes_open(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
}

void processes_close(int status)
{
    (void)status;
}

bool processes_built(void)
{
    return false;
}

void processes_add_floats(float *x, size_t n)
{
    (void)x;
    (void)n;
}

void processes_add_doubles(double *x, size_t n)
{
    (void)x;
    (void)n;
}

int processes_greatest(int x)
{
    return x;
}

void processes_share(void *data, size_t n)
{
    (void)data;
    (void)n;
}

#endif

int processes_rank(void)
{
    return rank;
}

int processes_count(void)
{
    return count;
}

double processes_seconds(void)
{
    return (double)spent_ns * 1e-9;
}
