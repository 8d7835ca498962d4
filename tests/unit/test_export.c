/* `export` of checkpoints that the program itself trained: the adapter, and the merged model value by value. */
#include "testing.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "program.h"
#include "trained.h"

/* The names in a directory, hidden ones too, are these and no others. */
static void assert_names(const char *dir, const char *const *want, size_t n) {
    DIR *d = opendir(dir);
    assert_non_null(d);
    size_t found = 0;
    for (struct dirent *e; (e = readdir(d));) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
        bool known = false;
        for (size_t i = 0; i < n; i++) known |= !strcmp(e->d_name, want[i]);
        if (!known) fail_msg("%s: left there: %s", dir, e->d_name);
        found++;
    }
    closedir(d);
    assert_int_equal(found, n);
}

#define NAMES(dir, ...) \
    assert_names(dir, (const char *const[]){__VA_ARGS__}, sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *))

static bool same_file(const char *a_dir, const char *b_dir, const char *name) {
    err_t err = {0};
    char *a = path_join(a_dir, name), *b = path_join(b_dir, name), *x, *y;
    size_t n, m;
    assert_ok(file_read(a, &x, &n, &err) || file_read(b, &y, &m, &err), err);
    bool same = n == m && !memcmp(x, y, n);
    free(a), free(b), free(x), free(y);
    return same;
}

/* ---- adapter -------------------------------------------------------------------------------------------- */

/* The exported values are the masters of the checkpoint, which are fp32 whatever the adapter's type. */
static void check_adapter(const trained_t *t, bool f32) {
    err_t err = {0};
    const char *work = test_tmpdir();
    char *out = path_join(work, "adapter"), *optimizer = path_join(t->checkpoint, "optimizer.safetensors");
    EXPECT_RUN(0, "read back and equal", "export", t->checkpoint, "--adapter", out);
    NAMES(work, "adapter");
    NAMES(out, "adapter_config.json", "adapter_model.safetensors");
    model_source_t *src = open_source(t->model);
    lora_t lora;
    float *got = read_adapter(out, model_source_config(src), &lora);
    assert_true(lora.spec.f32 == f32 && lora.spec.r == 4 && lora.spec.alpha == 8 && !lora.spec.rslora);
    safetensors_t *st = NULL;
    assert_ok(safetensors_open(optimizer, &st, &err), err);
    const st_tensor_t *master = safetensors_find(st, "master");
    assert_int_equal(master->bytes, lora.count * sizeof(float));
    size_t trained = 0, inexact = 0;
    for (size_t i = 0; i < lora.n_tensors; i++)
        for (size_t k = 0; k < lora.tensors[i].rows * lora.tensors[i].cols; k++) {
            float want;
            memcpy(&want, master->data + (lora.tensors[i].offset + k) * sizeof want, sizeof want);
            float value = got[lora.tensors[i].offset + k];
            assert_true(value == (f32 ? want : bf16_round(want)));
            inexact += value != want;
            trained += lora.tensors[i].is_b && value != 0;
        }
    assert_true(trained > lora.count / 4);
    assert_true(f32 ? inexact == 0 : inexact > lora.count / 2);
    assert_true(same_file(out, t->checkpoint, "adapter_model.safetensors"));
    safetensors_close(st);
    lora_free(&lora);
    free(got);
    model_source_close(src);
    free(out);
    free(optimizer);
}

static void test_adapter(void **state) {
    (void)state;
    check_adapter(&tied, true);
    check_adapter(&plain, false);
}

/* ---- merged model --------------------------------------------------------------------------------------- */

/* What the quantized model has in place of W, by the reference codec. */
static void quantize_and_back(const bf16_t *w, size_t n, float *out) {
    qweight_t q = {.type = QUANT_NF4, .double_quant = true, .rows = 1, .cols = n};
    float *absmax = xmalloc(quant_blocks(n) * sizeof *absmax);
    q.codes = xmalloc(quant_code_bytes(q.type, n));
    q.absmax_q = xmalloc(quant_blocks(n));
    q.nested_absmax = xmalloc(quant_nested_blocks(n) * sizeof(float));
    quant_encode(q.type, w, DT_BF16, n, q.codes, absmax);
    quant_encode_constants(absmax, quant_blocks(n), q.absmax_q, q.nested_absmax, &q.nested_offset);
    quant_decode(&q, 0, n, out);
    free(absmax), free(q.codes), free(q.absmax_q), free(q.nested_absmax);
}

/* The distance between the BF16 neighbours of x. */
static double bf16_step(double x) {
    int e;
    frexp(x, &e);
    return ldexp(1, e - 8);
}

