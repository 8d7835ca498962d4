/* Times the CPU's kernels that are not matrix products, one thread, on data that stays in the second-level cache: every
 * set of instructions that this processor has, F32 and BF16.
 *
 *   bench_kernels [kernel]      (target bench_kernels; not a test)
 *
 * A line: kernel, instruction set, type, best nanoseconds of a call, values/ns and GB/s at best (bytes read and written,
 * each once). bench_ops times the ops around them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "base/rng.h"
#include "cpu/act.h"
#include "cpu/kernels/kernels.h"
#include "model/formats/kernels/quant_kernels.h"

enum { ROWS = 32, MAX_N = 49152, TRIES = 40 };

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* What a kernel is called with: row i of buffers that hold `rows` rows of n values of `type`. */
typedef struct {
    const cpu_kernels_t *k;
    quant_encode_fn *encode;
    dtype_t type;
    size_t n;
    char *a, *b, *c, *d, *e;
    float *w;
    qweight_t q;
    uint8_t *codes;
    float *absmax;
} args_t;

static void *row(const args_t *a, char *p, size_t i) { return act_at(p, a->type, i * a->n); }

static void add(const args_t *a, size_t i) {
    a->k->add(row(a, a->c, i), row(a, a->a, i), row(a, a->b, i), a->n, a->type);
}
static void scale_row(const args_t *a, size_t i) {
    a->k->scale_row(row(a, a->c, i), row(a, a->a, i), a->n, 0.5f, a->type);
}
static void narrow(const args_t *a, size_t i) {
    a->k->cast(a->c + 2 * i * a->n, DT_BF16, a->a + 4 * i * a->n, DT_F32, a->n);
}
static void widen(const args_t *a, size_t i) {
    a->k->cast(a->c + 4 * i * a->n, DT_F32, a->a + 2 * i * a->n, DT_BF16, a->n);
}
static void dropout(const args_t *a, size_t i) {
    a->k->dropout_row(row(a, a->c, i), row(a, a->a, i), 0, a->n, i, 0.1f, a->type);
}
static void adamw(const args_t *a, size_t i) {
    const adamw_t h = {1e-4f, 0.9, 0.999, 1e-8f, 0.01f, 0.1f, 0.001f, 1};
    size_t at = i * a->n * sizeof(float);
    a->k->adamw((void *)(a->c + at), (void *)(a->a + at), (void *)(a->d + at), (void *)(a->e + at), a->n, &h);
}
static void norm_fwd(const args_t *a, size_t i) {
    a->k->rmsnorm_fwd(row(a, a->c, i), row(a, a->a, i), a->w, a->n, 1e-5f, a->type);
}
static void norm_bwd(const args_t *a, size_t i) {
    a->k->rmsnorm_bwd(row(a, a->c, i), false, row(a, a->a, i), row(a, a->b, i), a->w, 1, a->n, a->type);
}
static void norm_bwd_add(const args_t *a, size_t i) {
    a->k->rmsnorm_bwd(row(a, a->c, i), true, row(a, a->a, i), row(a, a->b, i), a->w, 1e-3f, a->n, a->type);
}
static void rope(const args_t *a, size_t i) {
    const rope_t rope = {a->w, 64, 64, false};
    a->k->rope(row(a, a->c, i), &rope, a->w, a->n / 64, 1, a->type);
}
static void rope_interleaved(const args_t *a, size_t i) {
    const rope_t rope = {a->w, 64, 64, true};
    a->k->rope(row(a, a->c, i), &rope, a->w, a->n / 64, 1, a->type);
}
static void silu(const args_t *a, size_t i) {
    a->k->glu_fwd(ACT_SILU, row(a, a->c, i), row(a, a->a, i), row(a, a->b, i), a->n, a->type);
}
static void gelu(const args_t *a, size_t i) {
    a->k->glu_fwd(ACT_GELU_TANH, row(a, a->c, i), row(a, a->a, i), row(a, a->b, i), a->n, a->type);
}
static void silu_bwd(const args_t *a, size_t i) {
    a->k->glu_bwd(ACT_SILU, row(a, a->d, i), row(a, a->e, i), NULL, row(a, a->c, i), row(a, a->a, i), row(a, a->b, i),
                  a->n, a->type);
}
static void gelu_bwd(const args_t *a, size_t i) {
    a->k->glu_bwd(ACT_GELU_TANH, row(a, a->d, i), row(a, a->e, i), NULL, row(a, a->c, i), row(a, a->a, i),
                  row(a, a->b, i), a->n, a->type);
}
/* The gradient overwrites the logits: small ones from the second call on, which take as long. */
static void loss(const args_t *a, size_t i) {
    a->k->ce_loss(row(a, a->c, i), a->n, 1, (logit_map_t){1, 0}, true, 1, a->type);
}
static void loss_only(const args_t *a, size_t i) {
    a->k->ce_loss(row(a, a->c, i), a->n, 1, (logit_map_t){1, 0}, false, 1, a->type);
}
static void loss_capped(const args_t *a, size_t i) {
    a->k->ce_loss(row(a, a->c, i), a->n, 1, (logit_map_t){1, 30}, true, 1, a->type);
}
static void sumsq(const args_t *a, size_t i) { a->k->sumsq(row(a, a->c, i), a->n); }

