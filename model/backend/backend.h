/* The backend contract: everything that runs on a device, as one flat table of functions. The code above it
 * (model/, trainer/) is the same for every backend; what a backend owns is parallelism and memory.
 *
 * Conventions, for every op unless it says otherwise:
 * - Pointers are device pointers (on the CPU: host pointers). Matrices are row-major. Where an op takes ld*, that many
 *   elements lie between the beginnings of two rows, so that a matrix may be some columns of a wider one; what lies
 *   between its rows is neither read nor written. Else rows are dense.
 * - "act" is be->act, the dtype of activations: DT_F32 or DT_BF16 (compute_dtype). Sums are in fp32 or
 *   better, whatever act is. Norm weights, rstd, lse, row losses, LoRA masters and gradients are fp32.
 * - An output is overwritten, never accumulated into, unless the op says so. Outputs do not alias inputs
 *   unless the op says they may.
 * - Ops never allocate: scratch comes from be->workspace, which the owner of the memory pool sets after
 *   asking workspace_bytes(). Only sync() and download() block; the other ops may return before they ran.
 * - Ops cannot fail: shapes are CHECKed. Allocation can, and says so.
 *
 * Shape letters: T tokens of a micro-batch (all rows one after another, without padding), C hidden size,
 * F FFN size, Hq/Hkv query and key/value heads, D head size, V vocabulary, R rows in a chunk (loss) or
 * rank (LoRA, where it says so). */
#ifndef MODEL_BACKEND_BACKEND_H
#define MODEL_BACKEND_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/dtype.h"
#include "base/error.h"
#include "base/host.h"
#include "model/formats/quant.h"

typedef struct backend backend_t;

typedef enum {
    MEM_DEVICE, /* the device's own memory; on the CPU, host memory that stands for it */
    MEM_PINNED  /* host memory that copies to and from the device at full speed */
} mem_kind_t;

/* Which rows of k and v a row of q may see. Segment i holds the queries [q_off[i], q_off[i+1]) and the keys
 * [kv_off[i], kv_off[i] + kv_len[i]); its queries are the last ones of its keys: query j of n sees keys
 * 0 .. kv_len - n + j, of these the last `window` of attn_shape_t. In training both ranges are the same tokens;
 * in generation the keys lie in the cache. The arrays are device pointers. */
typedef struct {
    size_t n;              /* segments */
    const int32_t *q_off;  /* [n+1] */
    const int32_t *kv_off; /* [n] */
    const int32_t *kv_len; /* [n] */
    size_t max_q, max_kv;  /* the longest segment, known on the host */
} attn_segments_t;

/* Columns of a row-major matrix of act values: the first of them, and the elements between the beginnings of two rows.
 * What lies between its rows is neither read nor written. */
typedef struct {
    void *p;
    size_t ld;
} mat_t;

/* The same with a type of its own, F32 or BF16. */
typedef struct {
    void *p;
    dtype_t type;
    size_t ld;
} matrix_t;

typedef struct {
    size_t Hq, Hkv, D; /* Hq a multiple of Hkv; head h of q uses head h / (Hq/Hkv) of k and v */
    size_t window;     /* query i sees keys j with 0 <= i - j < window; 0: all before it */
    float scale;       /* of the scores, usually 1/sqrt(D) */
    float softcap;     /* > 0: a scaled score s becomes softcap * tanh(s / softcap), before the mask (Gemma 2) */
    /* Elements between two rows: of q; of k; of v; of o; and in the backward of dout, and of dq, dk and dv. */
    size_t ld_q, ld_k, ld_v, ld_o, ld_dout, ld_dqkv;
} attn_shape_t;

/* RMS norm of groups of C channels: a whole row (groups 1), or each head of a row. */
typedef struct {
    const float *w; /* [C], the same for each group */
    size_t groups, C;
    float eps;
} norm_t;

/* A rotation of the first R of the D channels of a head, the others pass: pairs (i, i + R/2), i < R/2, or interleaved
 * (2i, 2i + 1). */
typedef struct {
    const float *table; /* [positions, R/2, 2]: factor of the first and of the second, usually cosine and sine */
    size_t D, R;
    bool interleaved;
} rope_t;

/* The gate of a gated FFN: silu(g), or the tanh form of gelu(g). */
typedef enum { ACT_SILU, ACT_GELU_TANH } act_fn_t;