/* Over all elements: how far the merged values are from W + s B A, and how much of the change arrived. */
typedef struct {
    size_t n, moved, small; /* moved: of another value than the base's; small: changed by less than half a step */
    double error, variance; /* in steps; variance: of the sum, if the rounding is unbiased */
    double along, along_var, delta2; /* Σ (got - w) d, its variance, Σ d² */
} merge_stats_t;

static void add_weight(merge_stats_t *s, const float *w, const float *A, const float *B, const lora_t *lora,
                       const bf16_t *got, size_t rows, size_t cols) {
    size_t r = lora->spec.r;
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < cols; j++) {
            double d = 0, base = w[i * cols + j], value = bf16_to_f32(got[i * cols + j]);
            for (size_t k = 0; k < r; k++) d += (double)lora_scale(lora, 0, LIN_Q) * B[i * r + k] * A[k * cols + j];
            double x = base + d, step = bf16_step(x), slack = 4e-7 * (fabs(base) + fabs(d));
            if (!(fabs(value - x) <= step + slack))
                fail_msg("[%zu,%zu]: %.9g, expected a neighbour of %.9g + %.9g", i, j, value, base, d);
            double f = x / step - floor(x / step);
            s->n++;
            s->moved += value != base;
            s->small += fabs(d) < step / 2;
            s->error += (x < 0 ? x - value : value - x) / step; /* towards or away from zero */
            s->variance += f * (1 - f);
            s->along += (value - base) * d;
            s->along_var += step * step * f * (1 - f) * d * d;
            s->delta2 += d * d;
        }
}

static merge_stats_t check_weights(const trained_t *t, const char *out, bool dequantized) {
    model_source_t *base = open_source(t->model), *merged = open_source(out);
    lora_t lora;
    float *master = read_adapter(t->checkpoint, model_source_config(base), &lora);
    merge_stats_t s = {0};
    size_t linear = 0;
    for (size_t i = 0; i < lora.n_tensors; i++) {
        const lora_tensor_t *b = &lora.tensors[i], *a = NULL;
        if (!b->is_b) continue;
        for (size_t k = 0; k < lora.n_tensors; k++) {
            const lora_tensor_t *x = &lora.tensors[k];
            if (!x->is_b && x->layer == b->layer && x->slot == b->slot) a = x;
        }
        char name[96];
        size_t n, same;
        snprintf(name, sizeof name, "model.layers.%zu.%s.weight", b->layer, arch_linear(&archs[0], b->slot)->hf);
        bf16_t *w = read_bf16(base, name, &n), *got = read_bf16(merged, name, &same);
        float *wide = xmalloc(n * sizeof *wide);
        assert_int_equal(n, same);
        for (size_t k = 0; k < n; k++) wide[k] = bf16_to_f32(w[k]);
        if (dequantized) quantize_and_back(w, n, wide);
        add_weight(&s, wide, master + a->offset, master + b->offset, &lora, got, b->rows, a->cols);
        free(w), free(got), free(wide);
        linear++;
    }
    assert_int_equal(linear, lora.layers * LINEAR_SLOTS);
    lora_free(&lora);
    free(master);
    model_source_close(base);
    model_source_close(merged);
    return s;
}

/* Embedding, norms and head are the base's bits; a tied model stays tied; nothing else is in the file. */
static void check_others(const trained_t *t, const char *out) {
    model_source_t *base = open_source(t->model), *merged = open_source(out);
    err_t err = {0};
    safetensors_t *st = NULL;
    char *path = path_join(out, "model.safetensors");
    assert_ok(safetensors_open(path, &st, &err), err);
    free(path);
    assert_int_equal(st->n_tensors, model_source_count(base));
    assert_int_equal(model_source_config(merged)->tied, model_source_config(base)->tied);
    assert_int_equal(safetensors_find(st, "lm_head.weight") == NULL, model_source_config(base)->tied);
    size_t others = 0;
    for (size_t i = 0; i < st->n_tensors; i++) {
        assert_int_equal(st->tensors[i].dtype, DT_BF16);
        if (strstr(st->tensors[i].name, "_proj")) continue;
        size_t n, m;
        bf16_t *a = read_bf16(base, st->tensors[i].name, &n), *b = read_bf16(merged, st->tensors[i].name, &m);
        assert_int_equal(n, m);
        assert_memory_equal(a, b, n * sizeof *a);
        free(a);
        free(b);
        others++;
    }
    assert_int_equal(others, 6 + !model_source_config(base)->tied);
    safetensors_close(st);
    model_source_close(base);
    model_source_close(merged);
    assert_true(same_file(out, t->model, "generation_config.json"));
}

