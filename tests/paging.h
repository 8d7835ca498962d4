/* Runs of a small model under a memory limit, for the tests of paging on each backend. */
#ifndef TESTS_PAGING_H
#define TESTS_PAGING_H

#include "trainer/run.h"

enum { PAGING_LAYERS = 8, PAGING_STEPS = 4 };

typedef struct {
    const char *backend;      /* NULL: cpu */
    size_t limit;             /* 0: none */
    optim_t optim;
    bool page_weights, cache_weights, bf16;
    const char *spill;
    tristate_t checkpointing;
    size_t micro_batches;     /* a step; 0: one */
    size_t rank, tokens;      /* 0: 4, 160. Every second step's micro-batches have a seventh of the tokens */
    bool known_next;          /* the optimizer is told where the next activations end */
    bool no_pinned;           /* the backend has no pinned memory */
} paging_t;

typedef struct {
    plan_t plan;
    float *master; /* adapters and moments, as bytes; the caller frees */
    size_t moved[PAGING_STEPS], peak[PAGING_STEPS]; /* of each step */
    size_t device_allocations;                      /* after the first step */
} paged_t;

/* Opens a run, plans and loads it; the caller closes it, also after an error. */
int paging_start(run_t *run, const paging_t *asked, err_t *err);
batch_t paging_batch(const paging_t *asked, size_t step, uint64_t key);
void paging_step(run_t *run, const paging_t *asked, size_t step);

/* PAGING_STEPS steps. */
paged_t paging_run(const paging_t *asked);
size_t paging_state_bytes(const paging_t *asked); /* of paged_t.master */

/* Runs as asked and expects the bytes of `want`; the plan's figures are those of the run. */
paged_t paging_same_as(const paged_t *want, const paging_t *asked, size_t bytes);

#endif
