/* What the CUDA backend does around its ops: opening, memory, copies, lanes, and linear layers whose weights arrive
 * while others run. On the emulated GPU, whose streams run as late or as early as a seed says. */
#include "testing.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "cpu/act.h"
#include "host/control.h"
#include "model/backend/element.h"
#include "ops_rig.h"
#include "trainer/run/backend_open.h"

enum { SEEDS = 8 };

static backend_t *open_seeded(dtype_t act, unsigned seed) {
    backend_t *be;
    err_t err = {0};
    cuda_host_seed(seed);
    assert_ok(backend_open_cuda(act, HOST_ALONE, &be, &err), err);
    return be;
}

static void close_backend(backend_t *be) {
    be->close(be);
    assert_int_equal(cuda_host_used_memory(), 0);
}

static uint8_t *random_bytes(uint64_t key, size_t n) {
    uint8_t *p = xmalloc(n);
    for (size_t i = 0; i < n; i++) p[i] = (uint8_t)rng_fold(key, i);
    return p;
}

/* ---- opening --------------------------------------------------------------------------------------------- */

static void test_open(void **state) {
    (void)state;
    backend_t *be = open_seeded(DT_BF16, 1);
    assert_string_equal(be->name, "cuda");
    assert_int_equal(be->act, DT_BF16);
    size_t free_bytes, total;
    be->mem_info(be, &free_bytes, &total);
    assert_true(free_bytes > 0 && free_bytes < total);
    close_backend(be);

    err_t err = {0};
    assert_ok(backend_open("auto", DT_COUNT, 0, HOST_ALONE, &be, &err), err);
    assert_string_equal(be->name, "cuda");
    assert_int_equal(be->act, DT_BF16);
    be->close(be);
    assert_error(backend_open_cuda(DT_F16, HOST_ALONE, &be, &err), err, ERR_USAGE, "bf16 or f32");
}

static const struct {
    int count, major, minor, driver;
    const char *message;
} unusable[] = {
    {0, 0, 0, 13000, "no NVIDIA GPU"},
    {1, 9, 0, 0, "no NVIDIA driver on this machine; expected one for CUDA 13.0"},
    {1, 9, 0, 12040, "driver is for CUDA 12.4; expected one for 13.0"},
    {1, 7, 5, 13000, "has compute capability 7.5; expected 8.0"},
};

/* Which process of a host takes which GPU, of those that it sees. */
static void test_device_of_share(void **state) {
    (void)state;
    static const struct {
        int index, count;
        const char *sees, *id;
    } taken[] = {
        {0, 1, "0,1,2,3", "GPU-656d756c-6174-6564-2030-000000000000"},
        {0, 4, "0,1,2,3", "GPU-656d756c-6174-6564-2030-000000000000"},
        {3, 4, "0,1,2,3", "GPU-656d756c-6174-6564-2033-000000000000"},
        {1, 2, "2,3", "GPU-656d756c-6174-6564-2033-000000000000"}, /* of CUDA_VISIBLE_DEVICES */
        {3, 4, "3", "GPU-656d756c-6174-6564-2033-000000000000"},   /* a launcher that shows each its own */
        {1, 2, "0", "GPU-656d756c-6174-6564-2030-000000000000"},   /* and one that shows all the same */
    };
    backend_t *be;
    err_t err = {0};
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++) {
        const host_share_t share = {taken[i].index, taken[i].count, 0};
        cuda_host_see_devices(taken[i].sees);
        assert_ok(backend_open_cuda(DT_F32, share, &be, &err), err);
        assert_string_equal(be->device_id, taken[i].id);
        float *x = be->alloc(be, 4, MEM_DEVICE); /* on that device: the emulator looks */
        be->free(be, x, MEM_DEVICE);
        close_backend(be);
    }
    cuda_host_see_devices("0,1,2");
    assert_error(backend_open("cuda", DT_COUNT, 0, (host_share_t){3, 4, 1}, &be, &err), err, ERR_USAGE,
                 "process 3 of 4 on this host (counted from 0) sees 3 GPUs; expected one for each: start 3 processes "
                 "here, or let them see more (CUDA_VISIBLE_DEVICES, srun --gpus-per-node)");
    cuda_host_see_devices("0");
    assert_ok(backend_open_cpu(DT_F32, 1, true, &be, &err), err);
    assert_string_equal(be->device_id, "");
    assert_null(be->join_id);
    be->close(be);
}

