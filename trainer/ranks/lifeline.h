/* How each rank knows that the others live: a connection of its own, beside MPI, from every rank to rank 0, served by a
 * thread. A process that dies closes it at once; a host that is gone, or a process that hangs, is not heard of for
 * LIFELINE_SECONDS. Either way rank 0 tells all others which rank it was, and every process ends with status 1: no rank
 * waits for ever in a sum. Time in which a process itself did not run (a job that was suspended) does not count.
 *
 * It also carries requests to stop, which launchers often give to one process only. */
#ifndef TRAINER_RANKS_LIFELINE_H
#define TRAINER_RANKS_LIFELINE_H

#include <stdbool.h>

#include "base/error.h"

/* (all) Connects; ranks_broadcast(), ranks_gather() and ranks_agree() work. beside_first: on the host of rank 0. */
int lifeline_open(bool beside_first, err_t *err);
/* (all) After this the end of a process is no event. */
void lifeline_close(void);

/* See ranks.h. Async-signal-safe. */
void lifeline_tell_stop(int sig);
void lifeline_tell_end(int status);
void lifeline_on_stop(void (*take)(int sig));

#endif
