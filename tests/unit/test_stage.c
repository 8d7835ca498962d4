/* stage(): what is prepared in the backend's own memory arrives as what is given from the caller's, bit for bit, in
 * whatever order and sizes the two take turns; and the loader, whose pieces come from there. Built once for each
 * backend: TEST_BACKEND names another than the CPU. On the emulated GPU copies run as late as a seed says, so a place
 * that is handed out again too early shows. */
#include "testing.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "made_model.h"
#include "model/model.h"
#ifdef TEST_BACKEND
#include "host/control.h"
#include "trainer/run/backend_open.h"
#endif

enum { SEEDS = 6, STAGE = 32768 };

static backend_t *open_backend(unsigned seed) {
    backend_t *be;
    err_t err = {0};
#ifdef TEST_BACKEND
    cuda_host_seed(seed);
    assert_ok(backend_open(TEST_BACKEND, DT_COUNT, 2, HOST_ALONE, &be, &err), err);
    assert_int_equal(be->stage_bytes, STAGE); /* as the emulator's build has it */
#else
    (void)seed;
    assert_ok(backend_open_cpu(DT_F32, 2, false, &be, &err), err);
    assert_true(be->stage_bytes > STAGE);
    be->stage_bytes = STAGE; /* so that small tensors take several pieces */
#endif
    return be;
}

static size_t below(uint64_t key, uint64_t i, size_t n) { return (size_t)(rng_fold(key, i) % n); }

static void fill_random(uint64_t key, void *p, size_t n) {
    for (size_t i = 0; i < n; i++) ((unsigned char *)p)[i] = (unsigned char)rng_fold(key, i);
}

/* Asks for memory and leaves it. */
static void abandon(backend_t *be, size_t bytes) { memset(be->stage(be, bytes), 0xdd, bytes); }

typedef enum { STAGED, STAGED_IN_PART, PLAIN, WAYS } way_t;

/* `bytes` of `data` in the memory that the way says; the caller's own is overwritten after the call. */
static void *prepare(backend_t *be, way_t way, unsigned char *own, const void *data, size_t bytes) {
    size_t asked = way == STAGED_IN_PART ? bytes + (STAGE - bytes) / 2 : bytes;
    void *p = way == PLAIN ? own : be->stage(be, asked);
    assert_int_equal((uintptr_t)p % (way == PLAIN ? 1 : 64), 0);
    if (way != PLAIN) memset(p, 0xcc, asked);
    memcpy(p, data, bytes);
    return p;
}

/* ---- copies --------------------------------------------------------------------------------------------- */

static void test_uploads(void **state) {
    (void)state;
    static const size_t sizes[] = {1,         255,           256,         4000,      STAGE / 4,
                                   STAGE / 3, STAGE / 2 + 1, STAGE - 256, STAGE - 1, STAGE};
    enum { N_SIZES = sizeof sizes / sizeof *sizes, ROUNDS = 300 };
    for (unsigned seed = 1; seed <= SEEDS; seed++) {
        backend_t *be = open_backend(seed);
        unsigned char *all = be->alloc(be, (size_t)ROUNDS * STAGE, MEM_DEVICE);
        unsigned char *want = xcalloc(ROUNDS, STAGE), *got = xcalloc(ROUNDS, STAGE), *own = xmalloc(STAGE);
        be->zero(be, all, (size_t)ROUNDS * STAGE);
        for (size_t r = 0; r < ROUNDS; r++) {
            size_t bytes = sizes[below(seed, 2 * r, N_SIZES)];
            way_t way = (way_t)below(seed, 2 * r + 1, WAYS);
            if (r % 7 == 0) abandon(be, STAGE - r);
            fill_random(r, want + r * STAGE, bytes);
            be->upload(be, all + r * STAGE, prepare(be, way, own, want + r * STAGE, bytes), bytes);
            if (way == PLAIN) memset(own, 0xee, bytes);
        }
        be->download(be, got, all, (size_t)ROUNDS * STAGE);
        for (size_t r = 0; r < ROUNDS; r++) assert_memory_equal(got + r * STAGE, want + r * STAGE, STAGE);
        be->free(be, all, MEM_DEVICE);
        be->close(be);
        free(want), free(got), free(own);
    }
}

/* More than the ring holds, asked for in a row and never used. */
static void test_abandoned(void **state) {
    (void)state;
    enum { N = 1000 };
    for (unsigned seed = 1; seed <= SEEDS; seed++) {
        backend_t *be = open_backend(seed);
        int32_t *x = be->alloc(be, N * sizeof *x, MEM_DEVICE), back[N];
        for (int32_t i = 0; i < N; i++) {
            for (int k = 0; i % 100 == 0 && k < 10; k++) abandon(be, STAGE - 256 * (size_t)k);
            int32_t *p = i % 2 ? be->stage(be, sizeof i) : &i;
            *p = i;
            be->upload(be, &x[i], p, sizeof i);
        }
        be->download(be, back, x, sizeof back);
        for (int32_t i = 0; i < N; i++) assert_int_equal(back[i], i);
        be->free(be, x, MEM_DEVICE);
        be->close(be);
    }
}

