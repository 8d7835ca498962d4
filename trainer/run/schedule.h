/* Learning-rate schedules, with the names and (but for the very last step) the values of Transformers. */
#ifndef TRAINER_RUN_SCHEDULE_H
#define TRAINER_RUN_SCHEDULE_H

#include "trainer/config/config.h"

/* The warm-up steps of a run of `total` steps: `steps` when it is not 0, else ceil(ratio * total). */
size_t schedule_warmup(double ratio, size_t steps, size_t total);

/* The learning rate of step k = 0 .. total-1 (k beyond that: of the last step).
 * constant: lr throughout, warm-up ignored. The others: lr * (k+1) / w for k < w, w the warm-up; then
 * constant_with_warmup: lr; linear: falls in a straight line from lr at k = w to 0 at the last step; cosine: the same
 * along half a cosine. */
double schedule_lr(schedule_t type, double lr, size_t warmup, size_t total, size_t k);

#endif