static void test_no_usable_gpu(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof unusable / sizeof *unusable; i++) {
        backend_t *be = NULL;
        err_t err = {0};
        cuda_host_set_device(unusable[i].count, unusable[i].major, unusable[i].minor, unusable[i].driver);
        assert_error(backend_open("cuda", DT_COUNT, 0, HOST_ALONE, &be, &err), err, ERR_USAGE, unusable[i].message);
        err = (err_t){0};
        assert_ok(backend_open("auto", DT_COUNT, 0, HOST_ALONE, &be, &err), err);
        assert_string_equal(be->name, "cpu");
        be->close(be);
    }
    cuda_host_set_device(1, 9, 0, 13000);
}

static const struct {
    const char *library, *message;
} no_cublas[] = {
    {"/nowhere/libcublasLt.so.13", "cuBLAS cannot be loaded: /nowhere/libcublasLt.so.13: cannot open shared object "
                                   "file: No such file or directory; expected cuBLAS 13 on this machine"},
    {"libm.so.6", "undefined symbol: cublasLtCreate"},
};

/* The library is missing, or is another. */
static void test_no_cublas(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof no_cublas / sizeof *no_cublas; i++) {
        backend_t *be = NULL;
        err_t err = {0};
        cuda_host_set_cublas(no_cublas[i].library);
        assert_error(backend_open("cuda", DT_COUNT, 0, HOST_ALONE, &be, &err), err, ERR_USAGE, no_cublas[i].message);
        assert_int_equal(strncmp(err.msg, "device.backend: cuda: ", 22), 0);
        assert_int_equal(cuda_host_used_memory(), 0);
        err = (err_t){0};
        assert_ok(backend_open("auto", DT_COUNT, 0, HOST_ALONE, &be, &err), err);
        assert_string_equal(be->name, "cpu");
        assert_non_null(strstr(be->no_gpu, no_cublas[i].message));
        be->close(be);
    }
    cuda_host_set_cublas(NULL);
    close_backend(open_seeded(DT_BF16, 1));
}

/* A full GPU: each allocation of opening fails once. */
static void test_open_without_memory(void **state) {
    (void)state;
    for (unsigned n = 1; n <= 2; n++) {
        backend_t *be;
        err_t err = {0};
        cuda_host_fail_allocation(n);
        assert_error(backend_open_cuda(DT_BF16, HOST_ALONE, &be, &err), err, ERR_FAILED, "out of memory");
        assert_int_equal(cuda_host_used_memory(), 0);
    }
    close_backend(open_seeded(DT_BF16, 1));
}

/* ---- memory and copies ----------------------------------------------------------------------------------- */

static void test_alloc(void **state) {
    (void)state;
    backend_t *be = open_seeded(DT_F32, 1);
    size_t free_bytes, total;
    be->mem_info(be, &free_bytes, &total);
    assert_null(be->alloc(be, total, MEM_DEVICE));
    float *x = be->alloc(be, 1000, MEM_DEVICE), one = 1, back = 0; /* and a failure leaves nothing behind */
    be->zero(be, x, 1000);
    be->upload(be, x, &one, sizeof one);
    be->add(be, x, x, x, 250);
    be->download(be, &back, x, sizeof back);
    assert_true(back == 2);
    void *pinned = be->alloc(be, 1000, MEM_PINNED), *none = be->alloc(be, 0, MEM_DEVICE);
    assert_true(pinned && none);
    be->free(be, none, MEM_DEVICE);
    be->free(be, pinned, MEM_PINNED);
    be->free(be, NULL, MEM_DEVICE);
    be->free(be, x, MEM_DEVICE);
    close_backend(be);
}