static void dequant(const args_t *a, size_t i) {
    a->k->dequant(&a->q, i * a->n, a->n, row(a, a->c, i), a->type, a->type == DT_BF16);
}
static void encode(const args_t *a, size_t i) {
    a->encode(a->q.type, row(a, a->a, i), a->type, a->n, a->codes, a->absmax);
}

typedef struct {
    const char *name;
    void (*f)(const args_t *, size_t);
    size_t n, rows;
    int reads_writes; /* values of `type` read and written for each of n */
    int types;        /* 1: F32; 2: BF16 */
    quant_type_t quant;
} kernel_row_t;

enum { F32 = 1, BF16 = 2, BOTH = 3 };

static const kernel_row_t kernels[] = {
    {"add", add, 576, 32, 3, BOTH, 0},
    {"scale_row", scale_row, 576, 32, 2, BOTH, 0},
    {"cast to bf16", narrow, 576, 32, 0, BF16, 0},
    {"cast to f32", widen, 576, 32, 0, F32, 0},
    {"dropout_row", dropout, 576, 32, 2, BOTH, 0},
    {"adamw", adamw, 4096, 4, 7, F32, 0},
    {"rmsnorm_fwd", norm_fwd, 576, 32, 2, BOTH, 0},
    {"rmsnorm_fwd 64", norm_fwd, 64, 32, 2, BOTH, 0},
    {"rmsnorm_bwd", norm_bwd, 576, 32, 3, BOTH, 0},
    {"rmsnorm_bwd add", norm_bwd_add, 576, 32, 4, BOTH, 0},
    {"rope", rope, 768, 32, 2, BOTH, 0},
    {"rope interleaved", rope_interleaved, 768, 32, 2, BOTH, 0},
    {"silu", silu, 1536, 16, 3, BOTH, 0},
    {"gelu", gelu, 1536, 16, 3, BOTH, 0},
    {"silu bwd", silu_bwd, 1536, 16, 5, BOTH, 0},
    {"gelu bwd", gelu_bwd, 1536, 16, 5, BOTH, 0},
    {"ce_loss", loss, 49152, 1, 2, BOTH, 0},
    {"ce_loss no grad", loss_only, 49152, 1, 1, BOTH, 0},
    {"ce_loss capped", loss_capped, 49152, 1, 2, BOTH, 0},
    {"sumsq", sumsq, 4096, 8, 1, F32, 0},
    {"dequant nf4 64", dequant, 64, 32, 1, BOTH, QUANT_NF4},
    {"dequant nf4 512", dequant, 512, 32, 1, BOTH, QUANT_NF4},
    {"dequant nf4 576", dequant, 576, 32, 1, BOTH, QUANT_NF4},
    {"dequant fp4 576", dequant, 576, 32, 1, BOTH, QUANT_FP4},
    {"dequant int8 576", dequant, 576, 32, 1, BOTH, QUANT_INT8},
    {"dequant none 576", dequant, 576, 32, 1, BOTH, QUANT_NONE},
    {"dequant f16 576", dequant, 576, 32, 1, BOTH, QUANT_F16},
    {"encode nf4", encode, 8192, 4, 1, BOTH, QUANT_NF4},
    {"encode fp4", encode, 8192, 4, 1, BOTH, QUANT_FP4},
    {"encode int4", encode, 8192, 4, 1, BOTH, QUANT_INT4},
    {"encode int8", encode, 8192, 4, 1, BOTH, QUANT_INT8},
};

