#include <math.h>

#include "ops_cases.h"

/* Lists of segments by number: lengths of queries and of keys. */
static const struct {
    size_t n;
    int32_t q[5], kv[5];
} segment_lists[] = {
    {1, {1}, {1}},
    {1, {67}, {67}},
    {4, {5, 130, 1, 64}, {5, 130, 1, 64}},
    {2, {300, 129}, {300, 129}},
    {3, {1, 1, 1}, {1, 300, 77}}, /* generation: queries are the last of their keys */
    {2, {9, 70}, {40, 333}},
    {1, {600}, {600}}, /* longer than any tile */
    {2, {2, 3}, {100, 290}},
    {3, {0, 40, 0}, {0, 40, 0}}, /* segments of no tokens; nothing else */
    {2, {0, 0}, {0, 0}},
    {1, {1}, {128}}, /* one token at a time: its keys in one part, in two, in as many as there are at most */
    {1, {1}, {129}},
    {1, {1}, {1000}},
    {1, {1}, {9000}},
    {4, {1, 0, 1, 1}, {1, 0, 90, 128}},
};

/* Flags of attention, beside the window: */
enum { CAPPED = 1 << 20, V_APART = 1 << 21 }; /* the rows of v lie further apart than those of k */
/* Matrices of their own; or q, k and v (k and v alone where there are more keys than queries) are columns of one matrix
 * that has so many columns more. */
#define JOINED(pad) (1024 | (pad) << 11)

typedef struct {
    attn_segments_t seg;
    attn_shape_t shape;
    void *q, *k, *v;
    size_t T, heads; /* of queries: rows, columns */
    size_t pad;
    bool joined;
} attn_case_t;

/* a: segment list; b: Hq; c: Hkv; d: D; flags: the window, JOINED(), the above. */
static attn_case_t attn_inputs(rig_t *r, const params_t *p) {
    attn_case_t a = {.joined = p->flags & 1024, .pad = (size_t)p->flags >> 11 & 255, .heads = p->b * p->d};
    size_t Tkv = 0, kv = p->c * p->d;
    for (size_t i = 0; i < segment_lists[p->a].n; i++) {
        a.T += (size_t)segment_lists[p->a].q[i];
        Tkv += (size_t)segment_lists[p->a].kv[i];
    }
    a.seg = rig_segments(r, segment_lists[p->a].n, segment_lists[p->a].q, segment_lists[p->a].kv);
    a.shape = (attn_shape_t){.Hq = p->b,
                             .Hkv = p->c,
                             .D = p->d,
                             .window = (size_t)p->flags & 1023,
                             .scale = 1 / sqrtf((float)p->d),
                             .softcap = p->flags & CAPPED ? 2.5f : 0};
    bool one = a.joined && Tkv == a.T;
    const columns_t of_q = rig_padded(r, a.T, one ? a.heads + 2 * kv : a.heads, a.pad);
    const columns_t of_k = rig_padded(r, Tkv, a.joined ? 2 * kv : kv, 3 * a.pad);
    const columns_t of_v = p->flags & V_APART ? rig_padded(r, Tkv, kv, 3 * a.pad + 40) : of_k;
    a.q = rig_columns(r, &of_q, 1.5f);
    a.k = one ? rig_act_at(r, a.q, a.heads) : rig_columns(r, &of_k, 1.5f);
    a.v = a.joined && !(p->flags & V_APART) ? rig_act_at(r, a.k, kv) : rig_columns(r, &of_v, 1);
    a.shape.ld_q = of_q.ld;
    a.shape.ld_k = one ? of_q.ld : of_k.ld;
    a.shape.ld_v = p->flags & V_APART ? of_v.ld : a.shape.ld_k;
    a.shape.ld_o = a.heads + a.pad;
    a.shape.ld_dout = a.heads + 2 * a.pad;
    a.shape.ld_dqkv = (a.joined ? a.heads + 2 * kv : a.heads) + 3 * a.pad;
    return a;
}

static void run_attn_fwd(rig_t *r, const params_t *p) {
    attn_case_t a = attn_inputs(r, p);
    const columns_t of_o = rig_padded(r, a.T, a.heads, a.pad);
    void *o = rig_unwritten(r, &of_o), *without = rig_unwritten(r, &of_o);
    float *lse = rig_alloc(r, a.T * p->b * sizeof(float));
    r->be->attn_fwd(r->be, o, lse, a.q, a.k, a.v, &a.shape, &a.seg);
    rig_output_columns(r, o, &of_o);
    rig_output(r, lse, DT_F32, a.T * p->b);
    r->be->attn_fwd(r->be, without, NULL, a.q, a.k, a.v, &a.shape, &a.seg);
    rig_output_columns(r, without, &of_o);
}