static void check_merged(const trained_t *t, const char *which) {
    const char *work = test_tmpdir();
    char *out = path_join(work, "merged");
    bool dequantized = !strcmp(which, "dequantized");
    EXPECT_RUN(0, dequantized ? "merged onto the dequantized weights" : "merged onto the original weights", "export",
               t->checkpoint, "--merged", out, "--base", which);
    NAMES(work, "merged");
    NAMES(out, "config.json", "generation_config.json", "model.safetensors");
    merge_stats_t s = check_weights(t, out, dequantized);
    double z = s.error / sqrt(s.variance), slope = s.along / s.delta2, slope_dev = sqrt(s.along_var) / s.delta2;
    print_message("%s, %s: %zu values, mean error %.5f steps (%.1f deviations), %.3f of the change arrived (+-%.3f)\n",
                  strrchr(t->model, '/') + 1, which, s.n, s.error / (double)s.n, z, slope, slope_dev);
    assert_true(fabs(z) < 5);
    assert_true(slope_dev < 0.1 && fabs(slope - 1) < 5 * slope_dev);
    assert_true(s.moved > s.n / 20 && s.small > s.n / 2);
    check_others(t, out);
    free(out);
}

static void test_merged(void **state) {
    (void)state;
    check_merged(&tied, "original");
    check_merged(&tied, "dequantized");
    check_merged(&plain, "original");
    check_merged(&plain, "dequantized");
}

/* ---- what is refused ------------------------------------------------------------------------------------ */

static void test_existing(void **state) {
    (void)state;
    err_t err = {0};
    const char *work = test_tmpdir(), *const options[] = {"--adapter", "--merged"};
    char *out = path_join(work, "mine"), *file = path_join(out, "notes.txt");
    assert_ok(dir_make(out, &err), err);
    assert_ok(file_write(file, "x", 1, &err), err);
    for (size_t i = 0; i < 2; i++) {
        EXPECT_RUN(2, "/mine: exists already", "export", tied.checkpoint, options[i], out);
        NAMES(out, "notes.txt");
        NAMES(work, "mine");
    }
    for (size_t i = 0; i < 2; i++) EXPECT_RUN(2, "is empty", "export", tied.checkpoint, options[i], "");
    char *both = path_join(work, "both");
    EXPECT_RUN(2, "expected two names", "export", tied.checkpoint, "--adapter", both, "--merged", both);
    NAMES(work, "mine");
    free(both);
    free(out);
    free(file);
}

/* What happens to lie beside the result stays; missing parents are made; the mode is what the umask leaves. */
static void test_place(void **state) {
    (void)state;
    err_t err = {0};
    struct stat st;
    const char *work = test_tmpdir();
    char *beside = path_join(work, "deep/er/out.qlora-tmp"), *file = path_join(beside, "notes.txt");
    char *out = path_join(work, "deep/er/out"), *parent = path_join(work, "deep/er");
    char *fresh = path_join(work, "new/a/");
    assert_ok(dir_make(beside, &err), err);
    assert_ok(file_write(file, "x", 1, &err), err);
    mode_t before = umask(027);
    EXPECT_RUN(0, "read back and equal", "export", tied.checkpoint, "--adapter", out);
    EXPECT_RUN(0, "read back and equal", "export", tied.checkpoint, "--adapter", fresh);
    umask(before);
    NAMES(parent, "out", "out.qlora-tmp");
    NAMES(beside, "notes.txt");
    assert_int_equal(stat(out, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0750);
    assert_int_equal(stat(fresh, &st), 0);
    free(beside), free(file), free(out), free(parent), free(fresh);
}

static void copy_files(const char *from, const char *to, const char *const *names, size_t n) {
    err_t err = {0};
    assert_ok(dir_make(to, &err), err);
    for (size_t i = 0; i < n; i++) {
        char *a = path_join(from, names[i]), *b = path_join(to, names[i]);
        assert_ok(file_copy(a, b, &err), err);
        free(a);
        free(b);
    }
}

#define COPY(from, to, ...) \
    copy_files(from, to, (const char *const[]){__VA_ARGS__}, sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *))