/* From a product with the head to a logit: z = scale * l, then cap * tanh(z / cap) where cap > 0. */
typedef struct {
    float scale, cap;
} logit_map_t;

/* A linear layer y = x W^T + bias, and on it a LoRA adapter of rank r: u = s drop(x) A^T, y += u B^T. */
typedef struct {
    const qweight_t *w; /* [rows, cols] */
    const float *bias;  /* [rows]; NULL: none */
    size_t r;           /* 0: no adapter */
    float scale;        /* s */
    const void *a, *b;  /* [r, cols], [rows, r] */
} linear_part_t;

/* Linear layers with one input (a site of a block: q/k/v, o, gate/up, down). Their outputs lie side by side, rows = the
 * sum of their rows; so do the u of those that have an adapter, width = the sum of their ranks, and the matrices A of
 * these lie one behind another in memory, [width, cols]:
 *   u_i = s_i drop(x) A_i^T,  y_i = x W_i^T + bias_i + u_i B_i^T
 *   du_i = s_i dy_i B_i,      dx = sum_i dy_i W_i + drop(sum_i du_i A_i)
 * u lies right behind x, [x | u], and du behind dy, [dy | du]: each direction is then one product with the *augmented*
 * weight, [rows + width, cols + width] with linear_ld() elements to a row: rows [W_i 0..0 B_i 0..0] of each layer, then
 * [A], whose last columns are nobody's. */
#define LINEAR_MAX 3
typedef struct {
    size_t n;
    linear_part_t part[LINEAR_MAX];
    dtype_t ab_type; /* of a and b: F32 where act is F32, or BF16 */
    void *augmented; /* the augmented weight in act, by linear_cache(); NULL: made for each use */
    bool apart;      /* of one layer, too large for that (the head): products with the adapter may be made on their own
                      * and added to those with the weight, which are rounded to act first */
} linear_t;

static inline size_t linear_cols_of(const linear_t *l) { return l->part[0].w->cols; }

static inline size_t linear_rows_of(const linear_t *l) {
    size_t rows = 0;
    for (size_t i = 0; i < l->n; i++) rows += l->part[i].w->rows;
    return rows;
}

static inline size_t linear_width(const linear_t *l) {
    size_t width = 0;
    for (size_t i = 0; i < l->n; i++) width += l->part[i].r;
    return width;
}

/* All A of the site; NULL: there are none. */
static inline const void *linear_a(const linear_t *l) {
    for (size_t i = 0; i < l->n; i++)
        if (l->part[i].r) return l->part[i].a;
    return NULL;
}

/* Whether products need an augmented weight: what is BF16 and has no adapters beside it is multiplied where it is. */
static inline bool linear_is_augmented(const linear_t *l) {
    bool decoded = false;
    for (size_t i = 0; i < l->n; i++) decoded |= l->part[i].w->type != QUANT_NONE;
    return decoded || (linear_width(l) > 0 && !l->apart);
}

/* Elements between two rows of a matrix with `extra` columns behind its own: if rows of `cols` elements begin at
 * multiples of 64 bytes, so do these. */
static inline size_t linear_ld(size_t cols, size_t extra) { return cols + (extra + 31) / 32 * 32; }

/* Identifies a dropout mask; see dropout_keep() in model/backend/element.h for the exact function. */
typedef struct {
    uint64_t seed;
    uint64_t step;
    uint32_t layer, site; /* site: 0 q/k/v input, 1 o, 2 gate/up, 3 down; the head's: layer behind the last, site 0 */
    float p;              /* probability of a zero, in steps of 1/65536; kept values are scaled by dropout_scale() */
    const int32_t *row;   /* [T] the row's index within the optimizer step */
    const int32_t *pos;   /* [T] the position in that row */
} dropout_t;

/* The noise of NEFTune (Jain et al. 2023): uniform in +-alpha / sqrt(L C) for a token of a segment of L tokens. See
 * noise_added() in model/backend/element.h for the exact function. */
typedef struct {
    uint64_t seed, step;
    float alpha;
    const int32_t *row, *pos; /* [T] as in dropout_t */
    const int32_t *seg_off;   /* [n_seg+1] the first token of each segment, and T */
    size_t n_seg;
} neftune_t;

typedef struct {
    float lr;
    double beta1, beta2; /* 1 - beta is taken before it is rounded to fp32: 0.1 rather than 0.1 + 2.4e-8 */
    float eps, weight_decay;
    float c1, c2;     /* bias corrections 1 - beta^t of the step at hand */
    float grad_scale; /* gradients are multiplied by this first (clipping) */
} adamw_t;

