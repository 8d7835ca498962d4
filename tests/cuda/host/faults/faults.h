/* What is planted, by name. */
#ifndef FAULTS_H
#define FAULTS_H

#include <cstddef>

typedef struct {
    const char *name;
    bool (*run)(); /* whether the result is right */
} planted_t;

extern const planted_t product_faults[]; /* products.cu */
extern const size_t n_product_faults;

#endif
