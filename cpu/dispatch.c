/* Which kernels this processor runs. */
#include <pthread.h>

#include "cpu/features.h"
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/tiles.h"
#include "cpu/tiles_choice.h"

void kernels_exact_base(cpu_kernels_t *k);
void kernels_rows_base(cpu_kernels_t *k);
void kernels_attention_base(cpu_kernels_t *k);
void kernels_exact_avx2(cpu_kernels_t *k);
void kernels_rows_avx2(cpu_kernels_t *k);
void kernels_attention_avx2(cpu_kernels_t *k);
void kernels_exact_avx512(cpu_kernels_t *k);
void kernels_rows_avx512(cpu_kernels_t *k);
void kernels_attention_avx512(cpu_kernels_t *k);

enum { MAX_SETS = 3 };
static cpu_kernels_t sets[MAX_SETS];
static int n_sets;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void add_set(const char *isa, void (*exact)(cpu_kernels_t *), void (*rows)(cpu_kernels_t *),
                    void (*attention)(cpu_kernels_t *)) {
    cpu_kernels_t *k = &sets[n_sets++];
    k->isa = isa;
    exact(k);
    rows(k);
    attention(k);
}

static void find_sets(void) {
#if defined(__x86_64__)
    add_set("SSE2", kernels_exact_base, kernels_rows_base, kernels_attention_base);
    cpu_features_t has = cpu_features();
    if (has.avx2) add_set("AVX2", kernels_exact_avx2, kernels_rows_avx2, kernels_attention_avx2);
    if (cpu_runs_avx512(&has)) add_set("AVX-512", kernels_exact_avx512, kernels_rows_avx512, kernels_attention_avx512);
#else
    add_set("baseline", kernels_exact_base, kernels_rows_base, kernels_attention_base);
#endif
}

const cpu_kernels_t *kernels_nth(int i) {
    pthread_once(&once, find_sets);
    return i < n_sets ? &sets[i] : NULL;
}

const cpu_kernels_t *kernels_best(void) {
    pthread_once(&once, find_sets);
    return &sets[n_sets - 1];
}

/* ---- ways to multiply ------------------------------------------------------------------------------------ */

extern const tiles_t tiles_f32_base, tiles_f32_avx2, tiles_f32_avx512, tiles_bf16_avx512, tiles_bf16_amx;

const tiles_t *tiles_f32_of(const cpu_features_t *has) {
#if defined(__x86_64__)
    if (cpu_runs_avx512(has)) return &tiles_f32_avx512;
    if (has->avx2) return &tiles_f32_avx2;
#endif
    (void)has;
    return &tiles_f32_base;
}

const tiles_t *tiles_bf16_of(const cpu_features_t *has) {
#ifdef QLORA_AMX_BF16
    if (cpu_runs_amx(has)) return &tiles_bf16_amx;
#endif
#ifdef QLORA_AVX512_BF16
    if (cpu_runs_avx512_bf16(has)) return &tiles_bf16_avx512;
#endif
    (void)has;
    return NULL;
}

static const tiles_t *tables[5];
static int n_tables;
static pthread_once_t once_tables = PTHREAD_ONCE_INIT;

static void find_tables(void) {
    tables[n_tables++] = &tiles_f32_base;
#if defined(__x86_64__)
    const cpu_features_t has = cpu_features();
    if (has.avx2) tables[n_tables++] = &tiles_f32_avx2;
    if (cpu_runs_avx512(&has)) tables[n_tables++] = &tiles_f32_avx512;
#ifdef QLORA_AVX512_BF16
    if (cpu_runs_avx512_bf16(&has)) tables[n_tables++] = &tiles_bf16_avx512;
#endif
#ifdef QLORA_AMX_BF16
    if (cpu_runs_amx(&has)) tables[n_tables++] = &tiles_bf16_amx;
#endif
#endif
}

const tiles_t *tiles_nth(int i) {
    pthread_once(&once_tables, find_tables);
    return i < n_tables ? tables[i] : NULL;
}