/* What is uploaded may be overwritten at once, however long the copy takes; large and small ones take turns. */
static void test_upload(void **state) {
    (void)state;
    static const size_t sizes[] = {1, 3, 700, 40000, 32768, 65536, 1, 500000, 20000};
    enum { N = sizeof sizes / sizeof *sizes, ROUNDS = 60, MOST = 500000 };
    for (unsigned seed = 1; seed <= SEEDS; seed++) {
        backend_t *be = open_seeded(DT_F32, seed);
        uint8_t *want[N], *src = xmalloc(MOST), *back = xmalloc(MOST);
        void *place[N];
        for (size_t i = 0; i < N; i++) place[i] = be->alloc(be, sizes[i], MEM_DEVICE);
        for (size_t round = 0; round < ROUNDS; round++) {
            size_t i = round % N;
            uint8_t *bytes = random_bytes(seed * 100 + round, sizes[i]);
            memcpy(src, bytes, sizes[i]);
            be->upload(be, place[i], src, sizes[i]);
            memset(src, 0xee, sizes[i]);
            if (round >= N) free(want[i]);
            want[i] = bytes;
        }
        for (size_t i = 0; i < N; i++) {
            be->download(be, back, place[i], sizes[i]);
            assert_memory_equal(back, want[i], sizes[i]);
            be->free(be, place[i], MEM_DEVICE);
            free(want[i]);
        }
        free(src);
        free(back);
        close_backend(be);
    }
}

/* More uploads than staging has pieces, none of which has run when the last is queued. */
static void test_many_uploads(void **state) {
    (void)state;
    enum { N = 1000 };
    for (unsigned seed = 1; seed <= SEEDS; seed++) {
        backend_t *be = open_seeded(DT_F32, seed);
        int32_t *x = be->alloc(be, N * sizeof *x, MEM_DEVICE), back[N];
        for (int32_t i = 0; i < N; i++) be->upload(be, &x[i], &i, sizeof i);
        be->download(be, back, x, sizeof back);
        for (int32_t i = 0; i < N; i++) assert_int_equal(back[i], i);
        be->free(be, x, MEM_DEVICE);
        close_backend(be);
    }
}

/* ---- lanes ------------------------------------------------------------------------------------------------- */

/* Values travel in, through an op and out, through fewer places than values: every hand-over is a ticket. */
static void test_tickets(void **state) {
    (void)state;
    enum { N = 200, PLACES = 3, EACH = 500 };
    for (unsigned seed = 1; seed <= SEEDS; seed++) {
        backend_t *be = open_seeded(DT_F32, seed);
        float *in = be->alloc(be, N * EACH * sizeof *in, MEM_PINNED), *place[PLACES];
        float *out = be->alloc(be, N * EACH * sizeof *out, MEM_PINNED);
        ticket_t left[PLACES] = {0};
        rig_normal(seed, in, N * EACH, 1);
        for (size_t i = 0; i < PLACES; i++) place[i] = be->alloc(be, EACH * sizeof(float), MEM_DEVICE);
        for (size_t i = 0; i < N; i++) {
            float *x = place[i % PLACES];
            be->wait(be, LANE_IN, left[i % PLACES]);
            be->copy_in(be, x, in + i * EACH, EACH * sizeof *x);
            be->wait(be, LANE_COMPUTE, be->mark(be, LANE_IN));
            be->add(be, x, x, x, EACH);
            be->wait(be, LANE_OUT, be->mark(be, LANE_COMPUTE));
            be->copy_out(be, out + i * EACH, x, EACH * sizeof *x);
            left[i % PLACES] = be->mark(be, LANE_OUT);
        }
        be->sync(be);
        for (size_t i = 0; i < N * EACH; i++) assert_true(out[i] == 2 * in[i]);
        double seconds = be->stalled(be);
        assert_true(seconds >= 0 && seconds < 60);
        assert_true(be->stalled(be) == 0);
        for (size_t i = 0; i < PLACES; i++) be->free(be, place[i], MEM_DEVICE);
        be->free(be, in, MEM_PINNED);
        be->free(be, out, MEM_PINNED);
        close_backend(be);
    }
}

