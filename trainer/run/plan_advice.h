/* What to say where a run does not fit. */
#ifndef TRAINER_RUN_PLAN_ADVICE_H
#define TRAINER_RUN_PLAN_ADVICE_H

#include "trainer/run/plan_layout.h"

/* ERR_USAGE: what it needs, and which changes of the config would make it fit. */
int plan_does_not_fit(const question_t *q, err_t *err);

#endif
