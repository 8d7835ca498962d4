/* How long a run will take, before it starts: its arithmetic over the speed of matrix products on this machine. */
#ifndef TRAINER_ESTIMATE_H
#define TRAINER_ESTIMATE_H

#include "trainer/run.h"
#include "trainer/steps.h"

typedef struct {
    double flops;            /* of the whole run */
    double flops_per_second; /* of a product of the model's own size, measured (a tenth of a second) */
    double seconds;
} estimate_t;

/* The run is planned. ERR_FAILED when the device has no memory for the measurement. */
int estimate_run(const run_t *run, const steps_t *steps, estimate_t *e, err_t *err);

#endif
