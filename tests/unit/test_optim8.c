/* 8-bit AdamW against bitsandbytes (six steps on two tensors), its size, and its place in a checkpoint. */
#include "testing.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "cpu/ops.h"
#include "tiny.h"
#include "trainer/run/checkpoint.h"

enum { STEPS = 6 };

/* The tensors of the golden file, as adapters one after another in the flat vector: the one that ends in a short
 * block first, so that blocks have to begin anew at the other. */
typedef struct {
    const char *name;
    size_t n;
} golden_tensor_t;
static const golden_tensor_t golden_tensors[] = {{"odd", 4099}, {"even", 4096}};
enum { N_TENSORS = sizeof golden_tensors / sizeof *golden_tensors, COUNT = 4099 + 4096 };

static safetensors_t *open_golden(void) {
    safetensors_t *st;
    err_t err = {0};
    assert_ok(safetensors_open(test_path("golden/optim8/adamw8bit.safetensors"), &st, &err), err);
    return st;
}

static const st_tensor_t *find(const safetensors_t *st, const char *tensor, const char *what, int step) {
    char name[64];
    if (step) snprintf(name, sizeof name, "%s.%s%d", tensor, what, step);
    else snprintf(name, sizeof name, "%s.%s", tensor, what);
    const st_tensor_t *t = safetensors_find(st, name);
    if (!t) fail_msg("no %s in the golden file", name);
    return t;
}

/* "TENSOR.what[step]" of all tensors, one after another: the bytes, or BF16 as fp32. */
static void *gather(const safetensors_t *st, const char *what, int step) {
    uint8_t *all = xmalloc(COUNT * sizeof(float));
    size_t at = 0;
    for (int i = 0; i < N_TENSORS; i++) {
        const st_tensor_t *t = find(st, golden_tensors[i].name, what, step);
        if (t->dtype != DT_BF16) memcpy(all + at, t->data, t->bytes);
        for (size_t k = 0; t->dtype == DT_BF16 && k < t->bytes / 2; k++) {
            bf16_t h;
            memcpy(&h, t->data + 2 * k, sizeof h);
            float x = bf16_to_f32(h);
            memcpy(all + at + k * sizeof x, &x, sizeof x);
        }
        at += t->dtype == DT_BF16 ? 2 * t->bytes : t->bytes;
    }
    return all;
}

static void test_maps(void **state) {
    (void)state;
    safetensors_t *st = open_golden();
    const st_tensor_t *with_sign = safetensors_find(st, "signed_map"), *without = safetensors_find(st, "unsigned_map");
    assert_true(with_sign && with_sign->bytes == 256 * sizeof(float) && without && without->bytes == with_sign->bytes);
    assert_memory_equal(quant_dynamic_signed()->value, with_sign->data, with_sign->bytes);
    assert_memory_equal(quant_dynamic_unsigned()->value, without->data, without->bytes);
    safetensors_close(st);
}

/* ---- six steps ------------------------------------------------------------------------------------------ */

/* An optimizer over the golden tensors, without a model. */
typedef struct {
    backend_t *be;
    lora_tensor_t tensors[N_TENSORS];
    lora_t lora;
    optimizer_t opt;
    pool_t pool;
} rig_t;

/* kernels NULL: the reference ops. */
static void open_rig(rig_t *r, const cpu_kernels_t *kernels, const safetensors_t *st) {
    err_t err = {0};
    *r = (rig_t){0};
    assert_ok(backend_open_cpu(DT_F32, 2, kernels == NULL, &r->be, &err), err);
    if (kernels) ((cpu_impl_t *)r->be->impl)->kernels = kernels;
    r->lora = (lora_t){.spec.f32 = true, .tensors = r->tensors, .n_tensors = N_TENSORS};
    for (int i = 0; i < N_TENSORS; i++) {
        r->tensors[i] = (lora_tensor_t){.offset = r->lora.count, .rows = golden_tensors[i].n, .cols = 1};
        r->lora.count += golden_tensors[i].n;
    }
    assert_int_equal(r->lora.count, COUNT);
    assert_ok(pool_open(&r->pool, r->be, 1 << 20, &err), err);
    lora_place(&r->lora, &r->pool, true);
    optimizer_place(&r->opt, OPTIMIZER_8BIT, &r->lora, SIZE_MAX, &r->pool);
    assert_ok(optimizer_open(&r->opt, &r->lora, &r->pool, r->pool.used, NULL, &err), err);
    float *start = gather(st, "start", 0);
    lora_upload(&r->lora, r->be, start);
    free(start);
}