static void test_damaged(void **state) {
    (void)state;
    static const char *const damaged[] = {"adapter_model.safetensors", "optimizer.safetensors", "config.yaml"};
    err_t err = {0};
    for (size_t i = 0; i < sizeof damaged / sizeof *damaged; i++) {
        const char *work = test_tmpdir();
        char *copy = path_join(work, "checkpoint-4"), *file = path_join(copy, damaged[i]), *data;
        char *out = path_join(work, "out"), *text = xasprintf("%s: the checksum does not hold", damaged[i]);
        size_t n;
        COPY(tied.checkpoint, copy, "adapter_config.json", "adapter_model.safetensors", "optimizer.safetensors",
             "trainer_state.json", "config.yaml", "checksums.json");
        assert_ok(file_read(file, &data, &n, &err), err);
        data[n / 2] ^= 1;
        assert_ok(file_write(file, data, n, &err), err);
        EXPECT_RUN(2, text, "export", copy, "--adapter", out);
        EXPECT_RUN(2, text, "export", copy, "--merged", out);
        NAMES(work, "checkpoint-4");
        free(copy), free(file), free(data), free(out), free(text);
    }
}

static void test_not_a_checkpoint(void **state) {
    (void)state;
    const char *work = test_tmpdir();
    char *out = path_join(work, "out"), *absent = path_join(work, "absent"), *adapter = path_join(tied.dir, "adapter");
    const char *const wrong[] = {work, absent, tied.dir, adapter, tied.model};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        EXPECT_RUN(2, "not a checkpoint (no config.yaml)", "export", wrong[i], "--merged", out);
    /* Near a run the message names what was meant. */
    char *hint = xasprintf("expected %s", tied.checkpoint), *gone = path_join(tied.dir, "checkpoint-9/");
    const char *const near[] = {tied.dir, adapter, gone};
    for (size_t i = 0; i < sizeof near / sizeof *near; i++) EXPECT_RUN(2, hint, "export", near[i], "--merged", out);
    EXPECT_RUN(2, "expected a directory output_dir/checkpoint-N", "export", absent, "--merged", out);
    free(hint), free(gone);
    EXPECT_RUN(2, "expected CHECKPOINT_DIR", "export", tied.checkpoint);
    EXPECT_RUN(2, "--base: got \"nearest\"; expected original or dequantized", "export", tied.checkpoint, "--merged",
               out, "--base", "nearest");
    EXPECT_RUN(2, "--dtype is of a merged model; expected --merged DIR", "export", tied.checkpoint, "--adapter", out,
               "--dtype", "f16");
    assert_false(path_exists(out));
    free(out), free(absent), free(adapter);
}

/* Keys that do not define the run may be given anew; the limits of the training are no limits of an export. */
static void test_overrides(void **state) {
    (void)state;
    err_t err = {0};
    const char *work = test_tmpdir(), *model = test_tmpdir();
    char *out = path_join(work, "out"), *moved = xasprintf("model.path=%s", model);
    char *other = xasprintf("model.path=%s", plain.model);
    COPY(tied.model, model, "config.json", "generation_config.json", "model.safetensors");
    EXPECT_RUN(0, "merged onto the original weights", "export", tied.checkpoint, "--merged", out, moved,
               "device.threads=2", "device.memory_limit=12MiB");
    assert_ok(dir_remove(out, &err), err);
    EXPECT_RUN(2, "not the model that", "export", tied.checkpoint, "--merged", out, other);
    EXPECT_RUN(2, "not the model that", "export", tied.checkpoint, "--adapter", out, other);
    EXPECT_RUN(2, "checking the merged model: the model does not fit: it needs ", "export", tied.checkpoint, "--merged",
               out, "device.memory_limit=64KiB");
    EXPECT_RUN(2, "command line: lora.r: the run was trained with what the checkpoint says", "export", tied.checkpoint,
               "--merged", out, "lora.r=4");
    EXPECT_RUN(2, "lora.rank: unknown key", "export", tied.checkpoint, "--merged", out, "lora.rank=4");
    EXPECT_RUN(2, "device.backend: got \"auto\"; an export computes on the CPU", "export", tied.checkpoint, "--merged",
               out, "device.backend=auto");
    EXPECT_RUN(2, "unexpected argument \"device.threads\"", "export", tied.checkpoint, "--merged", out,
               "device.threads");
    assert_names(work, NULL, 0);
    free(out), free(moved), free(other);

    /* Trained under a limit, and with a spill directory, that are not there any more. */
    const char *spill = test_tmpdir();
    char *device = xasprintf(", memory_limit: 9MiB, spill: %s", spill);
    trained_t limited = trained_on(tied.model, "f32", device);
    assert_true(same_file(limited.checkpoint, tied.checkpoint, "adapter_model.safetensors"));
    assert_ok(dir_remove(spill, &err), err);
    out = path_join(work, "limited");
    EXPECT_RUN(0, "merged onto", "export", limited.checkpoint, "--merged", out);
    trained_free(&limited);
    free(out), free(device);
}