/* A ticket serves long after its lane has given out others. */
static void test_old_ticket(void **state) {
    (void)state;
    for (unsigned seed = 1; seed <= SEEDS; seed++) {
        backend_t *be = open_seeded(DT_F32, seed);
        float *host = be->alloc(be, 4000, MEM_PINNED), *x = be->alloc(be, 4000, MEM_DEVICE), back;
        for (int i = 0; i < 1000; i++) host[i] = 3;
        be->zero(be, x, 4000);
        be->wait(be, LANE_IN, be->mark(be, LANE_COMPUTE));
        be->copy_in(be, x, host, 4000);
        ticket_t t = be->mark(be, LANE_IN);
        for (int i = 0; i < 1000; i++) be->mark(be, LANE_IN);
        be->wait(be, LANE_COMPUTE, (ticket_t){0});
        be->wait(be, LANE_COMPUTE, be->mark(be, LANE_COMPUTE));
        be->wait(be, LANE_COMPUTE, t);
        be->add(be, x, x, x, 1000);
        be->download(be, &back, x + 999, sizeof back);
        assert_true(back == 6);
        be->free(be, host, MEM_PINNED);
        be->free(be, x, MEM_DEVICE);
        close_backend(be);
    }
}

/* ---- linear layers -------------------------------------------------------------------------------------------- */

enum { LAYERS = 12, WIDTH = 96, TOKENS = 5, RANK = 4, N_ADAPTER = RANK * WIDTH, N_BLOCKS = 3 };
static const size_t COUNT = (size_t)WIDTH * WIDTH, BYTES = (size_t)WIDTH * WIDTH / 2;

/* How the adapter becomes another before each layer. */
typedef enum { CONSTANT, UPLOADED, COPIED, ZEROED, CAST, STEPPED, STEPPED_8BIT } change_t;

/* NF4 weights of constants 0.1, codes given, and an adapter; y of each layer is x of the next, u or du behind it. */
typedef struct {
    backend_t *be;
    rig_t rig;
    float *x[2]; /* [TOKENS, ld] */
    size_t ld;
    qweight_t w; /* where a layer's codes are expected */
    linear_t l;
    change_t change;
    size_t every;                  /* layers with the same codes */
    void *adapter;                 /* A and B, one after another; of l.ab_type */
    float *master, *state, *grads; /* fp32, of STEPPED; both moments; gradients or values of all layers */
    size_t *blocks;                /* of 8-bit moments */
} chain_t;

static uint8_t *chain_codes(size_t layer) { return random_bytes(1000 + layer, BYTES); }

static void chain_open(chain_t *c, backend_t *be, change_t change, bool keep) {
    static const float absmax = 0.1f;
    size_t augmented = (WIDTH + RANK) * linear_ld(WIDTH, RANK), n = 2 * N_ADAPTER;
    const workspace_need_t need = {
        .max_tokens = TOKENS, .max_weight = COUNT, .max_augmented = augmented, .max_width = linear_ld(WIDTH, RANK)};
    float *constants = xmalloc(quant_blocks(COUNT) * sizeof *constants);
    for (size_t i = 0; i < quant_blocks(COUNT); i++) constants[i] = absmax;
    *c = (chain_t){.be = be, .ld = linear_ld(WIDTH, RANK), .change = change, .every = 1};
    rig_init(&c->rig, be, 7);
    rig_workspace(&c->rig, &need);
    for (int i = 0; i < 2; i++) c->x[i] = rig_random(&c->rig, DT_F32, TOKENS * c->ld, 1);
    c->w = (qweight_t){.type = QUANT_NF4, .rows = WIDTH, .cols = WIDTH};
    c->w.absmax = rig_upload(&c->rig, constants, quant_blocks(COUNT) * sizeof *constants);
    c->w.codes = rig_alloc(&c->rig, BYTES);
    free(constants);
    c->l = (linear_t){.n = 1, .ab_type = change == CAST ? DT_BF16 : DT_F32};
    c->master = rig_random(&c->rig, DT_F32, n, 0.1f);
    c->state = rig_random(&c->rig, DT_F32, 2 * n, 0.1f);
    be->zero(be, c->state, 2 * n * sizeof(float));
    c->grads = rig_random(&c->rig, DT_F32, LAYERS * n, 0.1f);
    size_t start[N_BLOCKS + 1];
    for (size_t i = 0; i <= N_BLOCKS; i++) start[i] = i * ADAMW_8BIT_BLOCK;
    c->blocks = rig_upload(&c->rig, start, sizeof start);
    c->adapter = change == CAST ? rig_random(&c->rig, DT_BF16, n, 0.1f) : c->master;
    const void *b = (unsigned char *)c->adapter + N_ADAPTER * dtype_size(c->l.ab_type);
    c->l.part[0] = (linear_part_t){.w = &c->w, .r = RANK, .scale = 1, .a = c->adapter, .b = b};
    if (keep) c->l.augmented = rig_alloc(&c->rig, augmented * sizeof(float));
}