static void close_rig(rig_t *r) {
    optimizer_free(&r->opt);
    pool_close(&r->pool);
    r->be->close(r->be);
}

/* Elements of a state array that differ from the golden ones of that step. */
static size_t differing(rig_t *r, state_array_t which, const safetensors_t *st, const char *what, int step) {
    const optimizer_array_t *a = &r->opt.arrays[which];
    size_t size = dtype_size(a->dtype), n = 0;
    uint8_t *want = gather(st, what, step), *got = xmalloc(a->count * size);
    optimizer_read(&r->opt, which, 0, a->count, got);
    for (size_t i = 0; i < a->count; i++) n += memcmp(got + i * size, want + i * size, size) != 0;
    free(want);
    free(got);
    return n;
}

static double worst_parameter(const rig_t *r, const safetensors_t *st, int step) {
    float *want = gather(st, "after", step), *got = xmalloc(COUNT * sizeof *got);
    double worst = 0;
    r->be->download(r->be, got, r->lora.master, COUNT * sizeof *got);
    for (size_t i = 0; i < COUNT; i++) worst = fmax(worst, fabs((double)got[i] - want[i]));
    free(want);
    free(got);
    return worst;
}

static void six_steps(const cpu_kernels_t *kernels) {
    static const struct {
        state_array_t array;
        const char *name;
    } states[] = {{STATE_M, "m"}, {STATE_V, "v"}, {STATE_M_ABSMAX, "m_absmax"}, {STATE_V_ABSMAX, "v_absmax"}};
    const optimizer_hyper_t h = {
        .lr = 1e-3f, .lr_b = 1e-3f, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8f, .weight_decay = 0.01f};
    safetensors_t *st = open_golden();
    double worst = 0, norm;
    rig_t r;
    open_rig(&r, kernels, st);
    for (int step = 1; step <= STEPS; step++) {
        float *grad = gather(st, "grad", step);
        r.be->upload(r.be, r.lora.grad, grad, COUNT * sizeof *grad);
        free(grad);
        assert_true(optimizer_step(&r.opt, &r.lora, r.be, &h, 0, &norm));
        for (int i = 0; i < STATE_ARRAYS; i++) {
            size_t n = differing(&r, states[i].array, st, states[i].name, step);
            if (n) fail_msg("%s, step %d: %zu of %s differ", r.be->device, step, n, states[i].name);
        }
        if (step == 1 || step == STEPS) worst = fmax(worst, worst_parameter(&r, st, step));
    }
    print_message("%s: 0 of %d codes and 0 of %zu constants differ after each of %d steps; parameters within %.1e\n",
                  kernels ? kernels->isa : "reference", 2 * COUNT, 2 * r.opt.n_blocks, STEPS, worst);
    assert_true(worst <= 2e-8);
    close_rig(&r);
    safetensors_close(st);
}

static void test_golden(void **state) {
    (void)state;
    six_steps(NULL);
    for (int i = 0; kernels_nth(i); i++) six_steps(kernels_nth(i));
}

/* ---- the state of a run --------------------------------------------------------------------------------- */

/* Rank 16 on every linear layer of a model of SmolLM2-135M's shape. */
static void test_size(void **state) {
    (void)state;
    const model_config_t c = {
        .arch = &archs[0], .layers = 30, .hidden = 576, .heads = 9, .kv_heads = 3, .head_dim = 64, .ffn = 1536};
    lora_spec_t spec = {.r = 16, .alpha = 16};
    lora_spec_fill(&spec, &c, ~0u);
    lora_t lora;
    lora_init(&lora, &c, &spec);
    double bytes[2];
    for (int kind = OPTIMIZER_32BIT; kind <= OPTIMIZER_8BIT; kind++) {
        backend_t be = {.act = DT_F32};
        pool_t pool = pool_counting(&be);
        optimizer_t opt;
        optimizer_place(&opt, (optimizer_kind_t)kind, &lora, SIZE_MAX, &pool);
        bytes[kind] = (double)pool.bytes[POOL_OPTIMIZER] / (double)lora.count;
        optimizer_free(&opt);
    }
    print_message("state of %zu parameters: %.4f bytes each in 32 bits, %.4f in 8\n", lora.count, bytes[0], bytes[1]);
    assert_true(bytes[OPTIMIZER_32BIT] >= 8 && bytes[OPTIMIZER_32BIT] < 8.001);
    assert_true(bytes[OPTIMIZER_8BIT] >= 2 && bytes[OPTIMIZER_8BIT] < 2.1);
    lora_free(&lora);
}

