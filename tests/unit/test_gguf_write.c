/* Writing GGUF: the writer, metadata of every family, tokenizers. */
#include "testing.h"

#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "data/tokenizer/pretokenizer.h"
#include "data/tokenizer/tokenizer_gguf_write.h"
#include "model/gguf_config_write.h"
#include "model/formats/gguf_write.h"
#include "tokenizer_kinds.h"
#include "trained.h"

static char *in(const char *dir, const char *name) { return (char *)(uintptr_t)test_keep(path_join(dir, name)); }

static gguf_t *open_gguf(const char *path) {
    err_t err = {0};
    gguf_t *g = NULL;
    assert_ok(gguf_open(path, &g, &err), err);
    return g;
}

/* ---- the writer --------------------------------------------------------------------------------------------- */

static bool all_but_one(gguf_str_t key) { return !(key.len == 3 && !memcmp(key.p, "two", 3)); }

static void test_writer(void **state) {
    (void)state;
    err_t err = {0};
    const char *dir = test_tmpdir(), *path = in(dir, "a.gguf"), *copy = in(dir, "b.gguf");
    const float vector[3] = {1, -2, 3.5f};
    const uint16_t matrix[10] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
    gguf_writer_t *w = gguf_writer_new();
    gguf_put_str(w, "one", "text");
    gguf_put_u32(w, "two", 7);
    gguf_put_strs(w, "three", 2);
    gguf_add_str(w, "a", 1);
    gguf_add_str(w, "", 0);
    gguf_put_f32s(w, "four", 2);
    gguf_add_f32(w, 0.5f);
    gguf_add_f32(w, -1);
    gguf_put_bools(w, "five", 1);
    gguf_add_bool(w, true);
    gguf_put_i32s(w, "six", 1);
    gguf_add_i32(w, -3);
    gguf_put_f32(w, "seven", 0.25f);
    gguf_put_bool(w, "eight", false);
    gguf_writer_declare(w, "v", GGML_F32, 0, 3);
    gguf_writer_declare(w, "m", GGML_F16, 2, 5);
    assert_ok(gguf_writer_begin(w, path, &err), err);
    gguf_close(open_gguf(path)); /* whole in size before there is any data */
    assert_ok(gguf_writer_data(w, vector, 4, &err) || gguf_writer_data(w, vector + 1, 8, &err), err);
    assert_ok(gguf_writer_data(w, matrix, 20, &err) || gguf_writer_finish(w, &err), err);
    gguf_t *g = open_gguf(path);
    w = gguf_writer_new();
    gguf_put_all(w, g, all_but_one);
    assert_ok(gguf_writer_begin(w, copy, &err) || gguf_writer_finish(w, &err), err);
    const gguf_tensor_t *v = gguf_find(g, "v"), *m = gguf_find(g, "m");
    assert_true(v && v->rows == 1 && v->cols == 3 && !memcmp(v->data, vector, 12));
    assert_true(m && m->rows == 2 && m->cols == 5 && !memcmp(m->data, matrix, 20));
    for (int k = 0; k < 2; k++) {
        uint64_t u;
        double f;
        bool b = true;
        gguf_str_t s;
        int64_t i;
        assert_true(gguf_get_str(g, "one", &s) && s.len == 4 && !memcmp(s.p, "text", 4));
        assert_true(gguf_get_uint(g, "two", &u) == (k == 0));
        assert_true(gguf_array_len(g, "three") == 2 && gguf_array_str(g, "three", 1, &s) && s.len == 0);
        assert_true(gguf_array_float(g, "four", 1, &f) && f == -1);
        assert_true(gguf_array_bool(g, "five", 0, &b) && b && gguf_array_int(g, "six", 0, &i) && i == -3);
        assert_true(gguf_get_float(g, "seven", &f) && f == 0.25 && gguf_get_bool(g, "eight", &b) && !b);
        gguf_close(g);
        g = k == 0 ? open_gguf(copy) : NULL;
    }
}

static void test_writer_full_disk(void **state) {
    (void)state;
    err_t err = {0};
    gguf_writer_t *w = gguf_writer_new();
    gguf_put_u32(w, "a", 1);
    assert_error(gguf_writer_begin(w, "/dev/full", &err), err, 1, "/dev/full: cannot write");
    gguf_writer_abort(w);
    assert_true(path_exists("/dev/full"));
}

