/* Runs an op on a backend with random inputs and collects its outputs as fp32, so that the same case can run
 * on several backends and be compared. Everything goes through upload() and download(). */
#ifndef TESTS_OPS_RIG_H
#define TESTS_OPS_RIG_H

#include "model/backend/backend.h"

enum { RIG_MAX_BUFFERS = 64, RIG_MAX_OUTPUTS = 4 };

typedef struct {
    backend_t *be;
    void *buffers[RIG_MAX_BUFFERS]; /* on the device */
    size_t n_buffers;
    float *out[RIG_MAX_OUTPUTS]; /* on the host */
    size_t out_len[RIG_MAX_OUTPUTS];
    dtype_t out_type[RIG_MAX_OUTPUTS]; /* as the op wrote it */
    size_t n_out;
    size_t trodden; /* elements outside of what an op was given that are no longer what they were */
    uint64_t key;   /* of the random inputs; advances with each */
} rig_t;

void rig_init(rig_t *r, backend_t *be, uint64_t key);
void rig_free(rig_t *r); /* not the backend */

/* Device buffers. The values depend on the rig's key and on how many buffers came before, not on the backend. */
void *rig_alloc(rig_t *r, size_t bytes);
void *rig_upload(rig_t *r, const void *host, size_t bytes);
void *rig_random(rig_t *r, dtype_t type, size_t n, float scale);    /* about normal, standard deviation `scale` */
void *rig_values(rig_t *r, dtype_t type, const float *x, size_t n); /* F32 or BF16 */
int32_t *rig_indices(rig_t *r, size_t n, size_t below);             /* in [0, below) */
/* A weight of random values, quantized by the host codec. */
qweight_t rig_weight(rig_t *r, quant_type_t type, bool double_quant, size_t rows, size_t cols);

/* Columns [first, first+cols) of a matrix [rows, ld]. */
typedef struct {
    dtype_t type;
    size_t rows, first, cols, ld;
} columns_t;

/* Columns of act values of a matrix that is `pad` columns wider, half of them before and half behind. */
static inline columns_t rig_padded(const rig_t *r, size_t rows, size_t cols, size_t pad) {
    return (columns_t){r->be->act, rows, pad / 2, cols, cols + pad};
}

static inline mat_t rig_mat(void *p, const columns_t *c) { return (mat_t){p, c->ld}; }

/* Such a matrix with random values in these columns, and the first of them. All others are NaN, of bits that tell one
 * place from another: a result that they went into shows, and so does a write to them. */
void *rig_columns(rig_t *r, const columns_t *c, float scale);
/* The same for an op to write: these columns are NaN as well. */
void *rig_unwritten(rig_t *r, const columns_t *c);
/* Element i of act values. */
void *rig_act_at(const rig_t *r, const void *p, size_t i);

/* Takes `n` values of the device buffer p as the next output. */
void rig_output(rig_t *r, const void *p, dtype_t type, size_t n);
/* Takes those columns, of which p is the first; counts in r->trodden where else the matrix has changed. */
void rig_output_columns(rig_t *r, const void *p, const columns_t *c);
/* The same without a look at the rest of the matrix. */
void rig_output_inner(rig_t *r, const void *p, const columns_t *c);

/* Sets be->workspace for the need. */
void rig_workspace(rig_t *r, const workspace_need_t *need);

/* About normal random numbers on the host. */
void rig_normal(uint64_t key, float *x, size_t n, float scale);

/* Attention segments of the given query and key counts; keys of segment i lie one after another. */
attn_segments_t rig_segments(rig_t *r, size_t n, const int32_t *q_len, const int32_t *kv_len);

#endif