/* The moments of AdamW in 8 bits: value = map.value[code] * absmax of its block, the map of m signed, that of v
 * unsigned. Blocks have 1 to ADAMW_8BIT_BLOCK elements and begin anew at each tensor, as in bitsandbytes. All
 * zeros is the state before the first step. Device pointers. */
#define ADAMW_8BIT_BLOCK ((size_t)256)
typedef struct {
    uint8_t *m, *v;             /* [count] codes */
    float *m_absmax, *v_absmax; /* [blocks] */
    const size_t *start;        /* [blocks+1] where blocks begin; only the distances from start[0] count */
} adamw_8bit_state_t;

/* Lanes run side by side, each in its own order: LANE_COMPUTE has every op but the copies of paging, LANE_IN copies
 * from host memory to the device, LANE_OUT the other way. A ticket stands for all that a lane was given before it
 * was drawn; a zeroed ticket for nothing. */
typedef enum { LANE_COMPUTE, LANE_IN, LANE_OUT, LANES } lane_t;
typedef struct {
    lane_t lane;
    uint64_t n; /* counted from 1 in each lane */
} ticket_t;

/* What bounds the scratch of the ops that will be called. */
typedef struct {
    size_t max_tokens;    /* rows of any activation matrix */
    size_t max_weight;    /* elements of the largest weight in a linear_t */
    size_t max_augmented; /* elements of the largest augmented weight that is made for a use: at least of one linear
                              * layer and the A of all its site; with room for more layers, these are taken together */
    size_t max_width;     /* columns of the widest activation matrix, vocabulary aside */
    size_t max_kv;        /* keys of the longest segment */
    attn_shape_t attn;    /* heads, channels and cap */
    size_t attn_ld;       /* the most elements between two rows of its matrices */
} workspace_need_t;

/* What of a need is more than the ops of a backend take, which count some things in 32 bits. */
typedef enum { LIMIT_SEGMENT, LIMIT_TOKENS, LIMIT_WEIGHT, LIMIT_CHANNELS } limit_kind_t;
typedef struct {
    limit_kind_t kind; /* max_kv, max_tokens, max_augmented, attn.D */
    size_t most;
} limit_t;

/* Identifies a group of devices that add up among themselves; rank 0 makes it and all are given it. */
#define JOIN_ID_BYTES 128
typedef struct {
    unsigned char bytes[JOIN_ID_BYTES];
} join_id_t;

/* A part of a pass, for recorded(): those of one key mostly queue the same ops on matrices of the same shapes. */
typedef struct {
    uint32_t kind, part;  /* the caller's: training, generation, ...; which part of it */
    size_t pieces;        /* that its rows are taken in */
    size_t tokens, width; /* T and C: what the ops have to do grows with both */
} record_key_t;

struct backend {
    const char *name; /* "cpu", "cuda" */
    char device[128]; /* for reports: CPU model and instruction set, GPU name */
    /* Which GPU it is, among all that there are, as `nvidia-smi -L` names it ("GPU-" and a UUID): two processes with the
     * same one share it, which no run of several may do. Empty on the CPU, which they do share. */
    char device_id[48];
    char no_gpu[160];  /* where "auto" took the CPU although the build knows GPUs: why; else empty */
    char why_act[96];  /* where `act` was left to the CPU backend: why it is that; else empty */
    char no_join[160]; /* where a GPU cannot join() others: why; else empty */
    dtype_t act;
    int threads;        /* host threads in use */
    size_t stage_bytes; /* the most that stage() gives at a time; a multiple of 512 */
    size_t tile_rows;   /* products are best of as many rows as possible, in multiples of these; 0: many are no better
                         * than some hundred, of which caches hold more */
    bool unified;       /* the device's memory is the host's: what leaves it for the host makes no room */
    void *workspace;    /* set by the owner of the memory; workspace_bytes() says how much it must be */
    size_t workspace_size;
    void *impl; /* the backend's own state */

    void (*close)(backend_t *be);

