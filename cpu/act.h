/* One element of an activation matrix, read as and written from fp32: lets an op be written once for both types. */
#ifndef CPU_ACT_H
#define CPU_ACT_H

#include <string.h>

#include "base/dtype.h"

static inline float act_get(const void *p, dtype_t type, size_t i) {
    return type == DT_BF16 ? bf16_to_f32(((const bf16_t *)p)[i]) : ((const float *)p)[i];
}

static inline void act_set(void *p, dtype_t type, size_t i, float x) {
    if (type == DT_BF16) ((bf16_t *)p)[i] = bf16_from_f32(x);
    else ((float *)p)[i] = x;
}

/* The address of element i. */
static inline void *act_at(void *p, dtype_t type, size_t i) { return (char *)p + i * dtype_size(type); }
static inline const void *act_at_const(const void *p, dtype_t type, size_t i) {
    return (const char *)p + i * dtype_size(type);
}

/* n elements of x from element `from` on, to y from `at` on. */
static inline void act_copy(void *y, size_t at, const void *x, size_t from, size_t n, dtype_t type) {
    memcpy(act_at(y, type, at), act_at_const(x, type, from), n * dtype_size(type));
}

#endif
