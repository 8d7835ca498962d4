/* The tiny golden models of tests/golden/tiny: a model with its adapter on a backend, and its one batch. */
#ifndef TESTS_TINY_H
#define TESTS_TINY_H

#include "model/formats/safetensors.h"
#include "model/model.h"
#include "trainer/run/optimizer.h"

typedef struct {
    model_source_t *src;
    backend_t *be;
    model_t model;
    lora_t lora;
    optimizer_t opt;
    pool_t pool;
    acts_t acts;
    batch_t batch; /* both rows of the golden batch */
    safetensors_t *expected;
} tiny_t;

typedef struct {
    const char *backend;   /* as in device.backend; NULL: cpu */
    const char *arch;      /* directory under tests/golden/tiny, or its absolute path */
    const char *model_dir; /* beneath it: "" or "bnb4" */
    quant_type_t quant;
    bool double_quant;
    bool reference; /* the CPU's reference ops */
    dtype_t act;
    int threads;
    double dropout;
    size_t n_kept; /* SIZE_MAX: all */
    size_t chunk;  /* rows of a logits chunk; 0: all */
    size_t tile;   /* as in acts_spec_t */
    optimizer_kind_t optimizer;
    size_t n_paged;  /* layers whose weights are paged */
    size_t n_cached; /* layers whose weights are kept decoded */
} tiny_spec_t;

void tiny_open(tiny_t *t, const tiny_spec_t *spec);
void tiny_close(tiny_t *t);

/* A tensor of expected.safetensors as fp32; fails the test when it is not there. The caller frees. */
float *tiny_expected(const tiny_t *t, const char *name, size_t *n);

/* Rows [first, first+n) of the golden batch as a micro-batch. */
void tiny_batch(const tiny_t *t, size_t first, size_t n, batch_t *b);

#endif
