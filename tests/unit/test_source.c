/* Model sources: the same tensors under the same names from every kind of file, and what is refused. */
#include "testing.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "model/source.h"
#include "tensors.h"

#define Q0 "model.layers.0.self_attn.q_proj.weight"
#define DOWN1 "model.layers.1.mlp.down_proj.weight"

static model_source_t *open_ok(const char *path) {
    err_t err = {0};
    model_source_t *src = NULL;
    assert_ok(model_source_open(path, &src, &err), err);
    return src;
}

static safetensors_t *open_st(const char *path) {
    err_t err = {0};
    safetensors_t *st = NULL;
    assert_ok(safetensors_open(path, &st, &err), err);
    return st;
}

/* Every tensor of the golden file is there, with its bytes, and readable from any row. */
static void test_directory(void **state) {
    (void)state;
    err_t err = {0};
    model_source_t *src = open_ok(test_path("golden/tiny/llama-mha"));
    safetensors_t *st = open_st(test_path("golden/tiny/llama-mha/model.safetensors"));
    assert_int_equal(model_source_count(src), st->n_tensors);
    assert_string_equal(model_source_at(src, 0)->name, "model.embed_tokens.weight");
    assert_false(model_source_is_gguf(src));
    for (size_t i = 0; i < st->n_tensors; i++) {
        const st_tensor_t *want = &st->tensors[i];
        const source_tensor_t *t = model_source_find(src, want->name);
        assert_non_null(t);
        assert_string_equal(t->file_type, "BF16");
        assert_int_equal(t->file_bytes, want->bytes);
        bf16_t *got = xmalloc(want->bytes);
        assert_ok(source_read(src, t, 0, t->rows * t->cols, DT_BF16, got, &err), err);
        assert_memory_equal(got, want->data, want->bytes);
        if (t->rows > 5) {
            assert_ok(source_read(src, t, 3 * t->cols, 2 * t->cols, DT_BF16, got, &err), err);
            assert_memory_equal(got, want->data + 3 * t->cols * 2, 2 * t->cols * 2);
        }
        free(got);
        source_release(src, t);
    }
    assert_null(model_source_find(src, "absent"));
    safetensors_close(st);
    model_source_close(src);
}

static void test_gguf(void **state) {
    (void)state;
    err_t err = {0};
    model_source_t *src = open_ok(test_path("golden/gguf/mixed.gguf"));
    safetensors_t *st = open_st(test_path("golden/gguf/expected.safetensors"));
    assert_true(model_source_is_gguf(src) && !model_source_dir(src) && model_source_config(src)->tied);
    for (size_t i = 0; i < st->n_tensors; i++) {
        const source_tensor_t *t = model_source_find(src, st->tensors[i].name);
        assert_non_null(t);
        size_t n = t->rows * t->cols;
        float *want = xmalloc(n * sizeof *want), *got = xmalloc(n * sizeof *got);
        bf16_t *half = xmalloc(n * sizeof *half);
        memcpy(want, st->tensors[i].data, n * sizeof *want);
        assert_ok(source_read(src, t, 0, n, DT_F32, got, &err), err);
        assert_ok(source_read(src, t, 0, n, DT_BF16, half, &err), err);
        for (size_t k = 0; k < n; k++) {
            assert_int_equal(half[k], bf16_from_f32(want[k]));
            assert_true(got[k] == (t->type == DT_BF16 ? bf16_to_f32(half[k]) : want[k]));
        }
        for (size_t i = 0; i < n; i += 320) { /* pieces that cut rows */
            size_t m = n - i < 320 ? n - i : 320;
            assert_ok(source_read(src, t, i, m, DT_BF16, half, &err), err);
            for (size_t k = 0; k < m; k++) assert_int_equal(half[k], bf16_from_f32(got[i + k]));
        }
        for (size_t r = 0; r < t->rows; r += 7) { /* any row on its own */
            assert_ok(source_read(src, t, r * t->cols, t->cols, DT_F32, want, &err), err);
            assert_memory_equal(want, got + r * t->cols, t->cols * sizeof *want);
        }
        free(want);
        free(got);
        free(half);
    }
    safetensors_close(st);
    model_source_close(src);
}