/* The only op before a layer's own: nothing but the order of LANE_COMPUTE says when the adapter is ready. */
static void chain_change(chain_t *c, size_t layer) {
    enum { N = 2 * N_ADAPTER };
    const adamw_t h = {
        .lr = 0.03f, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8f, .c1 = 0.1f, .c2 = 0.001f, .grad_scale = 1};
    const adamw_8bit_state_t state = {(uint8_t *)c->state, (uint8_t *)c->state + N, c->state + N,
                                      c->state + N + N_BLOCKS, c->blocks};
    float values[N];
    rig_normal(500 + layer, values, N, 0.1f);
    if (c->change == UPLOADED) c->be->upload(c->be, c->adapter, values, sizeof values);
    if (c->change == COPIED) c->be->copy(c->be, c->adapter, c->grads + layer * N, sizeof values);
    if (c->change == ZEROED) c->be->zero(c->be, c->adapter, sizeof values * layer / LAYERS);
    if (c->change == CAST) c->be->cast(c->be, c->adapter, DT_BF16, c->grads + layer * N, DT_F32, N);
    if (c->change == STEPPED) c->be->adamw(c->be, c->master, c->grads + layer * N, c->state, c->state + N, N, &h);
    if (c->change == STEPPED_8BIT) c->be->adamw_8bit(c->be, c->master, c->grads + layer * N, &state, N_BLOCKS, &h);
}

static void chain_layer(chain_t *c, size_t layer) {
    backend_t *be = c->be;
    const mat_t x = {c->x[layer % 2], c->ld}, y = {c->x[(layer + 1) % 2], c->ld};
    const mat_t u = {c->x[(layer + 1) % 2] + WIDTH, c->ld};
    chain_change(c, layer);
    if (c->l.augmented) be->linear_cache(be, &c->l, layer % c->every == 0);
    if (layer % 3 == 1) {
        be->linear_bwd(be, TOKENS, x, &c->l, NULL, y); /* u of the layer before as du */
    } else {
        be->linear_fwd(be, TOKENS, x, &c->l, y);
        be->adapter_fwd(be, TOKENS, x, &c->l, NULL, u);
    }
}

/* What all layers give on the reference, against what they gave on c. */
static void chain_check(chain_t *c) {
    backend_t *be;
    err_t err = {0};
    chain_t want;
    assert_ok(backend_open_cpu(DT_F32, 1, true, &be, &err), err);
    chain_open(&want, be, c->change, false);
    for (size_t l = 0; l < LAYERS; l++) {
        uint8_t *codes = chain_codes(l - l % c->every);
        be->upload(be, want.w.codes, codes, BYTES);
        free(codes);
        chain_layer(&want, l);
    }
    const columns_t of_y = {DT_F32, TOKENS, 0, WIDTH, want.ld};
    rig_output_inner(&want.rig, want.x[LAYERS % 2], &of_y);
    rig_output_inner(&c->rig, c->x[LAYERS % 2], &of_y);
    assert_true(nmse(c->rig.out[0], want.rig.out[0], TOKENS * WIDTH) < 1e-10);
    rig_free(&want.rig);
    rig_free(&c->rig);
    be->close(be);
    close_backend(c->be);
}

/* Each layer's codes are uploaded to the same place, right before the layer. */
static void test_uploaded_weights(void **state) {
    (void)state;
    for (unsigned seed = 1; seed <= SEEDS; seed++) {
        chain_t c;
        chain_open(&c, open_seeded(DT_F32, seed), CONSTANT, false);
        for (size_t l = 0; l < LAYERS; l++) {
            uint8_t *codes = chain_codes(l);
            c.be->upload(c.be, c.w.codes, codes, BYTES);
            free(codes);
            chain_layer(&c, l);
        }
        chain_check(&c);
    }
}

/* All layers' codes, one after another. */
static uint8_t *chain_upload_all(chain_t *c) {
    uint8_t *all = rig_alloc(&c->rig, LAYERS * BYTES);
    for (size_t l = 0; l < LAYERS; l++) {
        uint8_t *codes = chain_codes(l);
        c->be->upload(c->be, all + l * BYTES, codes, BYTES);
        free(codes);
    }
    return all;
}

