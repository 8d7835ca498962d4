/* `export --gguf` and `--gguf-lora` of checkpoints that the program itself trained. */
#include "testing.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "program.h"
#include "trained.h"
#include "trainer/export/gguf_lora.h"

static char *in(const char *dir, const char *name) { return (char *)(uintptr_t)test_keep(path_join(dir, name)); }

static gguf_t *open_gguf(const char *path) {
    err_t err = {0};
    gguf_t *g = NULL;
    assert_ok(gguf_open(path, &g, &err), err);
    return g;
}

/* ---- what the program writes -------------------------------------------------------------------------------- */

static void assert_only(const char *dir, const char *a, const char *b) {
    DIR *d = opendir(dir);
    for (struct dirent *e; (e = readdir(d));)
        if (e->d_name[0] != '.' && strcmp(e->d_name, a) != 0 && strcmp(e->d_name, b) != 0)
            fail_msg("%s: left there: %s", dir, e->d_name);
    closedir(d);
}

/* The GGUF has, to the bit, what the directory has: both are read through their own reader, which puts rows into the
 * same order. */
static void check_merged(const trained_t *t, const char *dtype, dtype_t type) {
    err_t err = {0};
    const char *work = test_tmpdir(), *dir = in(work, "hf"), *file = in(work, "m.gguf");
    EXPECT_RUN(0, "merged onto the original weights", "export", t->checkpoint, "--merged", dir, "--dtype", dtype);
    EXPECT_RUN(0, "of the adapter's change arrived", "export", t->checkpoint, "--gguf", file, "--dtype", dtype);
    model_source_t *a = open_source(dir), *b = open_source(file);
    assert_int_equal(model_source_count(a), model_source_count(b));
    for (size_t i = 0; i < model_source_count(a); i++) {
        const source_tensor_t *x = model_source_at(a, i), *y = model_source_at(b, i);
        size_t n = x->rows * x->cols;
        float *u = xmalloc(n * sizeof *u), *v = xmalloc(n * sizeof *v);
        assert_ok(source_read(a, x, 0, n, DT_F32, u, &err) || source_read(b, y, 0, n, DT_F32, v, &err), err);
        assert_string_equal(x->name, y->name);
        assert_int_equal(y->type, tensor_is_vector(y->role) ? DT_F32 : type);
        assert_memory_equal(u, v, n * sizeof *u);
        free(u);
        free(v);
    }
    model_source_close(a);
    model_source_close(b);
}

static void test_merged(void **state) {
    (void)state;
    check_merged(&tied, "bf16", DT_BF16);
    check_merged(&plain, "f16", DT_F16);
}

/* The rows of Q are where llama.cpp's RoPE looks for them, and the base's other values as they are. */
static void test_row_order(void **state) {
    (void)state;
    err_t err = {0};
    const char *file = in(test_tmpdir(), "m.gguf");
    EXPECT_RUN(0, "merged", "export", plain.checkpoint, "--gguf", file);
    gguf_t *g = open_gguf(file);
    model_source_t *src = open_source(plain.model), *merged = open_source(file);
    const source_tensor_t *q = model_source_find(merged, "model.layers.1.self_attn.q_proj.weight");
    const gguf_tensor_t *stored = gguf_find(g, "blk.1.attn_q.weight");
    size_t d = model_source_config(src)->head_dim;
    assert_true(q && stored && stored->type == GGML_BF16 && d >= 4);
    bf16_t *row = xmalloc(q->cols * sizeof *row);
    for (size_t r = 0; r < q->rows; r++) {
        size_t head = r / d, in_head = r % d,
               at = head * d + (in_head < d / 2 ? 2 * in_head : 2 * (in_head - d / 2) + 1);
        assert_ok(source_read(merged, q, r * q->cols, q->cols, DT_BF16, row, &err), err);
        assert_memory_equal(row, stored->data + at * q->cols * 2, q->cols * 2);
    }
    free(row);
    assert_non_null(gguf_find(g, "output.weight"));
    model_source_close(src);
    model_source_close(merged);
    gguf_close(g);
}

/* The norms of a GGUF are F32; in a bitsandbytes checkpoint they have the type of its other weights, as transformers
 * leaves them as they are. */