static void test_bnb(void **state) {
    (void)state;
    err_t err = {0};
    model_source_t *src = open_ok(test_path("golden/tiny/llama-gqa-tied-odd/bnb4"));
    safetensors_t *st = open_st(test_path("golden/tiny/llama-gqa-tied-odd/bnb4/model.safetensors"));
    assert_null(model_source_find(src, "lm_head.weight"));
    size_t quantized = 0;
    for (size_t i = 0; i < model_source_count(src); i++) {
        const source_tensor_t *t = model_source_at(src, i);
        if (!t->quantized) continue;
        quantized++;
        qweight_t w;
        assert_string_equal(t->file_type, "nf4+dq");
        assert_ok(source_quantized(src, t, &w, &err), err);
        size_t n = t->rows * t->cols;
        assert_true(w.type == QUANT_NF4 && w.double_quant && w.rows == t->rows && w.cols == t->cols);
        /* file_bytes: all but the mean. */
        assert_int_equal(t->file_bytes, (n + 1) / 2 + quant_blocks(n) + 4 * quant_nested_blocks(n));
        assert_memory_equal(w.codes, safetensors_find(st, t->name)->data, (n + 1) / 2);
        char *name = xasprintf("%s.absmax", t->name);
        assert_memory_equal(w.absmax_q, safetensors_find(st, name)->data, quant_blocks(n));
        free(name);
    }
    assert_int_equal(quantized, 14);
    safetensors_close(st);
    model_source_close(src);
}

/* What is read from the checkpoint is what our own codec makes of the unquantized model: bit for bit. */
static void expect_encoded(const char *dir, const char *file_type, quant_type_t type) {
    err_t err = {0};
    model_source_t *full = open_ok(test_path("golden/tiny/llama-gqa-tied-odd")), *src = open_ok(test_path(dir));
    const source_tensor_t *t = model_source_find(src, DOWN1);
    size_t n = t->rows * t->cols, blocks = quant_blocks(n);
    bf16_t *x = xmalloc(n * sizeof *x);
    uint8_t *codes = xmalloc((n + 1) / 2), *absmax_q = xmalloc(blocks);
    float *absmax = xmalloc(blocks * sizeof *absmax), *nested = xmalloc(quant_nested_blocks(n) * sizeof *nested);
    float offset;
    qweight_t w;
    assert_string_equal(t->file_type, file_type);
    assert_ok(source_quantized(src, t, &w, &err), err);
    assert_ok(source_read(full, model_source_find(full, DOWN1), 0, n, DT_BF16, x, &err), err);
    quant_encode(type, x, DT_BF16, n, codes, absmax);
    quant_encode_constants(absmax, blocks, absmax_q, nested, &offset);
    assert_int_equal(w.type, type);
    assert_memory_equal(w.codes, codes, (n + 1) / 2);
    if (w.double_quant) {
        assert_memory_equal(w.absmax_q, absmax_q, blocks);
        assert_memory_equal(w.nested_absmax, nested, quant_nested_blocks(n) * sizeof *nested);
        assert_true(w.nested_offset == offset);
    } else assert_memory_equal(w.absmax, absmax, blocks * sizeof *absmax);
    free(x);
    free(codes);
    free(absmax_q);
    free(absmax);
    free(nested);
    model_source_close(full);
    model_source_close(src);
}

static void test_bnb_values(void **state) {
    (void)state;
    expect_encoded("golden/tiny/llama-gqa-tied-odd/bnb4", "nf4+dq", QUANT_NF4);
    expect_encoded("golden/tiny/llama-gqa-tied-odd/bnb4-fp4", "fp4", QUANT_FP4);
}

/* --- a golden model written again with changes ------------------------------------------------------- */

/* What to do to one tensor of a copy. */
typedef struct {
    const char *name;
    const char *rename; /* another name, or "" to leave it out */
    dtype_t dtype;      /* with `typed`: another element type */
    bool typed;
    size_t shape[2];  /* another shape, unless 0 */
    const void *data; /* other bytes, as many as before or `bytes` */
    size_t bytes;
} change_t;

static void write_copy(const char *golden, const char *path, const change_t *ch) {
    safetensors_t *st = open_st(golden);
    st_tensor_t *list = xmalloc(st->n_tensors * sizeof *list);
    size_t n = 0;
    for (size_t i = 0; i < st->n_tensors; i++) {
        st_tensor_t t = st->tensors[i];
        if (!strcmp(t.name, ch->name)) {
            if (ch->rename && !*ch->rename) continue;
            if (ch->rename) t.name = (char *)(uintptr_t)ch->rename;
            if (ch->typed) t.dtype = ch->dtype;
            if (ch->shape[0]) memcpy(t.shape, ch->shape, sizeof ch->shape);
            if (ch->data) t.data = ch->data;
            if (ch->bytes) t.bytes = ch->bytes;
        }
        list[n++] = t;
    }
    tensors_write(path, list, n);
    free(list);
    safetensors_close(st);
}