/* The bytes are gguf-py's, of gguf.quants.quantize(x, Q8_0). */
static void test_q8_0(void **state) {
    (void)state;
    static const uint8_t want[68] = {0x4d, 0x1e, 0x81, 0xdf, 0x3d, 0x9a, 0xf8, 0x56, 0xb4, 0x12, 0x70, 0xcd, 0x2b, 0x89,
                                     0xe7, 0x45, 0xa2, 0x00, 0x5e, 0xbb, 0x19, 0x77, 0xd5, 0x33, 0x90, 0xee, 0x4c, 0xaa,
                                     0x08, 0x66, 0xc3, 0x21, 0x7f, 0xdc, 0xde, 0x18, 0xd5, 0xd5, 0x01, 0x16, 0xab, 0xc1,
                                     0x01, 0x2d, 0x81, 0xeb, 0x02, 0x45, 0xd6, 0xd8, 0x05, 0x17, 0xad, 0xc5, 0x02, 0x30,
                                     0x85, 0xed, 0x05, 0x49, 0xd7, 0xda, 0x09, 0x19, 0xaf, 0xc9, 0x03, 0x32};
    float x[64], draw[64] = {0}, mean[64] = {0}, back[64];
    uint8_t got[68];
    for (int i = 0; i < 32; i++) x[i] = (float)((i * 37) % 101 - 50) / 64;
    for (int i = 0; i < 32; i++) x[32 + i] = (float)((i * 53) % 211 - 105) / 1024 * (float)(1 + i % 3);
    gguf_encode_q8_0(x, 64, NULL, got);
    assert_memory_equal(got, want, sizeof got);
    /* With draws that cover [0, 1) evenly the mean is the value. */
    gguf_tensor_t t = {.type = GGML_Q8_0, .rows = 1, .cols = 64, .data = got, .bytes = sizeof got};
    enum { DRAWS = 256 };
    for (int k = 0; k < DRAWS; k++) {
        for (int i = 0; i < 64; i++) draw[i] = (float)k / DRAWS;
        gguf_encode_q8_0(x, 64, draw, got);
        gguf_dequant(&t, 0, 64, back);
        for (int i = 0; i < 64; i++) mean[i] += back[i] / DRAWS;
    }
    /* But for the largest of a block, which half precision of the scale may have put beyond 127 steps. */
    for (int i = 0; i < 64; i++)
        if (fabsf(x[i]) < 0.78f) assert_true(fabsf(mean[i] - x[i]) <= 0.01f * 0.78f / 127);
}

/* ---- metadata ----------------------------------------------------------------------------------------------- */

/* What is refused of the golden models, and why. */
static const struct {
    const char *name, *why;
} refused[] = {{"ernie45-bias", "biases"},
               {"exaone4-hybrid", "64 layers"},
               {"gemma3-vl", "the scale of attention"},
               {"qwen3-attention-bias", "biases"},
               {"llama-rope-yarn-untruncated", "RoPE"},
               {"llama-rope-yarn-mscale", "RoPE"}, /* other corrections than llama.cpp has by default */
               {"qwen2-window-yarn", "windows of attention"},
               {"smollm3-window", "windows of attention"}};

static const char *why_refused(const char *name) {
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (!strcmp(refused[i].name, name)) return refused[i].why;
    return NULL;
}

/* A file of metadata and RoPE's factors, read again. */
static const char *round_trip(const model_config_t *c, model_config_t *back) {
    err_t err = {0};
    gguf_rope_tensor_t rope[2];
    const char *path = in(test_tmpdir(), "c.gguf");
    gguf_writer_t *w = gguf_writer_new();
    gguf_put_str(w, "general.architecture", c->arch->gguf_name);
    gguf_put_config(w, c);
    size_t n = gguf_rope_tensors(c, rope);
    for (size_t i = 0; i < n; i++) gguf_writer_declare(w, rope[i].name, GGML_F32, 0, rope[i].n);
    gguf_writer_declare(w, "token_embd.weight", GGML_F32, c->vocab, c->hidden);
    if (!c->tied) gguf_writer_declare(w, "output.weight", GGML_F32, c->vocab, c->hidden);
    assert_ok(gguf_writer_begin(w, path, &err), err);
    for (size_t i = 0; i < n; i++) assert_ok(gguf_writer_data(w, rope[i].factor, 4 * rope[i].n, &err), err);
    assert_ok(gguf_writer_flush(w, &err), err);
    gguf_t *g = open_gguf(path);
    assert_ok(model_config_from_gguf(g, back, &err), err);
    gguf_close(g);
    gguf_writer_abort(w);
    assert_false(path_exists(path));
    return model_config_difference(c, back);
}

static void test_metadata(void **state) {
    (void)state;
    size_t written = 0, not = 0;
    DIR *d = opendir(test_path("golden/arch"));
    for (struct dirent *e; (e = readdir(d));) {
        if (e->d_name[0] == '.') continue;
        err_t err = {0};
        model_source_t *src = open_source(in(test_path("golden/arch"), e->d_name));
        const model_config_t *c = model_source_config(src);
        model_config_t back;
        const char *why = why_refused(e->d_name);
        const char *got = gguf_config_check(c, "x", &err) ? err.msg : round_trip(c, &back);
        if (why ? !got || !strstr(got, why) : got != NULL) fail_msg("%s: %s", e->d_name, got ? got : "not refused");
        written += !got;
        not += got != NULL;
        model_source_close(src);
    }
    closedir(d);
    assert_int_equal(not, sizeof refused / sizeof *refused);
    assert_true(written >= 25);
}

static void test_no_architecture(void **state) {
    (void)state;
    err_t err = {0};
    arch_t none = {.model_type = "newest"};
    model_config_t c = {.arch = &none};
    assert_error(gguf_config_check(&c, "dir", &err), err, 2, "dir: a newest model has no architecture in GGUF files");
}