/* A base that is quantized already has no original weights. */
static void test_quantized_base(void **state) {
    (void)state;
    const char *work = test_tmpdir();
    char *out = path_join(work, "merged");
    trained_t t = trained_on(test_path("golden/tiny/llama-mha/bnb4"), "bf16", NULL);
    EXPECT_RUN(2, "expected --base dequantized", "export", t.checkpoint, "--merged", out);
    assert_names(work, NULL, 0);
    EXPECT_RUN(0, "merged onto the dequantized weights", "export", t.checkpoint, "--merged", out, "--base",
               "dequantized");
    /* The same weights, quantized beforehand or while loading: the same merged bits. */
    char *other = path_join(work, "other");
    EXPECT_RUN(0, "merged onto", "export", plain.checkpoint, "--merged", other, "--base", "dequantized");
    assert_true(same_file(t.checkpoint, plain.checkpoint, "adapter_model.safetensors"));
    assert_true(same_file(out, other, "model.safetensors"));
    trained_free(&t);
    free(out);
    free(other);
}

/* ---- shards --------------------------------------------------------------------------------------------- */

/* The tied model in two files, every second tensor in each. */
static void write_shards(const char *dir, const char *model) {
    static const char *const names[] = {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"};
    err_t err = {0};
    char *path = path_join(model, "model.safetensors");
    safetensors_t *st = NULL;
    assert_ok(safetensors_open(path, &st, &err), err);
    free(path);
    json_t *map = json_object();
    for (size_t shard = 0; shard < 2; shard++) {
        st_writer_t *w = st_writer_new();
        for (size_t i = shard; i < st->n_tensors; i += 2) {
            const st_tensor_t *t = &st->tensors[i];
            st_writer_declare(w, t->name, t->dtype, t->n_dims, t->shape);
            json_object_set_new(map, t->name, json_string(names[shard]));
        }
        path = path_join(dir, names[shard]);
        assert_ok(st_writer_begin(w, path, &err), err);
        for (size_t i = 0; shard + 2 * i < st->n_tensors; i++) {
            const st_tensor_t *t = &st->tensors[shard + 2 * st_writer_order(w, i)];
            assert_ok(st_writer_data(w, t->data, t->bytes, &err), err);
        }
        assert_ok(st_writer_finish(w, &err), err);
        free(path);
    }
    json_t *index = json_pack("{s:{s:i}, s:o}", "metadata", "total_size", 0, "weight_map", map);
    path = path_join(dir, "model.safetensors.index.json");
    assert_ok(json_write(path, index, &err), err);
    json_decref(index);
    free(path);
    safetensors_close(st);
    COPY(model, dir, "config.json", "generation_config.json");
}

/* A model in parts, and with a second chat template, which goes along. */
static void test_sharded_base(void **state) {
    (void)state;
    err_t err = {0};
    const char *dir = test_tmpdir(), *work = test_tmpdir(), *tool_use = "additional_chat_templates/tool_use.jinja";
    char *a = path_join(work, "a"), *b = path_join(work, "b");
    char *folder = path_join(dir, "additional_chat_templates"), *file = path_join(dir, tool_use);
    write_shards(dir, tied.model);
    assert_ok(dir_make(folder, &err) || file_write(file, "{{ 1 }}", 7, &err), err);
    trained_t t = trained_on(dir, "f32", NULL);
    assert_true(same_file(t.checkpoint, tied.checkpoint, "adapter_model.safetensors"));
    assert_true(same_file(t.checkpoint, tied.checkpoint, "optimizer.safetensors"));
    EXPECT_RUN(0, "merged onto", "export", t.checkpoint, "--merged", a);
    EXPECT_RUN(0, "merged onto", "export", tied.checkpoint, "--merged", b);
    NAMES(a, "additional_chat_templates", "config.json", "generation_config.json", "model.safetensors");
    assert_true(same_file(a, dir, tool_use));
    assert_true(same_file(a, b, "model.safetensors"));
    assert_true(same_file(a, b, "config.json"));
    trained_free(&t);
    free(folder);
    free(file);
    free(a);
    free(b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_adapter),          cmocka_unit_test(test_merged),
        cmocka_unit_test(test_existing),         cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_not_a_checkpoint), cmocka_unit_test(test_quantized_base),
        cmocka_unit_test(test_sharded_base),     cmocka_unit_test(test_place),
        cmocka_unit_test(test_overrides),
    };
    return cmocka_run_group_tests(tests, train_both, free_both);
}