/* A copy of a golden model directory with one change. Valid until the program ends. */
static const char *changed(const char *model, change_t ch) {
    err_t err = {0};
    const char *dir = test_tmpdir(), *golden = test_path(model);
    char *from = path_join(golden, "config.json"), *to = path_join(dir, "config.json");
    assert_ok(file_copy(from, to, &err), err);
    free(from);
    free(to);
    from = path_join(golden, "model.safetensors");
    to = path_join(dir, "model.safetensors");
    write_copy(from, to, &ch);
    free(from);
    free(to);
    return dir;
}

static void expect_error(const char *dir, const char *message) {
    err_t err = {0};
    model_source_t *src;
    assert_error(model_source_open(dir, &src, &err), err, ERR_USAGE, message);
    assert_error(err.code, err, ERR_USAGE, dir);
}

#define MHA "golden/tiny/llama-mha"
#define BNB "golden/tiny/llama-mha/bnb4"
#define STATE Q0 ".quant_state.bitsandbytes__nf4"

static void test_refused(void **state) {
    (void)state;
    expect_error(changed(MHA, (change_t){.name = Q0, .rename = ""}),
                 "tensor \"" Q0 "\" is missing; expected shape [128, 128]");
    expect_error(changed(MHA, (change_t){.name = "lm_head.weight", .rename = ""}), "\"lm_head.weight\" is missing");
    expect_error(changed(MHA, (change_t){.name = "model.norm.weight", .rename = ""}), "missing; expected shape [128]");
    expect_error(changed(MHA, (change_t){.name = DOWN1, .shape = {256, 128}}),
                 "tensor \"" DOWN1 "\" has shape [256, 128]; expected [128, 256]");
    expect_error(changed(MHA, (change_t){.name = "model.embed_tokens.weight", .shape = {640, 64}}),
                 "tensor \"model.embed_tokens.weight\" has shape [640, 64]; expected [320, 128]");
    expect_error(changed(MHA, (change_t){.name = Q0, .typed = true, .dtype = DT_I16}), "type I16; expected BF16");
    const char *empty = test_tmpdir();
    expect_error(empty, "no config.json there; expected a model's directory, or a GGUF file");
    err_t err = {0};
    char *to = path_join(empty, "config.json");
    assert_ok(file_copy(test_path(MHA "/config.json"), to, &err), err);
    free(to);
    expect_error(empty, "no model.safetensors or model.safetensors.index.json there");
    expect_error(test_path(MHA "/model.safetensors"), "expected the model's directory");
    expect_error(test_path("golden/README.md"), "not a GGUF file");
    expect_error("/nowhere", "/nowhere: cannot open");
}

/* Quantization states with one thing wrong. */
static void test_bnb_refused(void **state) {
    (void)state;
    static const struct {
        const char *from, *to, *message;
    } cases[] = {
        {"\"blocksize\": 64", "\"blocksize\": 32", STATE "\": blocksize is 32; only 64"},
        {"\"nested_blocksize\": 256", "\"nested_blocksize\": 128", "nested_blocksize is 128; only 256"},
        {"\"shape\": [128, 128]", "\"shape\": [128, 127]", "shape is [128, 127]; expected [128, 128]"},
        {"\"shape\": [128, 128]", "\"shape\": [16384]", "shape: expected [rows, columns]"},
        {"\"quant_type\": \"nf4\"", "\"quant_type\": \"fp4\"", "quant_type is \"fp4\"; expected \"nf4\""},
        {"\"nested_offset\"", "\"nested_offsex\"", "nested_offset: expected a number"},
        {"{", "[", "not valid JSON"},
    };
    safetensors_t *st = open_st(test_path(BNB "/model.safetensors"));
    const st_tensor_t *t = safetensors_find(st, STATE);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *text = xstrndup((const char *)t->data, t->bytes), *at = strstr(text, cases[i].from);
        assert_non_null(at);
        char *now = xasprintf("%.*s%s%s", (int)(at - text), text, cases[i].to, at + strlen(cases[i].from));
        size_t n = strlen(now);
        expect_error(changed(BNB, (change_t){.name = STATE, .data = now, .bytes = n, .shape = {n, 0}}),
                     cases[i].message);
        free(now);
        free(text);
    }
    static const float wrong[256];
    expect_error(changed(BNB, (change_t){.name = Q0 ".quant_map", .data = wrong}), "is not the standard table");
    expect_error(changed(BNB, (change_t){.name = Q0 ".nested_quant_map", .data = wrong}), "is not the standard table");
    expect_error(changed(BNB, (change_t){.name = Q0 ".absmax", .rename = ""}), "\"" Q0 ".absmax\" is missing");
    expect_error(changed(BNB, (change_t){.name = Q0 ".nested_absmax", .rename = ""}), ".nested_absmax\" is missing");
    expect_error(changed(BNB, (change_t){.name = STATE, .rename = ""}), "has element type U8; expected BF16");
    safetensors_close(st);
}

