/* How long a run will take, before it starts: its arithmetic over the speed of matrix products on this machine, and
 * what is paged over the speed of copies. */
#ifndef TRAINER_RUN_ESTIMATE_H
#define TRAINER_RUN_ESTIMATE_H

#include "trainer/run/run.h"
#include "trainer/run/steps.h"

typedef struct {
    double flops; /* of the whole run, its evaluations included but no answers to prompts */
    size_t evaluations;
    double flops_per_second; /* of a product of the model's own size, measured (a tenth of a second) */
    double seconds;
    double step_seconds; /* of a step of the largest micro-batches, without paging */
    double link_seconds; /* that its paging takes; 0: nothing is paged, or not measured. On a device that copies beside
                                its work only what is more than step_seconds is waited for */
    double link_bytes_per_second; /* measured */
} estimate_t;

/* The run is planned. ERR_FAILED when the device has no memory for the measurement. */
int estimate_run(const run_t *run, const steps_t *steps, estimate_t *e, err_t *err);

/* How many of its steps an evaluation takes as long as, answers to prompts left out. */
double estimate_evaluation(const run_t *run, const steps_t *steps);

/* Floating-point operations of a step of the largest micro-batches. */
double estimate_step_flops(const model_t *m, const plan_need_t *need, size_t n_kept);

#endif