/* Values between -4 and 4. */
static void fill(char *p, dtype_t type, size_t n) {
    for (size_t i = 0; i < n; i++) act_set(p, type, i, 8 * rng_uniform(1, i) - 4);
}

static void set_up(args_t *a, const kernel_row_t *r) {
    char *const buffers[] = {a->a, a->b, a->c, a->d, a->e};
    a->n = r->n;
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++) fill(buffers[i], a->type, r->n * r->rows);
    if (r->f == adamw) memset(a->e, 0, r->n * r->rows * sizeof(float)); /* second moments */
    a->q = (qweight_t){.type = r->quant,
                       .double_quant = !quant_is_plain(r->quant),
                       .rows = r->rows,
                       .cols = r->n,
                       .codes = a->codes,
                       .absmax_q = (uint8_t *)a->d,
                       .nested_absmax = a->absmax,
                       .nested_offset = 1};
}

/* The best nanoseconds of a call. */
static double measure(const args_t *a, const kernel_row_t *r) {
    double best = 1e30;
    for (int t = 0; t < TRIES; t++) {
        int calls = 0;
        double start = now(), end;
        do {
            for (size_t i = 0; i < r->rows; i++) r->f(a, i);
            calls += (int)r->rows;
        } while ((end = now()) - start < 5e-4);
        best = (end - start) / calls < best ? (end - start) / calls : best;
    }
    return 1e9 * best;
}

static void time_kernel(args_t *a, const kernel_row_t *r) {
    set_up(a, r);
    double ns = measure(a, r), n = (double)r->n;
    double bytes = r->reads_writes ? n * r->reads_writes * (double)dtype_size(a->type) : 6 * n;
    printf("%-18s %-8s %-5s %10.0f ns %8.2f /ns %8.1f GB/s\n", r->name, a->k->isa, a->type == DT_BF16 ? "bf16" : "f32",
           ns, n / ns, bytes / ns);
    fflush(stdout);
}

int main(int argc, char **argv) {
    args_t a = {0};
    char **const buffers[] = {&a.a, &a.b, &a.c, &a.d, &a.e};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++) *buffers[i] = xcalloc(MAX_N, sizeof(float));
    a.w = xcalloc(MAX_N, sizeof *a.w);
    fill((char *)a.w, DT_F32, MAX_N);
    a.codes = xcalloc(MAX_N, sizeof(float));
    a.absmax = xcalloc(MAX_N, sizeof *a.absmax);
    for (size_t i = 0; i < sizeof kernels / sizeof *kernels; i++) {
        const kernel_row_t *r = &kernels[i];
        if (argc > 1 && strstr(r->name, argv[1]) != r->name) continue;
        for (int isa = 1; (a.k = kernels_nth(isa)) && (a.encode = quant_encode_nth(isa)); isa++)
            for (int type = F32; type <= BF16; type++) {
                a.type = type == BF16 ? DT_BF16 : DT_F32;
                if (r->types & type) time_kernel(&a, r);
            }
    }
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++) free(*buffers[i]);
    free(a.w);
    free(a.codes);
    free(a.absmax);
    return 0;
}
