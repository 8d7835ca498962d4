#include "cpu/blas.h"

#include <cblas.h>
#include <dlfcn.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* First where the loader looks, then where the build found it. */
static const char *const libraries[] = {OPENBLAS_SONAME, OPENBLAS_FILE};

#define CORE_TYPE "OPENBLAS_CORETYPE"

static struct {
    void (*sgemm)(enum CBLAS_ORDER order, enum CBLAS_TRANSPOSE ta, enum CBLAS_TRANSPOSE tb, blasint M, blasint N,
                  blasint K, float alpha, const float *A, blasint lda, const float *B, blasint ldb, float beta,
                  float *C, blasint ldc);
    void (*set_threads)(int n);
    char *(*core_name)(void);
    char *(*config)(void);
} blas;

static err_t load_error;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* Cooperlake and Sapphirerapids multiply fp32 no faster than SkylakeX. */
const char *blas_core_type(const cpu_features_t *has) {
    if (cpu_runs_avx512(has)) return "SkylakeX";
    if (has->avx2) return has->amd ? "Zen" : "Haswell";
    return NULL;
}

static void *open_library(void) {
    void *library = NULL;
    for (size_t i = 0; !library && i < sizeof libraries / sizeof *libraries; i++) {
        library = dlopen(libraries[i], RTLD_NOW | RTLD_LOCAL);
        if (!library && i == 0) err_set(&load_error, ERR_FAILED, "OpenBLAS cannot be loaded: %s", dlerror());
    }
    if (library) load_error = (err_t){0};
    return library;
}

/* The variable is for OpenBLAS alone: what this process starts finds it as the user left it. */
static void *open_with_core_type(void) {
    const char *of_user = getenv(CORE_TYPE);
    const cpu_features_t has = cpu_features();
    const char *type = of_user && *of_user ? NULL : blas_core_type(&has);
    if (type) setenv(CORE_TYPE, type, 1);
    void *library = open_library();
    if (type) unsetenv(CORE_TYPE);
    return library;
}

static void load(void) {
    void *library = open_with_core_type();
    if (!library) return;
    const struct {
        const char *name;
        void *function;
    } functions[] = {
        {"cblas_sgemm", &blas.sgemm},
        {"openblas_set_num_threads", &blas.set_threads},
        {"openblas_get_corename", &blas.core_name},
        {"openblas_get_config", &blas.config},
    };
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        void *f = dlsym(library, functions[i].name);
        if (!f) err_set(&load_error, ERR_FAILED, "OpenBLAS without %s; expected OpenBLAS 0.3", functions[i].name);
        memcpy(functions[i].function, &f, sizeof f);
    }
}

int blas_load(err_t *err) {
    pthread_once(&once, load);
    if (load_error.code) *err = load_error;
    return load_error.code;
}

void blas_set_threads(int n) { blas.set_threads(n); }

const char *blas_core_name(void) { return blas.core_name(); }

void blas_sgemm(bool ta, bool tb, size_t M, size_t N, size_t K, float alpha, const float *A, size_t lda, const float *B,
                size_t ldb, float beta, float *C, size_t ldc) {
    CHECK(M <= INT_MAX && N <= INT_MAX && K <= INT_MAX && lda <= INT_MAX && ldb <= INT_MAX && ldc <= INT_MAX);
    blas.sgemm(CblasRowMajor, ta ? CblasTrans : CblasNoTrans, tb ? CblasTrans : CblasNoTrans, (int)M, (int)N, (int)K,
               alpha, A, (int)lda, B, (int)ldb, beta, C, (int)ldc);
}

/* Its configuration begins with its name and version: "OpenBLAS 0.3.21 NO_AFFINITY ...". */
const char *blas_description(void) {
    static char text[sizeof load_error.msg];
    err_t err;
    if (blas_load(&err) != 0) return load_error.msg;
    const char *config = blas.config();
    size_t name = strcspn(config, " "), version = config[name] ? strcspn(config + name + 1, " ") + 1 : 0;
    snprintf(text, sizeof text, "%.*s, %s", (int)(name + version), config, blas.core_name());
    return text;
}