/* dq, dk and dv are columns of one matrix, or of three with rows of one length. */
static void run_attn_bwd(rig_t *r, const params_t *p) {
    attn_case_t a = attn_inputs(r, p);
    size_t kv = p->c * p->d, first = a.pad / 2, ld = a.shape.ld_dqkv;
    const columns_t of_o = rig_padded(r, a.T, a.heads, a.pad), of_dout = rig_padded(r, a.T, a.heads, 2 * a.pad);
    const columns_t of_all = {r->be->act, a.T, first, a.heads + 2 * kv, ld};
    columns_t of[3] = {
        {r->be->act, a.T, first, a.heads, ld}, {r->be->act, a.T, first, kv, ld}, {r->be->act, a.T, first, kv, ld}};
    void *o = rig_unwritten(r, &of_o), *dout = rig_columns(r, &of_dout, 1), *grad[3];
    float *lse = rig_alloc(r, a.T * p->b * sizeof(float));
    if (a.joined) {
        of[1].first += a.heads;
        of[2].first += a.heads + kv;
        grad[0] = rig_unwritten(r, &of_all);
        grad[1] = rig_act_at(r, grad[0], a.heads);
        grad[2] = rig_act_at(r, grad[1], kv);
    } else {
        for (size_t i = 0; i < 3; i++) grad[i] = rig_unwritten(r, &of[i]);
    }
    r->be->attn_fwd(r->be, o, lse, a.q, a.k, a.v, &a.shape, &a.seg);
    r->be->attn_bwd(r->be, grad[0], grad[1], grad[2], dout, a.q, a.k, a.v, o, lse, &a.shape, &a.seg);
    if (a.joined) rig_output_columns(r, grad[0], &of_all);
    for (size_t i = 0; i < 3; i++) (a.joined ? rig_output_inner : rig_output_columns)(r, grad[i], &of[i]);
}

/* ---- the table --------------------------------------------------------------------------------------- */

