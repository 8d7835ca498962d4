#include "trainer/optimizer.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"

/* ---- the two kinds -------------------------------------------------------------------------------------- */

static void update_32bit(const optimizer_t *o, lora_t *lora, backend_t *be, const adamw_t *h) {
    be->adamw(be, lora->master, lora->grad, o->arrays[STATE_M].data, o->arrays[STATE_V].data, o->count, h);
}

static void update_8bit(const optimizer_t *o, lora_t *lora, backend_t *be, const adamw_t *h) {
    const adamw_8bit_state_t s = {.m = o->arrays[STATE_M].data, .v = o->arrays[STATE_V].data,
                                  .m_absmax = o->arrays[STATE_M_ABSMAX].data,
                                  .v_absmax = o->arrays[STATE_V_ABSMAX].data, .start = o->start};
    be->adamw_8bit(be, lora->master, lora->grad, &s, o->n_blocks, h);
}

typedef struct {
    dtype_t moment;  /* of the first two arrays */
    size_t n_arrays;
    bool blocks;
    void (*update)(const optimizer_t *o, lora_t *lora, backend_t *be, const adamw_t *h);
} kind_t;

static const kind_t kinds[] = {
    [OPTIMIZER_32BIT] = {DT_F32, 2, false, update_32bit},
    [OPTIMIZER_8BIT] = {DT_U8, STATE_ARRAYS, true, update_8bit},
};

static const char *const array_names[STATE_ARRAYS] = {
    [STATE_M] = "exp_avg", [STATE_V] = "exp_avg_sq", [STATE_M_ABSMAX] = "exp_avg_absmax",
    [STATE_V_ABSMAX] = "exp_avg_sq_absmax",
};

/* ---- blocks --------------------------------------------------------------------------------------------- */

/* Blocks begin anew at each tensor, so that no constant serves values of two; start (NULL: only counts) gets
 * where each begins and, last, where all end. Gives their number. */
static size_t lay_out_blocks(const lora_t *lora, size_t *start) {
    size_t n = 0;
    for (size_t i = 0; i < lora->n_tensors; i++) {
        const lora_tensor_t *t = &lora->tensors[i];
        for (size_t at = 0; at < t->rows * t->cols; at += ADAMW_8BIT_BLOCK, n++)
            if (start) start[n] = t->offset + at;
    }
    if (start) start[n] = lora->count;
    return n;
}

static void upload_blocks(optimizer_t *o, const lora_t *lora, backend_t *be) {
    size_t *start = xmalloc((o->n_blocks + 1) * sizeof *start);
    lay_out_blocks(lora, start);
    be->upload(be, o->start, start, (o->n_blocks + 1) * sizeof *start);
    free(start);
}

/* ---- both ----------------------------------------------------------------------------------------------- */

void optimizer_place(optimizer_t *o, optimizer_kind_t kind, const lora_t *lora, pool_t *pool) {
    const kind_t *k = &kinds[kind];
    *o = (optimizer_t){.kind = kind, .count = lora->count, .n_arrays = k->n_arrays};
    if (k->blocks) o->n_blocks = lay_out_blocks(lora, NULL);
    for (size_t i = 0; i < o->n_arrays; i++) {
        bool moment = i <= STATE_V;
        optimizer_array_t *a = &o->arrays[i];
        *a = (optimizer_array_t){array_names[i], moment ? k->moment : DT_F32, moment ? o->count : o->n_blocks, NULL};
        a->data = pool_take(pool, POOL_OPTIMIZER, a->count * dtype_size(a->dtype));
    }
    if (k->blocks) o->start = pool_take(pool, POOL_OPTIMIZER, (o->n_blocks + 1) * sizeof *o->start);
    o->sumsq = pool_take(pool, POOL_OPTIMIZER, sizeof(double));
}

void optimizer_reset(optimizer_t *o, const lora_t *lora, backend_t *be) {
    for (size_t i = 0; i < o->n_arrays; i++)
        be->zero(be, o->arrays[i].data, o->arrays[i].count * dtype_size(o->arrays[i].dtype));
    if (o->start) upload_blocks(o, lora, be);
    o->t = 0;
}

bool optimizer_step(optimizer_t *o, lora_t *lora, backend_t *be, const optimizer_hyper_t *h, double *grad_norm) {
    double sumsq;
    be->sumsq(be, o->sumsq, lora->grad, o->count);
    be->download(be, &sumsq, o->sumsq, sizeof sumsq);
    *grad_norm = sqrt(sumsq);
    if (!isfinite(sumsq)) return false;

    /* As torch.nn.utils.clip_grad_norm_: the small constant keeps a zero norm harmless. */
    double clip = h->max_grad_norm > 0 ? h->max_grad_norm / (*grad_norm + 1e-6) : 1.0;
    o->t++;
    adamw_t step = {.lr = h->lr, .beta1 = h->beta1, .beta2 = h->beta2, .eps = h->eps,
                    .weight_decay = h->weight_decay,
                    .c1 = (float)(1.0 - pow(h->beta1, (double)o->t)),
                    .c2 = (float)(1.0 - pow(h->beta2, (double)o->t)),
                    .grad_scale = (float)(clip < 1.0 ? clip : 1.0)};
    kinds[o->kind].update(o, lora, be, &step);
    lora_refresh(lora, be);
    return true;
}