    /* ---- memory ---------------------------------------------------------------------------------- */
    void *(*alloc)(backend_t *be, size_t bytes, mem_kind_t kind); /* 64-byte aligned; NULL when there is none */
    void (*free)(backend_t *be, void *p, mem_kind_t kind);
    /* Host memory, 64-byte aligned, of at most stage_bytes, to prepare the source of a copy in: the next upload() or
     * quantize(), given this pointer and at most as many bytes, takes them from there without a copy on the host. Until
     * that call it is the caller's, then the backend's; the next stage(), upload() or quantize() ends it also unused.
     * May wait for older copies: while one piece is on its way, the caller fills the next. On the CPU always the same
     * memory. */
    void *(*stage)(backend_t *be, size_t bytes);
    /* host_src may be reused at once, unless it is of stage(). */
    void (*upload)(backend_t *be, void *dst, const void *host_src, size_t bytes);
    void (*download)(backend_t *be, void *host_dst, const void *src, size_t bytes);
    void (*copy)(backend_t *be, void *dst, const void *src, size_t bytes); /* device to device, no overlap */
    void (*zero)(backend_t *be, void *dst, size_t bytes);
    void (*sync)(backend_t *be); /* until all lanes have done what they were given */
    void (*mem_info)(backend_t *be, size_t *free_bytes, size_t *total_bytes);
    /* The workspace that is set then must have the size of the last answer. */
    size_t (*workspace_bytes)(backend_t *be, const workspace_need_t *need);
    /* Whether the ops cannot take what is needed, which would end in a CHECK, and what of it. NULL: they take all. */
    bool (*exceeds)(const workspace_need_t *need, limit_t *limit);

    /* ---- paging: copies beside the ops ------------------------------------------------------------ */
    /* Queued on LANE_IN and LANE_OUT. The host side is best MEM_PINNED (any other memory works, slower) and must stay
     * as it is until the copy is done. */
    void (*copy_in)(backend_t *be, void *dst, const void *host_src, size_t bytes);
    void (*copy_out)(backend_t *be, void *host_dst, const void *src, size_t bytes);
    ticket_t (*mark)(backend_t *be, lane_t lane);
    /* What `lane` is given from now on starts when the ticket's work is done. */
    void (*wait)(backend_t *be, lane_t lane, ticket_t t);
    /* Seconds that LANE_COMPUTE was held back by copies since the last call; after sync(). */
    double (*stalled)(backend_t *be);

    /* ---- parts of passes ---------------------------------------------------------------------------- */
    /* Calls work(ctx), which queues ops and does nothing else: no copies from or to the host, no waiting, no paging. The
     * backend may hold the ops back, to give them to the device all at once, and may call work() again where that has
     * failed before any of them ran: each call queues the same. NULL: there is nothing to gain. */
    void (*recorded)(backend_t *be, const record_key_t *key, void (*work)(void *ctx), void *ctx);

    /* ---- quantized weights ----------------------------------------------------------------------- */
    /* Elements [first, first+n) of a weight, from BF16, F16 or F32 values on the HOST. first and n are multiples of 64,
     * but for the last piece. NF4/FP4/INT4/INT8: fills w->codes from the exact values, and the fp32 constants of these
     * blocks in `absmax` [quant_blocks(count)] (device); NONE and F16: rounded to that. Same bits as quant_encode().
     * host_x may be reused at once, unless it is of stage(). */
    void (*quantize)(backend_t *be, qweight_t *w, const void *host_x, dtype_t x_type, size_t first, size_t n,
                     float *absmax);
    /* After the last piece: double quantization of `absmax` into w (nested_offset included; blocks). */
    void (*quantize_constants)(backend_t *be, qweight_t *w, const float *absmax);
    /* Elements [first, first+n) as F32 (table * absmax, not rounded) or BF16 (that, rounded). */
    void (*dequant)(backend_t *be, const qweight_t *w, size_t first, size_t n, void *out, dtype_t out_type);

    /* ---- matrix products ------------------------------------------------------------------------- */
    /* C[M,N] = alpha * op(A) * op(B) + beta * C; op(A) [M,K], op(B) [K,N]; ta/tb: the stored matrix is the
     * transpose. beta = 0 does not read C. */
    void (*gemm)(backend_t *be, bool ta, bool tb, size_t M, size_t N, size_t K, float alpha, matrix_t A, matrix_t B,
                 float beta, matrix_t C);

