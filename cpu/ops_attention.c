#include <string.h>

#include "cpu/attention.h"

attn_t attn_init(const backend_t *be, const attn_shape_t *shape) {
    const tiles_t *t = cpu_tiles(be, be->act);
    attn_t a = {.t = t, .f32 = cpu_tiles(be, DT_F32), .k = cpu_kernels(be), .act = be->act, .shape = *shape};
    a.padded = tiles_padded(t, shape->D);
    a.wide = (shape->D + t->cols - 1) / t->cols * t->cols;
    a.copies = be->act != t->type || a.padded != shape->D;
    CHECK(ATTN_STEP % t->cols == 0 && ATTN_STEP % t->depth == 0);
    return a;
}

rows_t attn_rows(const attn_t *a, const void *x, size_t first, size_t ld, size_t n, void *scratch) {
    if (!a->copies) return (rows_t){act_at_const(x, a->act, first), ld};
    size_t D = a->shape.D, padding = (a->padded - D) * dtype_size(a->t->type);
    for (size_t i = 0; i < n; i++) {
        void *y = act_at(scratch, a->t->type, i * a->padded);
        a->k->cast(y, a->t->type, act_at_const(x, a->act, first + i * ld), a->act, D);
        memset(act_at(y, a->t->type, D), 0, padding);
    }
    return (rows_t){scratch, a->padded};
}

void attn_pack_columns(const attn_t *a, void *panels, rows_t x, size_t n) {
    const tiles_t *t = a->t;
    size_t bytes = tiles_panel_bytes(t, a->shape.D);
    for (size_t i = 0; i < n; i += t->cols, panels = (char *)panels + bytes)
        t->pack_columns(panels, attn_row(a, x, i), x.ld, min_size(t->cols, n - i), a->shape.D);
}

void attn_pack_rows(const attn_t *a, void *panels, rows_t x, size_t n, size_t most) {
    const tiles_t *t = a->t;
    size_t bytes = tiles_panel_bytes(t, most);
    for (size_t d = 0; d < a->shape.D; d += t->cols, panels = (char *)panels + bytes)
        t->pack_rows(panels, act_at_const(x.p, t->type, d), x.ld, n, min_size(t->cols, a->shape.D - d));
}

void attn_times_rows(const attn_t *a, size_t m, size_t n, const void *x, size_t ldx, const void *panels, size_t first,
                     size_t most, float *c, bool add) {
    const tiles_t *t = a->t;
    const char *panel = act_at_const(panels, t->type, first * t->cols);
    for (size_t d = 0; d < a->shape.D; d += t->cols, panel += tiles_panel_bytes(t, most))
        t->multiply(m, min_size(t->cols, a->shape.D - d), n, x, ldx, panel, c + d, a->wide, add);
}

size_t tuned_attention_floats(const backend_t *be, const workspace_need_t *need) {
    const attn_t a = attn_init(be, &need->attn);
    size_t threads = (size_t)be->threads, fwd = threads * attn_fwd_bytes(&a);
    size_t bwd = threads * attn_bwd_bytes(&a) + attn_bwd_shared_bytes(&a, need->max_tokens, need->max_kv);
    return max_size(fwd, bwd) / sizeof(float);
}

void tuned_attention_ops(backend_t *be) {
    be->attn_fwd = attn_fwd;
    be->attn_bwd = attn_bwd;
}