/* Nothing but the places in the workspace holds dequantization back. */
static void test_resident_weights(void **state) {
    (void)state;
    for (unsigned seed = 1; seed <= SEEDS; seed++) {
        chain_t c;
        chain_open(&c, open_seeded(DT_F32, seed), CONSTANT, false);
        uint8_t *all = chain_upload_all(&c);
        for (size_t l = 0; l < LAYERS; l++) {
            c.w.codes = all + l * BYTES;
            chain_layer(&c, l);
        }
        chain_check(&c);
    }
}

/* The adapter changes before each layer, the weights before some; made for each use or kept. What copies it beside
 * LANE_COMPUTE must neither be early, and see the one before, nor late, and see the next. */
static void check_changed_adapter(unsigned seed, change_t change, bool keep, size_t every) {
    chain_t c;
    chain_open(&c, open_seeded(DT_F32, seed), change, keep);
    uint8_t *all = chain_upload_all(&c);
    c.every = every;
    for (size_t l = 0; l < LAYERS; l++) {
        c.w.codes = all + (l - l % every) * BYTES;
        chain_layer(&c, l);
    }
    chain_check(&c);
}

static void test_changed_adapters(void **state) {
    (void)state;
    for (unsigned seed = 1; seed <= SEEDS; seed++) {
        for (change_t change = CONSTANT; change <= STEPPED_8BIT; change++) {
            check_changed_adapter(seed, change, false, 1);
            check_changed_adapter(seed, change, false, LAYERS);
            check_changed_adapter(seed, change, true, 4);
            check_changed_adapter(seed, change, true, LAYERS);
        }
    }
}

/* More rows than are masked at a time, in each of the ops that know dropout: the mask must be theirs, not that of the
 * first ones. */
static void check_dropout_by_pieces(dtype_t act) {
    enum { T = 700, C = 7000, KEPT = 2 }; /* 1/(1-p), exactly */
    static int32_t row[T], pos[T];
    static bf16_t zeros[C];
    backend_t *be = open_seeded(act, 1);
    rig_t r;
    const workspace_need_t need = {
        .max_tokens = T, .max_weight = C, .max_width = linear_ld(C, 1), .max_augmented = 2 * linear_ld(C, 1)};
    float *ones = xmalloc(T * C * sizeof *ones), *back = xmalloc(T * C * sizeof *back);
    float *counts = xcalloc(C, sizeof *counts);
    for (size_t i = 0; i < T * C; i++) ones[i] = 1;
    for (int t = 0; t < T; t++) row[t] = t / 64, pos[t] = t % 64;
    rig_init(&r, be, 1);
    rig_workspace(&r, &need);
    const dropout_t d = {.seed = 3,
                         .step = 1,
                         .p = 0.5f,
                         .row = rig_upload(&r, row, sizeof row),
                         .pos = rig_upload(&r, pos, sizeof pos)};
    const qweight_t w = {.type = QUANT_NONE, .rows = 1, .cols = C, .codes = rig_upload(&r, zeros, sizeof zeros)};
    void *x = rig_values(&r, act, ones, T * C), *dx = rig_alloc(&r, T * C * sizeof *back);
    void *u = rig_alloc(&r, T * sizeof *back);
    float *dA = rig_upload(&r, counts, C * sizeof *dA);
    const linear_t l = {.n = 1, .part = {{.w = &w, .r = 1, .scale = 1, .a = x, .b = x}}, .ab_type = act};
    be->adapter_fwd(be, T, (mat_t){x, C}, &l, &d, (mat_t){u, 1});
    be->linear_bwd(be, T, (mat_t){x, 2}, &l, &d, (mat_t){dx, C});
    be->adapter_grad(be, T, (mat_t){x, 1}, (mat_t){x, C}, &l, &d, dA);
    be->download(be, back, dx, T * C * dtype_size(act));
    for (size_t t = 0; t < T; t++) {
        uint64_t key = dropout_row_key(d.seed, d.step, row[t], pos[t], d.layer, d.site);
        float kept = 0;
        for (size_t c = 0; c < C; c++) {
            float m = dropout_keep(key, c, d.p) ? KEPT : 0;
            assert_true(act_get(back, act, t * C + c) == m);
            kept += m;
            counts[c] += m;
        }
        ones[t] = kept; /* on the host */
    }
    be->download(be, back, u, T * dtype_size(act));
    for (size_t t = 0; t < T; t++)
        assert_true(act_get(back, act, t) == (act == DT_BF16 ? bf16_round(ones[t]) : ones[t]));
    be->download(be, back, dA, C * sizeof *back);
    assert_memory_equal(back, counts, C * sizeof *back);
    free(ones);
    free(back);
    free(counts);
    rig_free(&r);
    close_backend(be);
}

