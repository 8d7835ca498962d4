/* What the files of the CUDA backend share: its state, and how calls are checked. For C++ (.cu) files, which include
 * this one first: it brings device.h and the contract along. */
#ifndef CUDA_CUDA_IMPL_H
#define CUDA_CUDA_IMPL_H

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/device.h"

extern "C" {
#include "base/error.h"
#include "base/mem.h"
#include "base/minmax.h"
#include "cuda/workspace.h"
#include "model/backend/backend.h"
#include "model/backend/element.h"
}

/* Tables that kernels look values up in, in device memory. */
typedef struct {
    dynamic_map_t signed_map, unsigned_map; /* quant_dynamic_signed(), quant_dynamic_unsigned() */
    float table4[3][16];                    /* quant_table() of NF4, FP4, INT4 */
} device_tables_t;

/* Pinned host memory through which upload() and quantize() pass, used round and round: what they copy out of it is
 * freed in the order in which it was taken, each piece when its event has happened. Every byte has a twin in device
 * memory at the same offset, for data that a kernel reads once. */
enum { STAGING_PIECES = 128 };
typedef struct {
    unsigned char *host, *device;
    uint64_t head, tail;  /* taken and freed so far; the places are these modulo the size */
    unsigned char *given; /* by stage(), at the end of what is taken, until the next copy; else NULL */
    size_t given_bytes;
    struct {
        uint64_t end;
        cudaEvent_t done;
    } piece[STAGING_PIECES];
    size_t first, n_pieces; /* in use */
} staging_t;

/* Events of one lane, used in turn. An event that stands for a newer ticket by now serves an older one as well: it
 * happens later, and lanes keep their order. */
enum { LANE_EVENTS = 64 };
typedef struct {
    cudaStream_t stream;
    cudaEvent_t event[LANE_EVENTS]; /* of ticket n at n % LANE_EVENTS */
    uint64_t n;                     /* the newest ticket */
} lane_state_t;

/* Waits of LANE_COMPUTE for copies: the time between the two events is what it lost. */
enum { STALL_PAIRS = 64 };
typedef struct {
    cudaEvent_t begin[STALL_PAIRS], end[STALL_PAIRS];
    size_t first, n;
    double seconds; /* of the pairs taken out so far */
} stalls_t;

/* One of the two augmented weights in the workspace: filled on the dequant stream, read on LANE_COMPUTE. */
typedef struct {
    cudaEvent_t filled, read;
} weight_slot_t;

typedef struct {
    int device;
    lane_state_t lane[LANES];
    staging_t staging;
    unsigned char *landing; /* pinned, two pieces: downloads pass through it */
    cudaEvent_t landed[2];
    stalls_t stalls;
    cuda_workspace_t layout; /* the answer of the last workspace_bytes(): be->workspace is of that size */
    device_tables_t *tables; /* on the device */
    const dynamic_map_t *signed_map, *unsigned_map; /* in it */
    void *gemm;                                     /* gemm_cublas.cu's own */
    struct cuda_join *join;                         /* join.cu's own; NULL: no other GPUs were joined */
    struct cuda_records *records;                   /* record.cu's own */

    cudaStream_t dequant; /* runs ahead of LANE_COMPUTE, so that a weight is there when its product begins */
    weight_slot_t slot[2];
    size_t slot_next;
    void *slot_workspace; /* be->workspace when a slot was last filled */
    bool weights_touched; /* since then LANE_COMPUTE was given work that may write weights or adapters */
    cudaEvent_t touched;  /* then the dequant stream waits for this first */
} cuda_impl_t;

static inline cuda_impl_t *cuda_impl(const backend_t *be) { return (cuda_impl_t *)be->impl; }

/* Where all ops run but the copies of paging. */
static inline cudaStream_t compute_stream(const backend_t *be) { return cuda_impl(be)->lane[LANE_COMPUTE].stream; }

/* Scratch for the op that is being queued on LANE_COMPUTE, 256-byte aligned, until the next op.
 * cuda_scratch_min() is always there; an op that may need more says so in workspace.c. */
void *compute_scratch(const backend_t *be, size_t bytes);
/* Where augmented weight i (0, 1) lies; CHECKs that `bytes` are there. */
void *weight_scratch(const backend_t *be, size_t i, size_t bytes);

/* Blocks of a grid that covers n with `each` per block; at least one. */
static inline unsigned grid_for(size_t n, size_t each) {
    size_t blocks = n ? (n + each - 1) / each : 1;
    CHECK(blocks <= 0x7fffffff);
    return (unsigned)blocks;
}

/* Three pieces make the ring: one is being copied, one filled, and one lies between them. */
#ifndef STAGING_PIECE /* tests on the host take less, see cuda/workspace.h */
#define STAGING_PIECE ((size_t)8 << 20)
#endif
/* Where in staging.host and staging.device at most STAGING_PIECE bytes of `src` are, as an offset, 256-byte aligned:
 * the place that stage() gave, if src is that, or another that they are copied to; may wait for older pieces. The
 * caller queues what copies them out of staging.host, and then staging_release(): the place is free when LANE_COMPUTE
 * has done what it was given so far. */
size_t staging_take(cuda_impl_t *impl, const void *src, size_t bytes);
void staging_release(cuda_impl_t *impl);

/* download(), with the data handed to `take` a piece at a time, in order, each while the next one crosses the bus. */
typedef void landed_t(void *ctx, const unsigned char *piece, size_t bytes);
void download_pieces(const backend_t *be, const void *src, size_t bytes, landed_t *take, void *ctx);

/* Whether a pass is being recorded: then `status` is kept, if none was before, and what is queued from now on is lost. */
bool cuda_record_fails(cudaError_t status);
/* A status for it: this pass needs what there is after it was queued op by op, and the next may be recorded again. */
static const cudaError_t CUDA_RECORD_LATER = cudaErrorNotReady;

/* What the parts of cuda_impl_t need; close also takes what was opened in part. */
int cuda_memory_open(cuda_impl_t *impl, err_t *err);
void cuda_memory_close(cuda_impl_t *impl);
int cuda_lanes_open(cuda_impl_t *impl, err_t *err);
void cuda_lanes_close(cuda_impl_t *impl);
void cuda_join_close(cuda_impl_t *impl);
void cuda_records_open(cuda_impl_t *impl);
void cuda_records_close(cuda_impl_t *impl);
/* 0, or ERR_FAILED with a message: for the calls of opening, which need not work. */
#define CUDA_TRY(call, err) cuda_try((call), #call, err)
int cuda_try(cudaError_t status, const char *what, err_t *err);

/* Each fills its part of the table. */
void cuda_memory_ops(backend_t *be);
void cuda_lane_ops(backend_t *be);
void cuda_gemm_ops(backend_t *be);
void cuda_quant_ops(backend_t *be);
void cuda_linear_ops(backend_t *be);
void cuda_row_ops(backend_t *be);
void cuda_norm_ops(backend_t *be);
void cuda_rope_ops(backend_t *be);
void cuda_glu_ops(backend_t *be);
void cuda_loss_ops(backend_t *be);
void cuda_optimizer_ops(backend_t *be);
void cuda_attention_ops(backend_t *be);
void cuda_record_ops(backend_t *be);
void cuda_join_ops(backend_t *be); /* or be->no_join; needs the device and nothing else */

#endif