/* bnb_4bit_quant_storage: bfloat16: the same bytes under another type. */
static void test_bnb_storage(void **state) {
    (void)state;
    err_t err = {0};
    model_source_t *a = open_ok(test_path(BNB));
    model_source_t *b = open_ok(
        changed(BNB, (change_t){.name = Q0, .typed = true, .dtype = DT_BF16, .shape = {128 * 128 / 4, 1}}));
    qweight_t x, y;
    assert_ok(source_quantized(a, model_source_find(a, Q0), &x, &err), err);
    assert_ok(source_quantized(b, model_source_find(b, Q0), &y, &err), err);
    assert_memory_equal(x.codes, y.codes, 128 * 128 / 2);
    assert_true(x.nested_offset == y.nested_offset);
    model_source_close(a);
    model_source_close(b);
}

/* F32 and F16 sources round to the nearest even BF16; what is not finite is an error, not a NaN loss. */
static void test_rounding(void **state) {
    (void)state;
    static const struct {
        uint32_t f32;
        bf16_t want;
    } values[] = {{0x3f808000, 0x3f80}, {0x3f818000, 0x3f82}, {0x3f808001, 0x3f81},
                  {0xbf80ffff, 0xbf81}, {0x00000001, 0x0000}, {0x7f7f7fff, 0x7f7f}};
    err_t err = {0};
    uint32_t data[128] = {0};
    for (size_t i = 0; i < 6; i++) data[i] = values[i].f32;
    change_t ch = {.name = "model.norm.weight", .typed = true, .dtype = DT_F32, .data = data, .bytes = sizeof data};
    model_source_t *src = open_ok(changed(MHA, ch));
    const source_tensor_t *t = model_source_find(src, "model.norm.weight");
    bf16_t got[128];
    assert_string_equal(t->file_type, "F32");
    assert_ok(source_read(src, t, 0, t->cols, DT_BF16, got, &err), err);
    for (size_t i = 0; i < 6; i++) assert_int_equal(got[i], values[i].want);
    model_source_close(src);
    static const uint32_t bad[] = {0x7f800000, 0xff800000, 0x7fc00000, 0x7f7f8000};
    for (size_t i = 0; i < 4; i++) {
        data[77] = bad[i];
        src = open_ok(changed(MHA, ch));
        t = model_source_find(src, "model.norm.weight");
        assert_error(source_read(src, t, 0, t->cols, DT_BF16, got, &err), err, ERR_USAGE,
                     "tensor \"model.norm.weight\" has a value that is not a finite number");
        err = (err_t){0};
        model_source_close(src);
    }
}

/* Two shards and an index; model.safetensors of the golden is cut in two by layer. */
static const char *sharded(const char *index) {
    err_t err = {0};
    const char *dir = test_tmpdir();
    char *config = path_join(dir, "config.json"), *path = path_join(dir, "model.safetensors.index.json");
    assert_ok(file_copy(test_path(MHA "/config.json"), config, &err), err);
    safetensors_t *st = open_st(test_path(MHA "/model.safetensors"));
    json_t *map = json_object();
    for (int shard = 0; shard < 2; shard++) {
        char *file = xasprintf("part-%d.safetensors", shard), *to = path_join(dir, file);
        st_writer_t *w = st_writer_new();
        size_t n = 0;
        const st_tensor_t *list[64];
        for (size_t i = 0; i < st->n_tensors; i++) {
            const st_tensor_t *t = &st->tensors[i];
            if ((strstr(t->name, "layers.1.") != NULL) != shard) continue;
            list[n++] = t;
            st_writer_declare(w, t->name, t->dtype, t->n_dims, t->shape);
            json_object_set_new(map, t->name, json_string(file));
        }
        assert_ok(st_writer_begin(w, to, &err), err);
        for (size_t i = 0; i < n; i++) {
            const st_tensor_t *t = list[st_writer_order(w, i)];
            assert_ok(st_writer_data(w, t->data, t->bytes, &err), err);
        }
        assert_ok(st_writer_finish(w, &err), err);
        free(file);
        free(to);
    }
    json_t *root = json_pack("{s:{s:i}, s:o}", "metadata", "total_size", 1, "weight_map", map);
    if (index) assert_ok(file_write(path, index, strlen(index), &err), err);
    else assert_ok(json_write(path, root, &err), err);
    json_decref(root);
    safetensors_close(st);
    free(config);
    free(path);
    return dir;
}