#if defined(TEST_BACKEND) && !defined(__SANITIZE_ADDRESS__)
/* The point of it all: nothing is copied on the host. With guarded memory the stream runs only when it is waited for,
 * so a device that reads the given memory itself sees what is written there after the call, which nobody may do. */
static void test_not_copied(void **state) {
    (void)state;
    cuda_host_guard(true);
    backend_t *be = open_backend(1);
    bf16_t back[QUANT_BLOCK], *x = be->alloc(be, sizeof back, MEM_DEVICE);
    qweight_t w = {.type = QUANT_INT8, .rows = 1, .cols = QUANT_BLOCK};
    w.codes = be->alloc(be, QUANT_BLOCK, MEM_DEVICE);
    w.absmax = be->alloc(be, sizeof(float), MEM_DEVICE);
    bf16_t *p = be->stage(be, sizeof back);
    memset(p, 0, sizeof back);
    be->upload(be, x, p, sizeof back);
    p[5] = 77;
    be->download(be, back, x, sizeof back);
    assert_int_equal(back[5], 77);
    p = be->stage(be, sizeof back);
    memset(p, 0, sizeof back);
    be->quantize(be, &w, p, DT_BF16, 0, QUANT_BLOCK, w.absmax);
    p[5] = bf16_from_f32(3);
    float absmax;
    be->download(be, &absmax, w.absmax, sizeof absmax);
    assert_true(absmax == 3);
    be->free(be, w.absmax, MEM_DEVICE);
    be->free(be, w.codes, MEM_DEVICE);
    be->free(be, x, MEM_DEVICE);
    be->close(be);
    cuda_host_guard(false);
}
#endif

/* ---- weights -------------------------------------------------------------------------------------------- */

typedef struct {
    uint8_t *codes, *absmax_q;
    float *absmax, *nested;
    float offset;
} host_weight_t;

static host_weight_t host_weight(quant_type_t type, size_t n) {
    return (host_weight_t){.codes = xcalloc(1, quant_code_bytes(type, n)),
                           .absmax_q = xcalloc(1, quant_blocks(n)),
                           .absmax = xcalloc(quant_blocks(n), sizeof(float)),
                           .nested = xcalloc(quant_nested_blocks(n), sizeof(float))};
}

static void free_host(host_weight_t *h) { free(h->codes), free(h->absmax_q), free(h->absmax), free(h->nested); }

/* What the codec makes of all of x at once. */
static host_weight_t encode(quant_type_t type, bool double_quant, const bf16_t *x, size_t n) {
    host_weight_t h = host_weight(type, n);
    quant_encode(type, x, DT_BF16, n, h.codes, h.absmax);
    if (double_quant) quant_encode_constants(h.absmax, quant_blocks(n), h.absmax_q, h.nested, &h.offset);
    return h;
}

static void check_weight(backend_t *be, const qweight_t *w, const bf16_t *x) {
    size_t n = qweight_count(w), blocks = quant_blocks(n);
    host_weight_t want = encode(w->type, w->double_quant, x, n), got = host_weight(w->type, n);
    be->download(be, got.codes, w->codes, quant_code_bytes(w->type, n));
    assert_memory_equal(got.codes, want.codes, quant_code_bytes(w->type, n));
    if (w->type != QUANT_NONE && !w->double_quant) {
        be->download(be, got.absmax, w->absmax, blocks * sizeof(float));
        assert_memory_equal(got.absmax, want.absmax, blocks * sizeof(float));
    }
    if (w->double_quant) {
        be->download(be, got.absmax_q, w->absmax_q, blocks);
        be->download(be, got.nested, w->nested_absmax, quant_nested_blocks(n) * sizeof(float));
        assert_memory_equal(got.absmax_q, want.absmax_q, blocks);
        assert_memory_equal(got.nested, want.nested, quant_nested_blocks(n) * sizeof(float));
        assert_true(w->nested_offset == want.offset);
    }
    free_host(&want);
    free_host(&got);
}

static bf16_t *random_values(uint64_t key, size_t n) {
    bf16_t *x = xmalloc(n * sizeof *x);
    for (size_t i = 0; i < n; i++) x[i] = bf16_from_f32(rng_uniform(key, i) - 0.5f);
    return x;
}

