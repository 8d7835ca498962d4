/* What a run takes of the device's memory, known before it starts: the layout of the run on a counting pool. What does
 * not fit is paged out or recomputed, in this order: optimizer pages leave for the largest micro-batches, blocks are
 * recomputed in the backward, layers' quantized weights stay in host memory and are fetched by each pass. What is left
 * over when all fits keeps dequantized weights. */
#ifndef TRAINER_RUN_PLAN_H
#define TRAINER_RUN_PLAN_H

#include "trainer/run/plan_layout.h"

/* ERR_USAGE where a pass has more tokens, or the model larger layers, than the backend's ops take, whatever the memory. */
int plan_check_sizes(const model_t *m, const plan_need_t *need, err_t *err);

/* Chooses a layout that fits `limit` bytes. ERR_USAGE with the figures when there is none; the plan is then that of the
 * layout that takes the least. What plan_check_sizes() refuses has no plan. */
int plan_make(plan_t *p, const model_t *m, const lora_t *lora, const plan_need_t *need, size_t limit, err_t *err);

/* The table that `plan` and every start print. */
void plan_print(const plan_t *p, size_t layers);

#endif
