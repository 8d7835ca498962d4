/* Requests to stop a training: SIGINT, SIGTERM, SIGUSR1, SIGUSR2 (which LSF and Grid Engine send)
 * and SIGHUP.
 *
 * Schedulers, `timeout`, a container's init and scripts that forward often send one request twice, to the process and to
 * its group: whatever comes within two seconds of the first is the same request. A SIGINT or SIGTERM after that ends the
 * process at once, as it ends any program; one of the others is ignored.
 *
 * Until the first step there is nothing that a checkpoint could keep: the handler itself ends the process, in the middle
 * of whatever loads. From then on the training asks, between micro-batches.
 *
 * Of several processes that train together (trainer/ranks/ranks.h) a request to any is one to all. Before the first step
 * it is rank 0 that ends them. */
#ifndef TRAINER_RUN_STOP_H
#define TRAINER_RUN_STOP_H

#include <stdbool.h>

/* Keeps the signals waiting, across an exec too, until it is known who takes them: nobody (stop_release()), or a training
 * whose exit status after a stop is known too. */
void stop_hold(void);
void stop_release(void);
void stop_catch(int status);

/* From now on a request waits until stop_wanted() is asked. */
void stop_wait_for_look(void);

/* For the one thread that trains. */
bool stop_wanted(void);
/* (all) Of a request that a rank has seen: "SIGTERM", and if it did not come to rank 0, "SIGTERM to rank 2 (gpu07)", which
 * the caller frees; and the seconds since it came. */
char *stop_name(double *age);

/* The longest time between two calls of stop_wanted(), which is what a request may have to wait; without the time up to
 * a call that follows stop_look_away(). */
double stop_longest_wait(void);
void stop_look_away(void);
/* What to do where a request is met later than schedulers allow, for a warning; NULL: it is met in time. `wait`: seconds
 * until it is seen, `save`: seconds that a checkpoint takes. The caller frees. */
char *stop_advice(double wait, double save);

#endif