    /* ---- linear layers and their adapters, see linear_t -------------------------------------------- */
    /* y[T, rows] from x [T, cols + width], whose last columns are u. Frozen weights are dequantized on the fly; under
     * act BF16 each value is rounded to BF16 first. The bias is part of the sum: y is rounded once (a GPU
     * rounds the bias itself to act first, which changes nothing of a BF16 model's). */
    void (*linear_fwd)(backend_t *be, size_t T, mat_t x, const linear_t *l, mat_t y);
    /* dx[T, cols] from dy [T, rows + width], whose last columns are du. drop NULL: no dropout. */
    void (*linear_bwd)(backend_t *be, size_t T, mat_t dy, const linear_t *l, const dropout_t *drop, mat_t dx);
    /* u[T, width] for x [T, cols]; u may be columns behind those of x. */
    void (*adapter_fwd)(backend_t *be, size_t T, mat_t x, const linear_t *l, const dropout_t *drop, mat_t u);
    /* The way back through B: from dy [T, rows], du[T, width] with du_i = s_i dy_i B_i, which may be columns behind those
     * of dy, and dB[i] [rows_i, r_i] (fp32, dense) += dy_i^T u_i for u [T, width]. */
    void (*adapter_bwd)(backend_t *be, size_t T, mat_t dy, mat_t u, const linear_t *l, mat_t du,
                        float *const dB[LINEAR_MAX]);
    /* dA[width, cols] (fp32, dense) += du^T drop(x) for du [T, width], x [T, cols]. */
    void (*adapter_grad)(backend_t *be, size_t T, mat_t du, mat_t x, const linear_t *l, const dropout_t *drop,
                         float *dA);
    /* l->augmented from the weights and adapters; frozen false: from the adapters alone, which have changed. */
    void (*linear_cache)(backend_t *be, const linear_t *l, bool frozen);

    /* ---- element-wise and row ops ---------------------------------------------------------------- */
    /* y[T,C] = E[ids[t], :]; E is QUANT_NONE or QUANT_F16, [V,C]. */
    void (*embed)(backend_t *be, void *y, const qweight_t *E, const int32_t *ids, size_t T);
    /* y = a + b, n elements of act; y may be a or b. */
    void (*add)(backend_t *be, void *y, const void *a, const void *b, size_t n);
    /* y[t,:] = a * x[t,:], t < T, rows of C act values; y may be x. */
    void (*scale_rows)(backend_t *be, mat_t y, mat_t x, float a, size_t T, size_t C);
    /* Noise to x[T,C], in place. */
    void (*add_noise)(backend_t *be, void *x, const neftune_t *noise, size_t T, size_t C);
    /* F32 <-> BF16, round to nearest even; same type copies. */
    void (*cast)(backend_t *be, void *dst, dtype_t dst_type, const void *src, dtype_t src_type, size_t n);
    /* y[i,:] = x[idx[i],:], i < n; and y[idx[i],:] = x[i,:] (other rows of y stay). Rows of C act values. */
    void (*gather_rows)(backend_t *be, mat_t y, mat_t x, const int32_t *idx, size_t n, size_t C);
    void (*scatter_rows)(backend_t *be, mat_t y, mat_t x, const int32_t *idx, size_t n, size_t C);
    /* y[t,:] = x[t,:], t < T. */
    void (*copy_rows)(backend_t *be, mat_t y, mat_t x, size_t T, size_t C);

    /* Of each group of a row: y = x * rstd * w, rstd = 1/sqrt(mean(x^2) + eps). rstd fp32 [T, groups], stored. */
    void (*rmsnorm_fwd)(backend_t *be, mat_t y, float *rstd, mat_t x, const norm_t *norm, size_t T);
    /* sum = a + b [T,C] and the norm of that (groups 1): add() and rmsnorm_fwd(), to the bit, with less traffic.
     * Nothing aliases; sum, a and b are dense. */
    void (*add_rmsnorm_fwd)(backend_t *be, void *sum, mat_t y, float *rstd, const void *a, const void *b,
                            const norm_t *norm, size_t T);
    /* The gradient through the norm; x, w, rstd as in the forward. add: dx += it, dx is not dy; else dx = it, dx may be
     * dy. */
    void (*rmsnorm_bwd)(backend_t *be, mat_t dx, bool add, mat_t dy, mat_t x, const norm_t *norm, const float *rstd,
                        size_t T);
    /* In place on x [T, H heads of D]: a pair (a, b) becomes (a c - sign b s, b c + sign a s), with c and s of the row
     * pos[t]. sign -1 is the backward. */
    void (*rope)(backend_t *be, mat_t x, const rope_t *rope, const int32_t *pos, size_t T, size_t H, int sign);
    /* y[T,F] = fn(gate) * up; gate_up [T, 2F] has them side by side. */
    void (*glu_fwd)(backend_t *be, act_fn_t fn, mat_t y, mat_t gate_up, size_t T, size_t F);
    /* Their gradients in their place, from dy [T,F] (dense), which stays; with `product` it becomes what glu_fwd() gave,
     * to the bit. */
    void (*glu_bwd)(backend_t *be, act_fn_t fn, mat_t gate_up, void *dy, bool product, size_t T, size_t F);