static void test_quantized(void **state) {
    (void)state;
    const char *work = test_tmpdir(), *file = in(work, "m.gguf"), *out = in(work, "nf4");
    EXPECT_RUN(0, "merged", "export", plain.checkpoint, "--gguf", file, "--dtype", "bf16");
    EXPECT_RUN(0, "linear parameters in nf4", "quantize", file, out);
    model_source_t *src = open_source(file), *quantized = open_source(out);
    size_t norms = 0;
    for (size_t i = 0; i < model_source_count(src); i++) {
        const source_tensor_t *from = model_source_at(src, i), *to = model_source_find(quantized, from->name);
        if (from->role != TENSOR_NORM) continue;
        assert_true(to && from->type == DT_F32 && to->type == DT_BF16);
        norms++;
    }
    assert_true(norms > 0);
    model_source_close(quantized);
    model_source_close(src);
}

static void test_q8_0_export(void **state) {
    (void)state;
    const char *work = test_tmpdir(), *file = in(work, "m.gguf");
    EXPECT_RUN(0, "merged onto the dequantized weights", "export", plain.checkpoint, "--gguf", file, "--dtype", "q8_0",
               "--base", "dequantized");
    gguf_t *g = open_gguf(file);
    uint64_t type;
    assert_true(gguf_get_uint(g, "general.file_type", &type) && type == 7);
    assert_int_equal(gguf_find(g, "blk.0.ffn_up.weight")->type, GGML_Q8_0);
    assert_int_equal(gguf_find(g, "blk.0.ffn_norm.weight")->type, GGML_F32);
    gguf_close(g);
    assert_only(work, "m.gguf", "Modelfile");
    file = in(test_tmpdir(), "m.gguf");
    EXPECT_RUN(0, "F16 instead", "export", tied.checkpoint, "--gguf", file, "--dtype", "q8_0");
    g = open_gguf(file);
    assert_null(gguf_find(g, "output.weight"));
    gguf_close(g);
}

/* ---- adapter ---- */

static void test_lora(void **state) {
    (void)state;
    const char *work = test_tmpdir(), *file = in(work, "a.gguf");
    EXPECT_RUN(0, "read back and equal", "export", tied.checkpoint, "--gguf-lora", file);
    assert_only(work, "a.gguf", "Modelfile");
    gguf_t *g = open_gguf(file);
    model_source_t *src = open_source(tied.model);
    const model_config_t *c = model_source_config(src);
    lora_t lora;
    double alpha;
    gguf_str_t s;
    float *master = read_adapter(tied.checkpoint, c, &lora);
    assert_true(gguf_get_float(g, "adapter.lora.alpha", &alpha) && alpha == 8);
    assert_true(gguf_get_str(g, "general.type", &s) && s.len == 7 && !memcmp(s.p, "adapter", 7));
    assert_true(gguf_get_str(g, "general.architecture", &s) && s.len == 5 && !memcmp(s.p, "llama", 5));
    assert_int_equal(gguf_tensor_count(g), lora.n_tensors);
    for (size_t i = 0; i < lora.n_tensors; i++) {
        static const char *const names[] = {"attn_q",   "attn_k", "attn_v",  "attn_output",
                                            "ffn_gate", "ffn_up", "ffn_down"};
        const lora_tensor_t *t = &lora.tensors[i];
        size_t d = t->is_b && t->slot <= LIN_K ? c->head_dim : 0;
        char *name = xasprintf("blk.%zu.%s.weight.lora_%c", t->layer, names[t->slot], t->is_b ? 'b' : 'a');
        const gguf_tensor_t *got = gguf_find(g, name);
        assert_true(got && got->rows == t->rows && got->cols == t->cols && got->type == GGML_F32);
        for (size_t r = 0; r < t->rows; r++) {
            size_t k = d ? r % d : 0, at = d ? r - k + (k < d / 2 ? 2 * k : 2 * (k - d / 2) + 1) : r;
            assert_memory_equal(got->data + at * t->cols * 4, master + t->offset + r * t->cols, t->cols * 4);
        }
        free(name);
    }
    free(master);
    lora_free(&lora);
    model_source_close(src);
    gguf_close(g);
}

