/* The processes that train one run together: ranks 0 to size - 1, started by mpirun or srun, on one host or many.
 *
 * Of each optimizer step rank k of n takes the micro-batches m with m mod n = k; the gradient and the losses are added up
 * once, and every rank makes the same update of its own copy of the adapter. Rank 0 alone writes and speaks.
 *
 * A process that no launcher started as one of several is rank 0 of 1: every function below is then free, and MPI is not
 * even loaded. It comes from a module beside the program (ranks_module.h), so the program itself runs where there is no
 * MPI.
 *
 * Calls marked (all) are made by all ranks, in the same order, from the main thread; they return when every rank has made
 * its own. They cannot fail: where a rank has ended, or is not heard of for LIFELINE_SECONDS, every process of the run
 * ends by itself, with a message that names that rank (lifeline.h). */
#ifndef TRAINER_RANKS_RANKS_H
#define TRAINER_RANKS_RANKS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/host.h"

#define LIFELINE_SECONDS 30

/* (all) Joins the others, if there are any; before anything else of a training, and before stop_catch(). From here on
 * only rank 0's log_info() and log_warn() show. ERR_USAGE where a launcher started several processes that MPI cannot
 * join: the module or the library is missing, or srun was called without --mpi. */
int ranks_open(err_t *err);
/* (all) Leaves them, if ranks_open() was successful; what follows says only who is who. Whatever rank 0 has to write is
 * written before: launchers kill what goes on when one process has ended with another status than 0. */
void ranks_close(void);

int ranks_rank(void);
int ranks_size(void);
bool ranks_first(void); /* rank 0 */
/* This process among those of its host. */
host_share_t ranks_share(void);
/* For messages: "rank 3 (gpu07)", "gpu07", and "Open MPI v4.1.4", "" where that is not loaded. */
const char *ranks_name(int rank);
const char *ranks_host(int rank);
const char *ranks_library(void);

/* (all) Whether all succeeded: 0, or else the error of the lowest rank that failed, the same on all; its message begins
 * with the rank's name unless that is rank 0. *err is read where it has a code. */
int ranks_agree(err_t *err);
/* (all) What rank 0 has at p. */
void ranks_broadcast(void *p, size_t bytes);
/* (all) all[k * bytes ..] = what rank k has at mine. bytes below 2 GiB. */
void ranks_gather(const void *mine, size_t bytes, void *all);
/* (all) Adds up x[n] over the ranks, in the order of ranks, in double: the same bits on all, and from run to run. */
void ranks_sum(double *x, size_t n);
void ranks_sum_f32(float *x, size_t n);

/* ---- requests to stop ----------------------------------------------------------------------------------- */

/* `take` is called, on another thread, with the signal that another rank was asked to stop by; once, and not where this
 * one has told the others. */
void ranks_on_stop(void (*take)(int sig));
/* Both may be called by a signal handler, of any thread. The others' `take` is called. */
void ranks_tell_stop(int sig);
/* This process ends now, before its time but as it should: the others end with `status` too, and say nothing. */
void ranks_tell_end(int status);

#endif
