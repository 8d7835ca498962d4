/* Short training runs of a made model under a memory limit: what they end in, what they move, and what their plan said
 * about it. */
#ifndef TESTS_PAGED_RUN_H
#define TESTS_PAGED_RUN_H

#include "trainer/run/run.h"

enum { PAGED_RUN_LAYERS = 8, PAGED_RUN_STEPS = 4 };

typedef struct {
    const char *backend; /* NULL: cpu */
    size_t limit;        /* 0: none */
    optim_t optim;
    bool page_weights, cache_weights, bf16;
    const char *spill;
    tristate_t checkpointing;
    quant_type_t quant;
    bool some_targets;    /* adapters on v_proj and down_proj alone */
    size_t layers;        /* 0: PAGED_RUN_LAYERS */
    size_t micro_batches; /* a step; 0: one */
    size_t rank, tokens;  /* 0: 4, 160. Every second step's micro-batches have a seventh of the tokens */
    size_t eval_tokens;   /* 0: none; else an evaluation of so many after each step */
    bool known_next;      /* the optimizer is told where the next activations end */
    bool no_pinned;       /* the backend has no pinned memory */
    uint64_t late;        /* 0: copies run when they are queued; else late (late.h), with this seed */
} paged_run_t;

typedef struct {
    plan_t plan;
    float *master;                                        /* and behind them the moments */
    size_t moved[PAGED_RUN_STEPS], peak[PAGED_RUN_STEPS]; /* of each step */
    size_t eval_peak;
    size_t device_allocations; /* after the first step */
} paged_end_t;

/* The run as run_plan() leaves it, and with its memory and weights. run_close() also after an error. */
int paged_run_plan(run_t *run, const paged_run_t *asked, err_t *err);
int paged_run_start(run_t *run, const paged_run_t *asked, err_t *err);
size_t paged_run_tokens(const paged_run_t *asked, size_t step);
batch_t paged_run_batch(size_t T, uint64_t key);
void paged_run_step(run_t *run, const paged_run_t *asked, size_t step);

paged_end_t paged_run(const paged_run_t *asked);
/* Of paged_end_t.master: masters and moments. */
size_t paged_run_bytes(const paged_run_t *asked);
/* Runs as asked and expects the bytes of `want`; the plan's figures are those of the run. */
paged_end_t paged_run_same(const paged_end_t *want, const paged_run_t *asked, size_t bytes);

#endif