/* llama.cpp computes alpha / r, and 1 for an alpha of 0; that is the scale that was trained. */
static void test_scales(void **state) {
    (void)state;
    static const struct {
        double alpha;
        bool rslora;
        double times; /* of one layer's alpha, as a pattern has it */
        double file_alpha, b;
    } cases[] = {{8, false, 1, 8, 1},   {8, true, 1, 16, 1}, {6, true, 1, 12, 1},
                 {-3, false, 1, -3, 1}, {0, false, 1, 1, 0}, {8, false, 2.5, 8, 2.5}};
    err_t err = {0};
    model_source_t *src = open_source(tied.model);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *file = in(test_tmpdir(), "a.gguf");
        lora_t lora;
        float *master = read_adapter(tied.checkpoint, model_source_config(src), &lora);
        lora_spec_t spec = {.r = lora.spec.r, .alpha = cases[i].alpha, .rslora = cases[i].rslora, .f32 = true};
        lora_spec_fill(&spec, model_source_config(src), (1u << LINEAR_SLOTS) - 1);
        lora_rank(&spec, 0, LIN_DOWN)->alpha *= cases[i].times;
        lora_free(&lora);
        lora_init(&lora, model_source_config(src), &spec);
        assert_ok(gguf_lora_write(file, &lora, master, &err) || gguf_lora_check(file, &lora, master, &err), err);
        gguf_t *g = open_gguf(file);
        const gguf_tensor_t *b = gguf_find(g, "blk.0.ffn_down.weight.lora_b");
        double alpha;
        assert_true(gguf_get_float(g, "adapter.lora.alpha", &alpha) && alpha == cases[i].file_alpha);
        for (size_t k = 0; k < lora.n_tensors; k++) {
            const lora_tensor_t *t = &lora.tensors[k];
            if (t->layer != 0 || t->slot != LIN_DOWN || !t->is_b) continue;
            for (size_t j = 0; j < t->rows * t->cols; j++) {
                float got;
                memcpy(&got, b->data + 4 * j, 4);
                assert_true(got == (float)cases[i].b * master[t->offset + j]);
            }
            master[t->offset] += 1;
        }
        /* Another value is found, but where it is multiplied by 0. */
        assert_int_equal(gguf_lora_check(file, &lora, master, &err), cases[i].b == 0 ? 0 : 1);
        err = (err_t){0};
        gguf_close(g);
        lora_free(&lora);
        free(master);
    }
    model_source_close(src);
}

/* ---- the head ---- */

/* The checkpoint of a step on a model with an adapter of the head. */
static const char *trained_head(const char *model) {
    err_t err = {0};
    const char *work = test_tmpdir(), *config = in(work, "c.yaml");
    char *yaml = xasprintf("model: {path: %s}\nlora: {r: 4, target_modules: [q_proj, lm_head]}\n"
                           "data: {train: %s/batch.jsonl, format: tokens, max_length: 64}\n"
                           "training: {output_dir: run, max_steps: 1, learning_rate: 1e-2}\ndevice: {backend: cpu}\n",
                           model, model);
    assert_ok(file_write(config, yaml, strlen(yaml), &err), err);
    free(yaml);
    EXPECT_RUN(0, "done: the adapter is in", config);
    return in(work, "run/checkpoint-1");
}

static void test_head(void **state) {
    (void)state;
    const char *checkpoint = trained_head(plain.model), *work = test_tmpdir();
    const char *file = in(work, "a.gguf"), *merged = in(work, "m.gguf"), *apart = in(work, "apart.gguf");
    EXPECT_RUN(0, "read back and equal", "export", checkpoint, "--gguf-lora", file);
    gguf_t *g = open_gguf(file);
    assert_non_null(gguf_find(g, "output.weight.lora_a"));
    assert_non_null(gguf_find(g, "output.weight.lora_b"));
    gguf_close(g);
    EXPECT_RUN(0, "merged onto", "export", checkpoint, "--gguf", merged);
    /* Where the head is the embedding it becomes a tensor of its own, which an adapter of llama.cpp cannot make. */
    checkpoint = trained_head(tied.model);
    EXPECT_RUN(2, "cannot adapt a head that is the embedding", "export", checkpoint, "--gguf-lora", in(work, "b.gguf"));
    EXPECT_RUN(0, "merged onto", "export", checkpoint, "--gguf", apart);
    g = open_gguf(apart);
    const gguf_tensor_t *embedding = gguf_find(g, "token_embd.weight"), *head = gguf_find(g, "output.weight");
    assert_true(embedding && head && embedding->bytes == head->bytes);
    assert_memory_not_equal(embedding->data, head->data, head->bytes);
    gguf_close(g);
    assert_false(path_exists(in(work, "b.gguf")));
}

/* ---- a GGUF as the base ---- */

