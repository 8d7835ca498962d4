/* The op table: every op of a backend, each with the shapes that it is tested on. */
#ifndef TESTS_OPS_CASES_H
#define TESTS_OPS_CASES_H

#include "ops_rig.h"

/* Parameters of a case; what they mean is the op's business. */
typedef struct {
    size_t a, b, c, d;
    int flags;
} params_t;

/* A flag of any op: the emulated GPU takes minutes for it under a sanitizer, and a shorter case shows it as much. */
enum { CASE_IS_LONG = 1 << 30 };

typedef struct {
    const char *name;
    void (*run)(rig_t *r, const params_t *p); /* runs the op once and collects its outputs */
    const params_t *cases;
    size_t n_cases;
    enum {
        SAME_BITS, /* every CPU implementation gives the bits of the reference */
        ROUNDED    /* close to the reference; the bits do not depend on the number of threads */
    } agreement;
} op_t;

/* The k-th op; NULL beyond the last. */
const op_t *ops_nth(size_t k);

#define CASES(name) name, sizeof name / sizeof *name

/* Its other parts: attention, in ops_attention_cases.c; weights and matrix products, in ops_weight_cases.c; linear
 * layers, in ops_linear_cases.c. */
extern const op_t attention_ops[];
extern const size_t n_attention_ops;
extern const op_t weight_ops[];
extern const size_t n_weight_ops;
extern const op_t linear_ops[];
extern const size_t n_linear_ops;

#endif