static const params_t attn_fwd_cases[] = {
    {0, 1, 1, 16, 0},
    {1, 3, 1, 64, 0},
    {2, 4, 4, 32, 0},
    {2, 4, 2, 80, 33},
    {3, 3, 1, 64, 0},
    {3, 2, 2, 128, 100},
    {3, 2, 1, 16, 1},
    {4, 6, 2, 64, 0},
    {4, 2, 2, 80, 50},
    {5, 4, 1, 32, 0},
    {5, 2, 2, 128, 65},
    /* head sizes of 256, of no power of two, of less than a tensor core takes, and ones that it takes none of */
    {2, 2, 1, 256, 40},
    {4, 2, 1, 256, 0},
    {2, 3, 3, 96, 0},
    {5, 2, 1, 72, 30},
    {2, 4, 1, 8, 9},
    {5, 2, 2, 20, 0},
    {2, 2, 1, 100, 60},
    /* columns of wider matrices */
    {0, 1, 1, 16, JOINED(0)},
    {1, 3, 1, 64, JOINED(16)},
    {2, 4, 2, 80, 33 | JOINED(16)},
    {3, 2, 1, 128, JOINED(48)},
    {2, 4, 2, 64, 100 | JOINED(3)},
    {1, 2, 2, 32, JOINED(8)},
    {4, 6, 2, 64, JOINED(16)},
    {4, 2, 2, 80, 50 | JOINED(5)},
    {5, 4, 1, 32, JOINED(16)},
    {5, 2, 2, 128, 65 | JOINED(1)},
    {5, 2, 2, 64, JOINED(8)},
    {2, 2, 1, 256, JOINED(16)},
    {2, 4, 2, 20, JOINED(16)},
    {1, 4, 1, 8, JOINED(16)},
    /* capped scores, with windows; v apart from k */
    {0, 1, 1, 16, CAPPED},
    {2, 4, 2, 64, CAPPED},
    {3, 2, 1, 128, 100 | CAPPED},
    {3, 4, 2, 16, 20 | CAPPED},
    {4, 6, 2, 64, CAPPED | JOINED(16)},
    {4, 2, 2, 80, 50 | CAPPED | JOINED(5)},
    {5, 2, 1, 256, 65 | CAPPED},
    {5, 4, 1, 32, CAPPED},
    {2, 2, 1, 100, 7 | CAPPED | JOINED(3)},
    {2, 4, 2, 64, 33 | V_APART},
    {5, 4, 2, 80, V_APART | JOINED(8)},
    {3, 3, 1, 64, 129 | CAPPED | V_APART | JOINED(16)},
    /* one long segment; many heads on one; few queries that see many keys */
    {6, 2, 1, 64, CASE_IS_LONG},
    {6, 1, 1, 72, 270 | JOINED(8) | CASE_IS_LONG},
    {6, 3, 1, 32, 7 | CASE_IS_LONG},
    {2, 8, 1, 32, 0},
    {3, 6, 1, 40, 90},
    {7, 4, 2, 64, 0},
    {7, 2, 1, 20, 200 | CAPPED | JOINED(5)},
    {8, 2, 1, 32, 0},
    {9, 2, 1, 32, 0},
    /* one query to a segment: as many heads as share keys, fewer and more than are taken together */
    {10, 3, 1, 64, 0},
    {10, 8, 8, 32, CAPPED},
    {11, 4, 1, 128, JOINED(16)},
    {11, 7, 1, 64, 0},
    {12, 6, 2, 64, JOINED(16)},
    {12, 4, 4, 80, 0},
    {12, 8, 1, 32, CAPPED | V_APART},
    {12, 2, 2, 256, 0},
    {12, 5, 1, 16, 300},
    {12, 4, 2, 64, 120 | CAPPED | JOINED(16)},
    {12, 2, 1, 128, 129},
    {12, 3, 3, 72, 1000 | V_APART},
    {12, 2, 1, 100, 500 | JOINED(3)},
    {12, 2, 1, 20, 0},
    {12, 7, 7, 8, CAPPED},
    {13, 3, 1, 64, CASE_IS_LONG},
    {13, 2, 2, 32, JOINED(8) | CASE_IS_LONG},
    {14, 4, 2, 64, 0},
    {14, 2, 2, 128, 50 | CAPPED | JOINED(16)},
};
static const params_t attn_bwd_cases[] = {
    {0, 1, 1, 16, 0},
    {1, 3, 1, 64, 0},
    {2, 4, 4, 32, 0},
    {2, 4, 2, 80, 33},
    {3, 3, 1, 64, 0},
    {3, 2, 2, 128, 100},
    {3, 2, 1, 16, 1},
    {2, 2, 1, 256, 40},
    {1, 2, 1, 256, 0},
    {2, 3, 3, 96, 0},
    {3, 2, 1, 72, 30},
    {2, 4, 1, 8, 9},
    {2, 4, 2, 20, 0},
    {2, 2, 1, 100, 60},
    {0, 1, 1, 16, JOINED(0)},
    {1, 3, 1, 64, JOINED(16)},
    {2, 4, 2, 80, 33 | JOINED(16)},
    {3, 2, 1, 128, JOINED(48)},
    {2, 4, 2, 64, 100 | JOINED(3)},
    {1, 2, 2, 32, JOINED(8)},
    {2, 2, 1, 256, JOINED(16)},
    {2, 4, 2, 20, JOINED(16)},
    {1, 4, 1, 8, JOINED(16)},
    {2, 3, 1, 64, JOINED(1)},
    {0, 1, 1, 16, CAPPED},
    {2, 4, 2, 64, CAPPED},
    {3, 2, 1, 128, 100 | CAPPED},
    {3, 4, 2, 16, 20 | CAPPED},
    {2, 2, 1, 256, 40 | CAPPED},
    {2, 2, 1, 100, 7 | CAPPED | JOINED(3)},
    {1, 4, 4, 80, CAPPED | JOINED(16)},
    {3, 3, 1, 64, 129 | CAPPED | V_APART | JOINED(16)},
    {3, 4, 2, 32, 65 | V_APART},
    {2, 4, 2, 64, 64 | CAPPED},
    {6, 2, 1, 64, CASE_IS_LONG},
    {6, 1, 1, 72, 270 | JOINED(8) | CASE_IS_LONG},
    {6, 2, 1, 32, 7 | CASE_IS_LONG},
    {6, 1, 1, 16, 300 | CAPPED | CASE_IS_LONG},
    {2, 8, 1, 32, 0},
    {3, 6, 1, 40, 90},
    {8, 2, 1, 32, 0},
    {9, 2, 1, 32, 0},
};

const op_t attention_ops[] = {
    {"attn_fwd", run_attn_fwd, CASES(attn_fwd_cases), ROUNDED},
    {"attn_bwd", run_attn_bwd, CASES(attn_bwd_cases), ROUNDED},
};
const size_t n_attention_ops = sizeof attention_ops / sizeof *attention_ops;