    /* ---- attention ------------------------------------------------------------------------------- */
    /* o[Tq,Hq,D] = softmax(scale * q k^T, capped, causal in each segment and window) v; lse fp32 [Tq,Hq] natural log
     * of the sum of exponentials of the scaled scores, or NULL when no backward follows. Rows lie ld_* of the shape
     * apart. */
    void (*attn_fwd)(backend_t *be, void *o, float *lse, const void *q, const void *k, const void *v,
                     const attn_shape_t *shape, const attn_segments_t *seg);
    /* Training segments only (queries and keys are the same T tokens). dq may alias nothing. */
    void (*attn_bwd)(backend_t *be, void *dq, void *dk, void *dv, const void *dout, const void *q, const void *k,
                     const void *v, const void *o, const float *lse, const attn_shape_t *shape,
                     const attn_segments_t *seg);

    /* ---- loss ------------------------------------------------------------------------------------ */
    /* For each of R rows of products with the head [R,V] (act), of which the map makes logits z, with a label in [0,V):
     * row_loss[r] = -log softmax(z)[label]. With want_grad the products are overwritten by their gradient:
     * grad_scale * (softmax - onehot), through the map. */
    void (*ce_loss)(backend_t *be, mat_t logits, float *row_loss, const int32_t *labels, size_t R, size_t V,
                    logit_map_t map, bool want_grad, float grad_scale);

    /* ---- optimizer (fp32, flat) ------------------------------------------------------------------ */
    /* *out (device, double) = sum of squares; NaN or infinite when any element is. */
    void (*sumsq)(backend_t *be, double *out, const float *x, size_t n);
    /* Decoupled AdamW as PyTorch's, element by element: adamw_element() in model/backend/element.h. */
    void (*adamw)(backend_t *be, float *p, const float *g, float *m, float *v, size_t n, const adamw_t *h);
    /* The same with 8-bit moments, for n_blocks blocks; p[0], g[0] and m[0] are of the first block's first element. The
     * update uses the new moments as they are before they are quantized. Per element:
     * adamw_8bit_moments(), adamw_step() and dynamic_code() in model/backend/element.h. */
    void (*adamw_8bit)(backend_t *be, float *p, const float *g, const adamw_8bit_state_t *s, size_t n_blocks,
                       const adamw_t *h);

    /* ---- processes that train together ----------------------------------------------------------- */
    /* NULL, all three, where the devices cannot add up among themselves; the processes then do so in host memory. */
    int (*join_id)(backend_t *be, join_id_t *id, err_t *err);
    /* Called by all ranks at the same time, with one id; once, and before mem_info() is asked how much may be used, for it
     * takes memory of the device. */
    int (*join)(backend_t *be, const join_id_t *id, int rank, int ranks, err_t *err);
    /* x[n] becomes its sum over the ranks, which all call this in the same order: the same bits on all, and from run to
     * run, for they are added in the order of ranks. Queued on LANE_COMPUTE like an op. What fails on the way ends the process. */
    void (*sum_ranks)(backend_t *be, float *x, size_t n);
};

/* Opens the CPU backend. threads 0: one per core that the process may use. reference: only the plain-C ops,
 * the oracle, for tests. */
int backend_open_cpu(dtype_t act, int threads, bool reference, backend_t **be, err_t *err);

/* Opens the CUDA backend on the GPU of the share's index, or on the only one that the process sees; only in builds that
 * have it. ERR_USAGE, with what is missing, where no GPU is usable: none there or none left for this index, a driver that
 * is too old, a GPU older than sm_80. */
int backend_open_cuda(dtype_t act, host_share_t share, backend_t **be, err_t *err);

/* A CUDA backend that nothing runs on: what a plan asks of one (act, workspace_bytes), on any machine. */
backend_t backend_plan_cuda(dtype_t act);

#endif