/* A weight in pieces of random sizes; `longest`: bytes of the longest that is not staged, which may be more. */
static void quantize_pieces(backend_t *be, uint64_t key, qweight_t *w, const bf16_t *x, float *absmax, size_t longest) {
    size_t count = qweight_count(w), n;
    bf16_t *own = xmalloc(longest);
    for (size_t first = 0, i = 0; first < count; first += n, i++) {
        way_t way = (way_t)below(key, 2 * i, WAYS);
        size_t blocks = (way == PLAIN ? longest : STAGE) / sizeof *x / QUANT_BLOCK;
        n = (1 + below(key, 2 * i + 1, blocks)) * QUANT_BLOCK;
        if (n > count - first) n = count - first;
        be->quantize(be, w, prepare(be, way, (void *)own, x + first, n * sizeof *x), DT_BF16, first, n, absmax);
        memset(own, 0xee, longest);
    }
    free(own);
}

static void test_quantize(void **state) {
    (void)state;
    static const size_t counts[] = {64, 1, STAGE / 2, 13 * (STAGE / 2) + 64 * 5 + 17};
    for (unsigned seed = 1; seed <= 2; seed++)
        for (size_t i = 0; i < 4 * 2 * (QUANT_NONE + 1); i++) {
            quant_type_t type = (quant_type_t)(i / 8);
            size_t n = counts[i / 2 % 4];
            qweight_t w = {.type = type, .double_quant = i % 2 && quant_can_nest(type), .rows = 1, .cols = n};
            backend_t *be = open_backend(seed);
            bf16_t *x = random_values(i, n);
            w.codes = be->alloc(be, quant_code_bytes(type, n), MEM_DEVICE);
            w.absmax = be->alloc(be, quant_blocks(n) * sizeof(float), MEM_DEVICE);
            w.absmax_q = be->alloc(be, quant_blocks(n), MEM_DEVICE);
            w.nested_absmax = be->alloc(be, quant_nested_blocks(n) * sizeof(float), MEM_DEVICE);
            quantize_pieces(be, 100 * seed + i, &w, x, w.absmax, 3 * STAGE);
            if (w.double_quant) be->quantize_constants(be, &w, w.absmax);
            check_weight(be, &w, x);
            void *places[] = {w.codes, w.absmax, w.absmax_q, w.nested_absmax};
            for (size_t k = 0; k < 4; k++) be->free(be, places[k], MEM_DEVICE);
            be->close(be);
            free(x);
        }
}

/* ---- the loader ------------------------------------------------------------------------------------------- */

static void check_tensor(backend_t *be, const model_source_t *src, const char *name, const qweight_t *w) {
    err_t err = {0};
    const source_tensor_t *t = model_source_find(src, name);
    assert_non_null(t);
    size_t n = t->rows * t->cols;
    bf16_t *x = xmalloc(n * sizeof *x);
    assert_ok(source_read(src, t, 0, n, DT_BF16, x, &err), err);
    check_weight(be, w, x);
    free(x);
}

/* Rows that are longer than a piece (down_proj), many short ones, and pieces that end within a row. */
static void test_loader(void **state) {
    (void)state;
    static const struct {
        quant_type_t type;
        bool double_quant;
    } cases[] = {{QUANT_NF4, true}, {QUANT_INT8, false}, {QUANT_NONE, false}};
    const char *dir = test_tmpdir();
    model_source_t *src;
    err_t err = {0};
    made_model_write(
        dir,
        &(made_model_t){.vocab = 333, .hidden = 72, .ffn = STAGE / 2 + 1040, .layers = 1, .heads = 2, .kv_heads = 1});
    assert_ok(model_source_open(dir, &src, &err), err);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        backend_t *be = open_backend(1);
        model_t m;
        pool_t pool, count = pool_counting(be);
        model_init(&m, model_source_config(src), be, cases[i].type, cases[i].double_quant, 8);
        model_place(&m, 0, 0, &count);
        assert_ok(pool_open(&pool, be, count.used, &err), err);
        model_place(&m, 0, 0, &pool);
        assert_ok(model_load(&m, src, &err), err);
        for (int k = 0; k < LINEAR_SLOTS; k++) {
            char name[96];
            snprintf(name, sizeof name, "model.layers.0.%s.weight", arch_linear(&archs[0], k)->hf);
            assert_true(m.layers[0].w[k].type == cases[i].type);
            check_tensor(be, src, name, &m.layers[0].w[k]);
        }
        check_tensor(be, src, "model.embed_tokens.weight", &m.embed);
        check_tensor(be, src, "lm_head.weight", &m.head);
        model_free(&m);
        pool_close(&pool);
        be->close(be);
    }
    model_source_close(src);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_uploads),
        cmocka_unit_test(test_abandoned),
#if defined(TEST_BACKEND) && !defined(__SANITIZE_ADDRESS__)
        cmocka_unit_test(test_not_copied),
#endif
        cmocka_unit_test(test_quantize),
        cmocka_unit_test(test_loader),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