/* ---- tokenizers --------------------------------------------------------------------------------------------- */

static void same_ids(const tokenizer_t *a, const tokenizer_t *b, const json_t *text) {
    err_t err = {0};
    ids_t x = {0}, y = {0};
    const char *s = json_string_value(text);
    size_t n = json_string_length(text);
    assert_ok(tokenizer_encode(a, s, n, false, &x, &err) || tokenizer_encode(b, s, n, false, &y, &err), err);
    if (x.len != y.len || (x.len && memcmp(x.ids, y.ids, x.len * sizeof *x.ids) != 0)) fail_msg("\"%s\"", s);
    free(x.ids);
    free(y.ids);
}

/* Every golden text gives the ids that it gives in the original. */
static void check_tokenizer(const char *path, const char *chat_template) {
    err_t err = {0};
    const long ends[] = {2, 1};
    const char *out = in(test_tmpdir(), "t.gguf");
    tokenizer_t *t = open_tokenizer(path);
    gguf_writer_t *w = gguf_writer_new();
    assert_ok(tokenizer_put_gguf(t, tokenizer_vocab(t) + 5, ends, 2, chat_template, w, path, &err), err);
    assert_ok(gguf_writer_begin(w, out, &err) || gguf_writer_finish(w, &err), err);
    tokenizer_t *back = open_tokenizer(out);
    json_t *root = NULL, *text;
    assert_ok(json_file(test_path("golden/tokenizer/kinds.json"), &root, &err), err);
    size_t i, n = 0;
    json_array_foreach(json_object_get(root, "texts"), i, text) {
        same_ids(t, back, text);
        n++;
    }
    assert_true(n >= 100);
    json_decref(root);
    assert_int_equal(tokenizer_vocab(back), tokenizer_vocab(t) + 5);
    assert_int_equal(tokenizer_add_bos(back), tokenizer_add_bos(t));
    assert_int_equal(tokenizer_bos(back), tokenizer_bos(t));
    for (size_t id = 0; id < tokenizer_vocab(t); id++)
        assert_int_equal(tokenizer_is_special(back, (int32_t)id), tokenizer_is_special(t, (int32_t)id));
    size_t len;
    const char *got = tokenizer_chat_template(back, "default", &len);
    const char *want = chat_template ? chat_template : tokenizer_chat_template(t, "default", &len);
    assert_true(got && want ? !strcmp(got, want) : got == want);
    tokenizer_close(back);
    w = gguf_writer_new();
    assert_error(tokenizer_put_gguf(t, 10, ends, 2, NULL, w, "x", &err), err, 2, "the model 10 rows");
    gguf_writer_abort(w);
    tokenizer_close(t);
}

static void test_tokenizers(void **state) {
    (void)state;
    err_t err = {0};
    json_t *root = NULL;
    char *base = in(test_tmpdir(), "tokenizer.json");
    assert_ok(json_file(test_path("golden/tokenizer/kinds.json"), &root, &err), err);
    assert_ok(json_write(base, json_object_get(root, "base"), &err), err);
    json_decref(root);
    check_tokenizer(test_path("golden/tokenizer/tokenizer.json"), "{{ messages }}");
    check_tokenizer(test_path("golden/tokenizer/llama2-tokenizer.model"), NULL);
    check_tokenizer(base, NULL);
}

/* Each name stands for what has that name. */
static void test_pretokenizer_names(void **state) {
    (void)state;
    static const char *const names[] = {"gpt-2",     "olmo",   "smollm",      "command-r", "llama-bpe", "dbrx",
                                        "qwen2",     "qwen35", "gpt-4o",      "tekken",    "falcon",    "deepseek-llm",
                                        "stablelm2", "viking", "deepseek-v3", "bloom",     "seed-coder"};
    err_t err = {0};
    char *name = NULL;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const pretokenizer_preset_t *p;
        assert_ok(pretokenizer_preset(names[i], strlen(names[i]), "x", &p, &err), err);
        json_t *norm = p->nfc ? json_pack("{s:s}", "type", "NFC") : NULL, *pre = pretokenizer_preset_json(p);
        assert_ok(pretokenizer_preset_name(norm, pre, p->ignore_merges, "x", &name, &err), err);
        assert_string_equal(name, names[i]);
        free(name);
        json_decref(norm);
        json_decref(pre);
    }
    json_t *pre = json_pack("{s:s, s:{s:s}, s:s}", "type", "Split", "pattern", "Regex", "[aeiou]", "behavior",
                            "Isolated");
    assert_error(pretokenizer_preset_name(NULL, pre, false, "t.json", &name, &err), err, 2,
                 "t.json: llama.cpp has no name for the pre-tokenizer {\"type\":\"Split\"");
    json_decref(pre);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_writer),
        cmocka_unit_test(test_writer_full_disk),
        cmocka_unit_test(test_q8_0),
        cmocka_unit_test(test_metadata),
        cmocka_unit_test(test_no_architecture),
        cmocka_unit_test(test_tokenizers),
        cmocka_unit_test(test_pretokenizer_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