static void test_gguf_base(void **state) {
    (void)state;
    const char *base = test_path("golden/arch-gguf/llama-rope-llama3.gguf");
    err_t err = {0};
    const char *work = test_tmpdir(), *config = in(work, "c.yaml"), *checkpoint = in(work, "run/checkpoint-1");
    char *yaml = xasprintf("model: {path: %s}\nlora: {r: 4}\ndata: {train: %s, format: tokens, max_length: 64}\n"
                           "training: {output_dir: run, max_steps: 1, learning_rate: 1e-3}\ndevice: {backend: cpu}\n",
                           base, test_path("golden/arch/llama-rope-llama3/batch.jsonl"));
    assert_ok(file_write(config, yaml, strlen(yaml), &err), err);
    free(yaml);
    EXPECT_RUN(0, "done: the adapter is in", config);
    const char *file = in(work, "m.gguf"), *lora = in(work, "a.gguf");
    char *text = NULL;
    size_t len;
    EXPECT_RUN(0, "merged", "export", checkpoint, "--gguf", file, "--dtype", "f16");
    gguf_t *a = open_gguf(base), *b = open_gguf(file);
    assert_int_equal(gguf_tensor_count(a), gguf_tensor_count(b));
    const char *kept[] = {"rope_freqs.weight", "blk.0.attn_norm.weight", "token_embd.weight"};
    for (int i = 0; i < 3; i++) {
        const gguf_tensor_t *x = gguf_find(a, kept[i]), *y = gguf_find(b, kept[i]);
        assert_true(x && y && x->type == y->type && x->bytes == y->bytes && !memcmp(x->data, y->data, x->bytes));
    }
    assert_int_equal(gguf_find(b, "blk.0.attn_q.weight")->type, GGML_F16);
    double theta, same;
    assert_true(gguf_get_float(a, "llama.rope.freq_base", &theta) && gguf_get_float(b, "llama.rope.freq_base", &same));
    assert_true(theta == same);
    gguf_close(a);
    gguf_close(b);
    assert_int_equal(remove(in(work, "Modelfile")), 0);
    EXPECT_RUN(0, "read back and equal", "export", checkpoint, "--gguf-lora", lora);
    assert_ok(file_read(in(work, "Modelfile"), &text, &len, &err), err);
    assert_non_null(strstr(text, "FROM /"));
    assert_non_null(strstr(text, "llama-rope-llama3.gguf\nADAPTER ./a.gguf\n"));
    free(text);
}

/* ---- what goes wrong ---- */

static void test_errors(void **state) {
    (void)state;
    err_t err = {0};
    const char *work = test_tmpdir(), *file = in(work, "m.gguf"), *model = in(work, "Modelfile");
    char *text;
    size_t len;
    EXPECT_RUN(2, "--dtype: f32; expected auto, bf16, f16 or q8_0", "export", plain.checkpoint, "--gguf", file,
               "--dtype", "f32");
    EXPECT_RUN(2, "--dtype: q8_0; expected auto, bf16, f16 or f32", "export", plain.checkpoint, "--merged", file,
               "--dtype", "q8_0");
    EXPECT_RUN(2, "--dtype is of a merged model", "export", plain.checkpoint, "--gguf-lora", file, "--dtype", "bf16");
    EXPECT_RUN(2, "--gguf-lora and --gguf: both", "export", plain.checkpoint, "--gguf", file, "--gguf-lora", file);
    EXPECT_RUN(2, "a directory; expected a file", "export", plain.checkpoint, "--gguf-lora", in(work, "sub/"));
    assert_only(work, "", "");
    assert_ok(file_write(model, "mine", 4, &err), err);
    EXPECT_RUN(0, "Modelfile: exists already, and stays as it is", "export", plain.checkpoint, "--gguf-lora", file);
    assert_ok(file_read(model, &text, &len, &err), err);
    assert_string_equal(text, "mine");
    free(text);
    EXPECT_RUN(2, "m.gguf: exists already; expected a name that is free", "export", plain.checkpoint, "--gguf", file);
    assert_only(work, "m.gguf", "Modelfile");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_merged),      cmocka_unit_test(test_row_order), cmocka_unit_test(test_quantized),
        cmocka_unit_test(test_q8_0_export), cmocka_unit_test(test_lora),      cmocka_unit_test(test_scales),
        cmocka_unit_test(test_head),        cmocka_unit_test(test_gguf_base), cmocka_unit_test(test_errors),
    };
    return cmocka_run_group_tests(tests, train_both, free_both);
}