static void test_shards(void **state) {
    (void)state;
    err_t err = {0};
    model_source_t *src = open_ok(sharded(NULL)), *one = open_ok(test_path(MHA));
    bf16_t a[256], b[256];
    for (size_t i = 0; i < model_source_count(one); i++) {
        const source_tensor_t *t = model_source_at(one, i), *s = model_source_at(src, i);
        assert_string_equal(t->name, s->name);
        assert_ok(source_read(one, t, (t->rows - 1) * t->cols, t->cols, DT_BF16, a, &err), err);
        assert_ok(source_read(src, s, (s->rows - 1) * s->cols, s->cols, DT_BF16, b, &err), err);
        assert_memory_equal(a, b, t->cols * 2);
    }
    model_source_close(src);
    model_source_close(one);
    expect_error(sharded("{}"), "index.json: weight_map: expected an object");
    expect_error(sharded("{\"weight_map\":{\"a\":\"../x\"}}"), "weight_map: \"a\": expected the name of a file");
    expect_error(sharded("{\"weight_map\":{\"a\":3}}"), "weight_map: \"a\": expected the name of a file");
    expect_error(sharded("{\"weight_map\":{\"a\":\"gone\"}}"), "gone: cannot open");
    /* A tensor that its file does not have is missing only where it is needed. */
    expect_error(sharded("{\"weight_map\":{\"a\":\"part-0.safetensors\"}}"),
                 "\"model.embed_tokens.weight\" is missing");
    expect_error(sharded("{\"weight_map\":{\"lm_head.weight\":\"part-0.safetensors\"}}"),
                 "tensor \"model.embed_tokens.weight\" is missing");
}

/* The golden model with one more tensor, and one text of its config replaced. */
static const char *extended(const char *model, const st_tensor_t *more, const char *from, const char *to) {
    err_t err = {0};
    const char *dir = test_tmpdir(), *golden = test_path(model);
    char *in = path_join(golden, "config.json"), *out = path_join(dir, "config.json"), *text;
    size_t len;
    assert_ok(file_read(in, &text, &len, &err), err);
    char *at = from ? strstr(text, from) : text;
    assert_non_null(at);
    char *now = xasprintf("%.*s%s%s", (int)(at - text), text, from ? to : "", at + (from ? strlen(from) : 0));
    assert_ok(file_write(out, now, strlen(now), &err), err);
    free(in);
    free(out);
    free(text);
    free(now);
    in = path_join(golden, "model.safetensors");
    out = path_join(dir, "model.safetensors");
    safetensors_t *st = open_st(in);
    st_writer_t *w = st_writer_new();
    size_t n = st->n_tensors + (more != NULL);
    for (size_t i = 0; i < n; i++) {
        const st_tensor_t *t = i < st->n_tensors ? &st->tensors[i] : more;
        st_writer_declare(w, t->name, t->dtype, t->n_dims, t->shape);
    }
    assert_ok(st_writer_begin(w, out, &err), err);
    for (size_t i = 0; i < n; i++) {
        size_t k = st_writer_order(w, i);
        const st_tensor_t *t = k < st->n_tensors ? &st->tensors[k] : more;
        assert_ok(st_writer_data(w, t->data, t->bytes, &err), err);
    }
    assert_ok(st_writer_finish(w, &err), err);
    safetensors_close(st);
    free(in);
    free(out);
    return dir;
}

