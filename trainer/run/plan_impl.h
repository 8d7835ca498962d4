/* Inside plan_make(): what the choice of a layout (plan.c) and the advice where none fits (plan_advice.c) share. */
#ifndef TRAINER_RUN_PLAN_IMPL_H
#define TRAINER_RUN_PLAN_IMPL_H

#include "trainer/run/plan.h"

/* A question to which layouts are the answers. */
typedef struct {
    model_t *m;
    lora_t *lora;
    const plan_need_t *need;
    plan_t *p;
} question_t;

static inline bool plan_pages_optimizer(const plan_need_t *need) { return need->page_optimizer && !need->no_room; }
static inline bool plan_pages_weights(const plan_need_t *need) { return need->page_weights && !need->no_room; }

/* Whether the model would fit the plan's limit with another need. */
bool plan_would_fit(const question_t *q, const plan_need_t *need);
/* ERR_USAGE: what it needs, and what would make it fit. */
int plan_does_not_fit(const question_t *q, err_t *err);

#endif