static void test_dropout_by_pieces(void **state) {
    (void)state;
    check_dropout_by_pieces(DT_F32);
    check_dropout_by_pieces(DT_BF16);
}

/* Frozen weights that take turns in two places, as the pager has them: the copy waits for the layer that read the place
 * before, the layer waits for the copy, and dequantization may not run ahead of that. */
static void test_paged_weights(void **state) {
    (void)state;
    for (unsigned seed = 1; seed <= SEEDS; seed++) {
        chain_t c;
        chain_open(&c, open_seeded(DT_F32, seed), CONSTANT, false);
        backend_t *be = c.be;
        uint8_t *home = be->alloc(be, LAYERS * BYTES, MEM_PINNED);
        uint8_t *place[2] = {c.w.codes, rig_alloc(&c.rig, BYTES)};
        ticket_t read[2] = {0};
        for (size_t l = 0; l < LAYERS; l++) {
            uint8_t *codes = chain_codes(l);
            memcpy(home + l * BYTES, codes, BYTES);
            free(codes);
        }
        for (size_t l = 0; l < LAYERS; l++) {
            be->wait(be, LANE_IN, read[l % 2]);
            be->copy_in(be, place[l % 2], home + l * BYTES, BYTES);
            be->wait(be, LANE_COMPUTE, be->mark(be, LANE_IN));
            c.w.codes = place[l % 2];
            chain_layer(&c, l);
            read[l % 2] = be->mark(be, LANE_COMPUTE);
        }
        be->sync(be);
        be->free(be, home, MEM_PINNED);
        chain_check(&c);
    }
}

/* The workspace moves to where an op that is still queued has its values: dequantization may not run ahead of it. */
static void test_moved_workspace(void **state) {
    (void)state;
    for (unsigned seed = 1; seed <= SEEDS; seed++) {
        chain_t c;
        chain_open(&c, open_seeded(DT_F32, seed), CONSTANT, false);
        backend_t *be = c.be;
        size_t bytes = be->workspace_size, n = bytes / sizeof(float);
        float *region = rig_alloc(&c.rig, bytes), *copy = rig_alloc(&c.rig, bytes);
        float *host = xmalloc(bytes), *want = xmalloc(bytes);
        uint8_t *all = chain_upload_all(&c);
        rig_normal(3, want, n, 1);
        be->upload(be, region, want, bytes);
        for (size_t l = 0; l < LAYERS; l++) {
            if (l == LAYERS / 2) {
                be->add(be, copy, region, region, n);
                be->workspace = region;
            }
            c.w.codes = all + l * BYTES;
            chain_layer(&c, l);
        }
        be->download(be, host, copy, bytes);
        for (size_t i = 0; i < n; i++) assert_true(host[i] == 2 * want[i]);
        free(host);
        free(want);
        chain_check(&c);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_open),
        cmocka_unit_test(test_no_usable_gpu),
        cmocka_unit_test(test_device_of_share),
        cmocka_unit_test(test_no_cublas),
        cmocka_unit_test(test_open_without_memory),
        cmocka_unit_test(test_alloc),
        cmocka_unit_test(test_upload),
        cmocka_unit_test(test_many_uploads),
        cmocka_unit_test(test_tickets),
        cmocka_unit_test(test_old_ticket),
        cmocka_unit_test(test_uploaded_weights),
        cmocka_unit_test(test_resident_weights),
        cmocka_unit_test(test_changed_adapters),
        cmocka_unit_test(test_dropout_by_pieces),
        cmocka_unit_test(test_paged_weights),
        cmocka_unit_test(test_moved_workspace),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