static void train(tiny_t *t, int steps) {
    const optimizer_hyper_t h = {
        .lr = 5e-3f, .lr_b = 5e-3f, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8f, .max_grad_norm = 0.3};
    for (int i = 0; i < steps; i++) {
        double loss, norm;
        t->be->zero(t->be, t->lora.grad, t->lora.count * sizeof(float));
        model_train(&t->model, &t->acts, &t->batch, (pass_seed_t){1, 0}, 1.0f / (float)t->batch.n_labels, &loss);
        assert_true(optimizer_step(&t->opt, &t->lora, t->be, &h, 0, &norm));
    }
}

static void open_tiny(tiny_t *t, optimizer_kind_t kind) {
    tiny_open(t, &(tiny_spec_t){.arch = "llama-gqa-tied-odd",
                                .quant = QUANT_NF4,
                                .double_quant = true,
                                .act = DT_F32,
                                .n_kept = SIZE_MAX,
                                .optimizer = kind});
}

static void assert_same_state(tiny_t *a, tiny_t *b) {
    assert_int_equal(a->opt.t, b->opt.t);
    assert_int_equal(a->opt.n_arrays, STATE_ARRAYS);
    for (size_t i = 0; i < a->opt.n_arrays; i++) {
        size_t n = a->opt.arrays[i].count, bytes = n * dtype_size(a->opt.arrays[i].dtype);
        uint8_t *state = xmalloc(2 * bytes);
        optimizer_read(&a->opt, (state_array_t)i, 0, n, state);
        optimizer_read(&b->opt, (state_array_t)i, 0, n, state + bytes);
        assert_memory_equal(state, state + bytes, bytes);
        free(state);
    }
    assert_memory_equal(a->lora.master, b->lora.master, a->lora.count * sizeof(float));
}

/* From a checkpoint in between, the same bits; and 32-bit moments are not mistaken for 8-bit ones. */
static void test_checkpoint(void **state) {
    (void)state;
    tiny_t whole, second, other;
    err_t err = {0};
    train_state_t s = {.step = 3, .adam_t = 3};
    open_tiny(&whole, OPTIMIZER_8BIT);
    train(&whole, 3);
    const char *run = test_tmpdir();
    assert_ok(checkpoint_save(run, &s, &whole.lora, &whole.opt, whole.be,
                              &(checkpoint_about_t){"lora: {}\n", "base", NULL, {0}}, (checkpoint_keep_t){0}, &err),
              err);
    char *dir;
    assert_ok(checkpoint_newest(run, &dir, &err), err);
    assert_non_null(dir);

    open_tiny(&second, OPTIMIZER_8BIT);
    assert_ok(checkpoint_load(dir, &s, &second.lora, &second.opt, second.be, &err), err);
    assert_same_state(&whole, &second);
    train(&whole, 3);
    train(&second, 3);
    assert_same_state(&whole, &second);

    open_tiny(&other, OPTIMIZER_32BIT);
    assert_error(checkpoint_load(dir, &s, &other.lora, &other.opt, other.be, &err), err, ERR_USAGE,
                 "exp_avg is missing or not");
    tiny_close(&whole);
    tiny_close(&second);
    tiny_close(&other);
    free(dir);
}

/* Without a gradient and without decay nothing moves, whatever the code of a zero is. */
static void test_no_gradient(void **state) {
    (void)state;
    safetensors_t *st = open_golden();
    const optimizer_hyper_t h = {.lr = 1e-3f, .lr_b = 1e-3f, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8f};
    rig_t r;
    double norm;
    open_rig(&r, kernels_best(), st);
    r.be->zero(r.be, r.lora.grad, COUNT * sizeof(float));
    for (int i = 0; i < 2; i++) assert_true(optimizer_step(&r.opt, &r.lora, r.be, &h, 0, &norm));
    float *start = gather(st, "start", 0);
    assert_memory_equal(r.lora.master, start, COUNT * sizeof *start);
    free(start);
    close_rig(&r);
    safetensors_close(st);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_maps),       cmocka_unit_test(test_golden),      cmocka_unit_test(test_size),
        cmocka_unit_test(test_checkpoint), cmocka_unit_test(test_no_gradient),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
