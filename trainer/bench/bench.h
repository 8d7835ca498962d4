/* What `qlora-train bench` is made of: a model of a given shape with random weights, timed as a whole and in parts, on
 * whatever backend. Each part yields JSON, and the tables for people are printed from that. */
#ifndef TRAINER_BENCH_BENCH_H
#define TRAINER_BENCH_BENCH_H

#include <jansson.h>

#include "trainer/run/plan.h"

/* ---- a model without weights of its own (bench_model.c) ---- */

typedef struct {
    size_t rows, length; /* of a micro-batch; tokens: rows * length */
    size_t rank;
    double dropout; /* of the adapters' input */
    quant_type_t quant;
    bool double_quant;
    tristate_t checkpointing;
    size_t limit; /* bytes; as device.memory_limit */
    bool paging;  /* what does not fit may be paged */
    bool cache;   /* dequantized weights may be kept where there is room */
} bench_spec_t;

typedef struct {
    model_t model;
    lora_t lora;
    optimizer_t opt;
    plan_need_t need;
    plan_t plan;
    pool_t pool;
    acts_t acts;   /* placed for the batch */
    batch_t batch; /* random tokens; every one but the last of a row is trained */
} bench_model_t;

/* Plans, allocates and fills: codes that are distributed as those of a trained model's weights are, each layer's output
 * of about its input's size, so that the first loss is near ln V; fresh adapters. Close it also after an error. */
int bench_model_open(bench_model_t *b, backend_t *be, const model_config_t *c, const bench_spec_t *spec, err_t *err);
void bench_model_close(bench_model_t *b);

/* One optimizer step on the batch. The loss is the mean over trained tokens. */
typedef struct {
    double seconds, loss, grad_norm;
    size_t paged_bytes; /* fetched and written back */
    double stalled;     /* seconds that ops waited for pages */
} bench_step_t;
bench_step_t bench_model_step(bench_model_t *b, size_t step);

/* n values of this standard deviation, the same every time. The caller frees. */
bf16_t *bench_values(size_t n, double deviation);

/* ---- timing (bench_time.c) ---- */

/* The i-th call of what is timed: it should work on other memory each time, or caches would be measured. */
typedef void (*bench_call_t)(void *ctx, size_t i);
/* Seconds of a call: the median of several rounds, each long enough for the clock, after a round to warm up. */
double bench_time(backend_t *be, bench_call_t f, void *ctx);
/* The same for n calls that are to be compared: their rounds alternate, so that a busy machine is as busy for each. */
void bench_time_all(backend_t *be, const bench_call_t f[], size_t n, void *ctx, double seconds[]);
enum { BENCH_MAX_CALLS = 4 };
double bench_median(double *values, size_t n); /* sorts them */

/* ---- ops one by one (bench_ops.c) ---- */

typedef enum {
    BENCH_COPY = 1, /* device copy */
    BENCH_DEQUANT = 2,
    BENCH_GEMM = 4,   /* the seven linear layers: bare product, and decoded on the fly */
    BENCH_LINEAR = 8, /* the same with adapters, by site; and the adapters' own products */
    BENCH_ATTENTION = 16,
    BENCH_STEP = 32,     /* whole training steps */
    BENCH_PROFILE = 64,  /* shares of the ops in one more step */
    BENCH_PAGING = 128,  /* what paging the optimizer, and half of the weights, costs */
    BENCH_DEFAULT = 255, /* all of these; only by name, since it writes a file: */
    BENCH_LOAD = 256     /* loading and quantizing the weights of a file */
} bench_part_t;

/* Bytes read and written a second by the device's own copy. 0 and an error when there is no memory for it. */
double bench_copy(backend_t *be, err_t *err);

typedef struct {
    json_t *json;      /* "dequant", "gemm", "linear", "low_rank", "attention": arrays; new reference */
    double gemm_flops; /* a second, all linear layers, forward and backward, bare; 0: not measured */
} bench_ops_t;
/* Measures on as many layers of the shape as keep caches from helping, with memory of their own. copy: as bench_copy()
 * gave it, 0: not known. */
int bench_ops(backend_t *be, const model_config_t *c, const bench_spec_t *spec, unsigned parts, double copy,
              bench_ops_t *out, err_t *err);
/* Its part bench_low_rank.c: the adapters' products of each site, from x [T, in] and dy [T, out], beside the backend's
 * general product. Prints its table. An array. */
json_t *bench_low_rank(bench_model_t *m, backend_t *be, const char *const names[SITE_COUNT], const mat_t x[SITE_COUNT],
                       const mat_t dy[SITE_COUNT], double copy);

/* ---- a step (bench_step.c), its parts (bench_profile.c), the same under a smaller limit (bench_paging.c), and what
 * comes before the first (bench_load.c) ---- */

/* One step to warm up, n that are timed. ERR_FAILED when a loss or gradient is not finite. */
typedef struct {
    bench_step_t first, last;
    double seconds; /* median */
} bench_timed_t;
int bench_timed_steps(bench_model_t *m, size_t n, bench_timed_t *t, err_t *err);

typedef struct {
    size_t steps;       /* timed; one more comes before them */
    size_t full_layers; /* of the published shape; more than the config's when it was cut */
    bool profile;
    double gemm_flops;
} bench_step_spec_t;
int bench_step(backend_t *be, const model_config_t *c, const bench_spec_t *spec, const bench_step_spec_t *step,
               json_t **json, err_t *err);

/* Steps with all blocks recomputed: with everything on the device, with the optimizer's state pushed out by each
 * micro-batch, and with half of the layers' weights in host memory. ERR_FAILED if a loss is not the same to the last
 * bit. An array. */
int bench_paging(backend_t *be, const model_config_t *c, const bench_spec_t *spec, size_t steps, json_t **json,
                 err_t *err);

/* Loads a model of this shape, of which `full_layers` is the whole, as runs load theirs. One layer and its share of
 * embedding and head are in a file: without a name, in TMPDIR, and in the page cache since it was just written; they
 * are loaded once to warm up and then once for each of c->layers, always to the same memory. An object. */
int bench_load(backend_t *be, const model_config_t *c, const bench_spec_t *spec, size_t full_layers, json_t **json,
               err_t *err);

/* The families of ops whose shares are told apart. */
typedef enum {
    FAMILY_LINEAR,
    FAMILY_LOW_RANK,
    FAMILY_ATTENTION_FWD,
    FAMILY_ATTENTION_BWD,
    FAMILY_NORM,
    FAMILY_ROPE,
    FAMILY_GLU,
    FAMILY_ADD,
    FAMILY_HEAD,
    FAMILY_LOSS,
    FAMILY_EMBEDDING,
    FAMILY_OPTIMIZER,
    FAMILY_COPIES,
    FAMILIES
} bench_family_t;
const char *bench_family_name(bench_family_t f);
/* Runs one step with the device idle before and after each op. seconds: [FAMILIES]; what is none of them (host work)
 * is the difference to the step's own time. */
bench_step_t bench_profile_step(bench_model_t *b, size_t step, double seconds[]);

/* ---- tables (bench_table.c) ---- */

typedef enum { COLUMN_TEXT, COLUMN_NUMBER, COLUMN_PERCENT, COLUMN_MS, COLUMN_BYTES } column_kind_t;
typedef struct {
    const char *key, *heading;
    column_kind_t kind;
} bench_column_t;
/* Rows are JSON objects; a member that is not there leaves its place empty. */
void bench_table(const char *title, const json_t *rows, const bench_column_t *columns, size_t n_columns);

#endif