/* Weights of more layers than the config has, in every kind of file. */
static void test_more_layers(void **state) {
    (void)state;
    err_t err = {0};
    expect_error(extended(MHA, NULL, "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1"),
                 "\": the weights are of 2 layers; expected the 1 of the model's config");
    expect_error(extended(BNB, NULL, "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1"), "are of 2 layers");
    safetensors_t *st = open_st(test_path(MHA "/model.safetensors"));
    st_tensor_t more = *safetensors_find(st, "model.norm.weight");
    more.name = (char *)(uintptr_t) "model.layers.11.input_layernorm.weight";
    expect_error(extended(MHA, &more, NULL, NULL),
                 "tensor \"model.layers.11.input_layernorm.weight\": the weights are of 12 layers; expected the 2 of");
    more.name = (char *)(uintptr_t) "model.layers.11th"; /* no layer's */
    model_source_close(open_ok(extended(MHA, &more, NULL, NULL)));
    safetensors_close(st);

    char *gguf, *path = path_join(test_tmpdir(), "more.gguf");
    size_t len, key = strlen("llama.block_count");
    assert_ok(file_read(test_path("golden/gguf/mixed.gguf"), &gguf, &len, &err), err);
    char *at = NULL;
    for (size_t i = 0; i + key < len && !at; i++)
        if (!memcmp(gguf + i, "llama.block_count", key)) at = gguf + i + key + 4; /* after the value's type */
    assert_non_null(at);
    uint32_t count;
    memcpy(&count, at, sizeof count);
    assert_true(count > 1);
    char *message = xasprintf("\": the weights are of %u layers; expected the %u of", count, count - 1);
    count--;
    memcpy(at, &count, sizeof count);
    assert_ok(file_write(path, gguf, len, &err), err);
    expect_error(path, message);
    free(message);
    free(gguf);
    free(path);
}

/* A head beside a tied embedding: fine, and not read, as long as it says the same. */
static void test_tied_head(void **state) {
    (void)state;
    safetensors_t *st = open_st(test_path("golden/tiny/llama-gqa-tied-odd/model.safetensors"));
    st_tensor_t head = *safetensors_find(st, "model.embed_tokens.weight");
    head.name = (char *)(uintptr_t) "lm_head.weight";
    model_source_t *src = open_ok(extended("golden/tiny/llama-gqa-tied-odd", &head, NULL, NULL));
    assert_null(model_source_find(src, "lm_head.weight"));
    model_source_close(src);
    uint8_t *other = xmalloc(head.bytes);
    memcpy(other, head.data, head.bytes);
    other[head.bytes - 1] ^= 1;
    head.data = other;
    expect_error(extended("golden/tiny/llama-gqa-tied-odd", &head, NULL, NULL),
                 "\"lm_head.weight\" differs from the embedding, and tie_word_embeddings is true");
    free(other);
    safetensors_close(st);
}

static uint64_t fingerprint(const char *dir) {
    model_source_t *src = open_ok(dir);
    uint64_t hash = model_source_fingerprint(src);
    assert_true(hash == model_source_fingerprint(src));
    model_source_close(src);
    return hash;
}

/* One weight of one tensor changed, or only its type: another identity; the place of the file does not count. */
static void test_fingerprint(void **state) {
    (void)state;
    uint64_t whole = fingerprint(test_path(MHA)), quantized = fingerprint(test_path(BNB));
    assert_true(whole != quantized);
    assert_true(fingerprint(changed(MHA, (change_t){.name = ""})) == whole);
    assert_true(fingerprint(sharded(NULL)) == whole);
    bf16_t norm[128] = {0};
    norm[127] = 0x3f80;
    change_t ch = {.name = "model.norm.weight", .data = norm};
    assert_true(fingerprint(changed(MHA, ch)) != whole);
    ch.typed = true;
    ch.dtype = DT_F16;
    uint64_t half = fingerprint(changed(MHA, ch));
    ch.dtype = DT_BF16;
    assert_true(half != fingerprint(changed(MHA, ch)));
    uint8_t absmax[128 * 128 / 64] = {0};
    assert_true(fingerprint(changed(BNB, (change_t){.name = Q0 ".absmax", .data = absmax})) != quantized);
    assert_true(fingerprint(test_path("golden/gguf/mixed.gguf")) != whole);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_directory),   cmocka_unit_test(test_gguf),      cmocka_unit_test(test_bnb),
        cmocka_unit_test(test_bnb_values),  cmocka_unit_test(test_refused),   cmocka_unit_test(test_bnb_refused),
        cmocka_unit_test(test_bnb_storage), cmocka_unit_test(test_rounding),  cmocka_unit_test(test_shards),
        cmocka_unit_test(test_more_layers), cmocka_unit_test(test_tied_head), cmocka_unit_test(test_fingerprint),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
