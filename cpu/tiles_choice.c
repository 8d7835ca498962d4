#include "cpu/tiles_choice.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"

/* ---- right? ---------------------------------------------------------------------------------------------- */

enum { PROOF_K = 70 };

static int proof_a(size_t i, size_t k) { return (int)((7 * i + 3 * k) % 9) - 4; }
static int proof_b(size_t j, size_t k) { return (int)((5 * j + 11 * k) % 7) - 3; }

static bool proof_holds(const float *c, size_t m, size_t n) {
    for (size_t i = 0; i < m; i++) {
        for (size_t j = 0; j < n; j++) {
            int want = 0;
            for (size_t k = 0; k < PROOF_K; k++) want += proof_a(i, k) * proof_b(j, k);
            if (c[i * TILE_MAX_COLS + j] != (float)want) return false;
        }
    }
    return true;
}

bool tiles_right(const tiles_t *t) {
    enum { LD = PROOF_K + TILE_MAX_DEPTH };
    _Alignas(64) bf16_t a[TILE_MAX_ROWS * LD] = {0}, b[TILE_MAX_COLS * LD] = {0}, panel[TILE_MAX_COLS * LD];
    _Alignas(64) float c[TILE_MAX_ROWS * TILE_MAX_COLS];
    const size_t m = t->rows, n = t->cols;
    for (size_t k = 0; k < PROOF_K; k++) {
        for (size_t i = 0; i < m; i++) a[i * LD + k] = bf16_from_f32((float)proof_a(i, k));
        for (size_t j = 0; j < n; j++) b[j * LD + k] = bf16_from_f32((float)proof_b(j, k));
    }
    t->pack_columns(panel, b, LD, n, PROOF_K);
    t->multiply(m, n, PROOF_K, a, LD, panel, c, TILE_MAX_COLS, false);
    return proof_holds(c, m, n);
}

/* ---- how fast? ------------------------------------------------------------------------------------------- */

/* All of it lies in the first-level cache, and what is measured is multiplying. 3.7 M pairs of fp32 take 30 us at 250
 * GFLOP/s. */
enum { TIMED_BYTES = 512, TIMED_MULTIPLICATIONS = 3700000, TIMED_RUNS = 15 };

/* Seconds for so many. */
static double time_run(const tiles_t *t) {
    _Alignas(64) static unsigned char a[TILE_MAX_ROWS * TIMED_BYTES], panel[TILE_MAX_COLS * TIMED_BYTES];
    _Alignas(64) static float c[TILE_MAX_ROWS * TILE_MAX_COLS];
    const size_t k = TIMED_BYTES / dtype_size(t->type), at_once = t->rows * t->cols * k;
    const size_t calls = TIMED_MULTIPLICATIONS / at_once;
    memset(a, 0x3f, sizeof a); /* 0.75 in either type */
    memset(panel, 0x3f, sizeof panel);
    double begin = clock_seconds();
    for (size_t i = 0; i < calls; i++) t->multiply(t->rows, t->cols, k, a, k, panel, c, TILE_MAX_COLS, false);
    return (clock_seconds() - begin) * TIMED_MULTIPLICATIONS / (double)(calls * at_once);
}

/* The least of runs in turn: another process, or a clock that is still rising, only ever adds to some of them. */
static double measure_ratio(const tiles_choice_t *c, tiles_timer_t *seconds) {
    double f32 = INFINITY, bf16 = INFINITY;
    for (int i = 0; i < TIMED_RUNS; i++) {
        f32 = fmin(f32, seconds(c->f32));
        bf16 = fmin(bf16, seconds(c->bf16));
    }
    return f32 / bf16;
}

/* ---- the choice ------------------------------------------------------------------------------------------ */

static const double worthwhile = 1.15;

tiles_choice_t tiles_choose(const cpu_features_t *has, tiles_timer_t *seconds, tiles_proof_t *right) {
    tiles_choice_t c = {.f32 = tiles_f32_of(has), .bf16 = tiles_bf16_of(has)};
    if (!c.bf16) return c;
    c.wrong = !right(c.bf16);
    if (!c.wrong) c.ratio = measure_ratio(&c, seconds);
    if (c.ratio >= worthwhile) return c;
    c.refused = c.bf16;
    c.bf16 = NULL;
    return c;
}

static tiles_choice_t chosen;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void choose(void) {
    const cpu_features_t has = cpu_features();
    chosen = tiles_choose(&has, time_run, tiles_right);
}

const tiles_choice_t *tiles_choice(void) {
    pthread_once(&once, choose);
    return &chosen;
}

/* ---- reports --------------------------------------------------------------------------------------------- */

dtype_t tiles_auto_type(const tiles_choice_t *c) { return c->bf16 ? DT_BF16 : DT_F32; }

void tiles_auto_reason(const tiles_choice_t *c, char *out, size_t size) {
    if (c->wrong) snprintf(out, size, "bf16 products by %s are wrong here", c->refused->name);
    else if (c->refused)
        snprintf(out, size, "bf16 products by %s would be %.2f times as fast as f32", c->refused->name, c->ratio);
    else if (c->bf16) snprintf(out, size, "bf16 products by %s are %.1f times as fast as f32", c->bf16->name, c->ratio);
    else snprintf(out, size, "no kernel multiplies bf16 here");
}

void tiles_describe(const char *isa, const tiles_t *bf16, char *out, size_t size) {
    snprintf(out, size, "%s%s%s", isa, bf16 ? ", bf16 products by " : "", bf16 ? bf16->name : "");
}
