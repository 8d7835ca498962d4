/* Model configs: both forms of config.json, GGUF metadata, and everything that must be refused. */
#include "testing.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "model/arch.h"

static json_t *golden_json(void) {
    err_t err = {0};
    json_t *j = NULL;
    assert_ok(json_file(test_path("golden/tiny/llama-gqa-tied-odd/config.json"), &j, &err), err);
    return j;
}

static void test_transformers5(void **state) {
    (void)state;
    err_t err = {0};
    model_config_t c;
    json_t *j = golden_json();
    assert_ok(model_config_from_json(j, "config.json", &c, &err), err);
    json_decref(j);
    assert_string_equal(c.arch->model_type, "llama");
    assert_int_equal(c.vocab, 320);
    assert_int_equal(c.hidden, 96);
    assert_int_equal(c.ffn, 200);
    assert_int_equal(c.layers, 2);
    assert_int_equal(c.heads, 6);
    assert_int_equal(c.kv_heads, 2);
    assert_int_equal(c.head_dim, 16);
    assert_int_equal(c.max_positions, 512);
    assert_true(c.norm_eps == 1e-5f && c.rope[0].theta == 100000.0 && c.tied);
    assert_true(c.bos == 1 && c.pad == 0 && c.n_eos == 1 && c.eos[0] == 2);
    assert_int_equal(linear_rows(&c, LIN_Q), 96);
    assert_int_equal(linear_rows(&c, LIN_K), 32);
    assert_int_equal(linear_rows(&c, LIN_V), 32);
    assert_int_equal(linear_cols(&c, LIN_O), 96);
    assert_int_equal(linear_cols(&c, LIN_DOWN), 200);
    assert_int_equal(linear_rows(&c, LIN_GATE), 200);
    model_params_t p = model_count_params(&c);
    assert_int_equal(p.linear, 2 * (2 * 96 * 96 + 2 * 32 * 96 + 3 * 96 * 200));
    assert_int_equal(p.embedding, 320 * 96);
    assert_int_equal(p.head, 0);
    assert_int_equal(p.rest, 5 * 96);
}

/* What a text turns into: 0 and *c, or the error. */
static int from_text(const char *text, model_config_t *c, err_t *err) {
    json_t *j = NULL;
    *err = (err_t){0};
    assert_int_equal(json_text(text, strlen(text), "text", &j, err), 0);
    int rc = model_config_from_json(j, "dir/config.json", c, err);
    json_decref(j);
    return rc;
}

static void test_transformers4(void **state) {
    (void)state;
    err_t err = {0};
    model_config_t c;
    assert_ok(from_text("{\"model_type\":\"llama\",\"vocab_size\":32,\"hidden_size\":48,\"intermediate_size\":64,"
                        "\"num_hidden_layers\":1,\"num_attention_heads\":4,\"torch_dtype\":\"float16\","
                        "\"rope_theta\":5e5,\"rope_scaling\":null,\"bos_token_id\":null,\"pad_token_id\":-1,"
                        "\"eos_token_id\":[3,4,5],\"num_key_value_heads\":null,\"head_dim\":null}",
                        &c, &err),
              err);
    assert_int_equal(c.kv_heads, 4);
    assert_int_equal(c.head_dim, 12);
    assert_int_equal(c.max_positions, 2048);
    assert_true(c.norm_eps == 1e-6f && c.rope[0].theta == 5e5 && !c.tied);
    assert_true(c.bos == -1 && c.pad == -1 && c.n_eos == 3 && c.eos[2] == 5);
    assert_int_equal(model_count_params(&c).head, 32 * 48);
    assert_ok(from_text("{\"model_type\":\"llama\",\"vocab_size\":32,\"hidden_size\":50,\"intermediate_size\":64,"
                        "\"num_hidden_layers\":1,\"num_attention_heads\":4,\"head_dim\":16,"
                        "\"rope_scaling\":{\"type\":\"default\"}}",
                        &c, &err),
              err);
    assert_int_equal(c.head_dim, 16);
    assert_int_equal(linear_rows(&c, LIN_Q), 64);
    assert_int_equal(linear_cols(&c, LIN_O), 64);
    assert_true(c.rope[0].theta == 10000.0 && c.n_eos == 0);
}

/* A family's default stands for a key that is absent, not for null. */
static void test_nulls(void **state) {
    (void)state;
    err_t err = {0};
    model_config_t c;
    static const char sizes[] =
        "{\"model_type\":\"qwen3\",\"vocab_size\":32,\"hidden_size\":64,\"intermediate_size\":64,"
        "\"num_hidden_layers\":1,\"num_attention_heads\":4%s}";
    static const struct {
        const char *more;
        size_t head_dim, kv_heads;
    } cases[] = {{"", 128, 4},
                 {",\"head_dim\":null,\"num_key_value_heads\":null", 16, 4},
                 {",\"head_dim\":32,\"num_key_value_heads\":2", 32, 2}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[512];
        snprintf(text, sizeof text, sizes, cases[i].more);
        assert_ok(from_text(text, &c, &err), err);
        assert_true(c.head_dim == cases[i].head_dim && c.kv_heads == cases[i].kv_heads);
    }
}

static void test_refused(void **state) {
    (void)state;
    static const struct {
        const char *key, *value, *message;
    } cases[] = {
        {"model_type", "\"gpt2\"", "config.json: model_type: \"gpt2\" is not supported; expected one of: llama"},
        {"model_type", NULL, "config.json: model_type is missing"},
        {"hidden_act", "\"gelu\"", "config.json: hidden_act: \"gelu\" is not supported"},
        {"mlp_bias", "1", "config.json: mlp_bias: expected true or false"},
        {"rope_scaling", "{\"rope_type\":\"dynamic\",\"factor\":8}", "rope_scaling: rope_type \"dynamic\" depends on"},
        {"rope_scaling", "{\"type\":\"mystery\"}", "rope_type \"mystery\" is not supported; expected default, linear"},
        {"rope_parameters", "{\"mrope_section\":[4,2]}", "rope_parameters: \"mrope_section\" is not known"},
        {"rope_parameters", "{\"rope_type\":\"linear\",\"factor\":0}", "factor is 0; expected 0.001 to"},
        {"rope_parameters", "{\"rope_type\":\"linear\"}", "rope_parameters: factor is missing; expected a number"},
        {"rope_scaling", "{\"rope_type\":\"llama3\"}", "rope_scaling: factor is missing; expected a number"},
        {"rope_parameters", "{\"rope_type\":\"llama3\",\"factor\":8,\"low_freq_factor\":4,\"high_freq_factor\":1}",
         "low_freq_factor is 4; expected less than high_freq_factor"},
        {"rope_parameters", "{\"rope_type\":\"longrope\",\"short_factor\":[1],\"long_factor\":[1]}",
         "longrope has 1 factors; expected one for each of 8 pairs"},
        {"rope_parameters", "{\"rope_type\":\"longrope\",\"short_factor\":[1]}", "long_factor: expected a list"},
        {"rope_parameters", "{\"rope_type\":\"yarn\",\"factor\":4,\"mscale\":1e300,\"mscale_all_dim\":1}",
         "mscale is 1e+300; expected 0 to 1000"},
        {"rope_parameters", "{\"rope_type\":\"yarn\",\"factor\":4,\"mscale\":-1}", "mscale is -1; expected 0 to"},
        {"rope_parameters", "{\"llama_4_scaling_beta\":1e300}", "llama_4_scaling_beta is 1e+300; expected 0 to 1000"},
        {"rope_parameters",
         "{\"rope_type\":\"longrope\",\"original_max_position_embeddings\":1,"
         "\"short_factor\":[1,1,1,1,1,1,1,1],\"long_factor\":[1,1,1,1,1,1,1,1]}",
         "RoPE scales queries and keys by inf; expected more than 0"},
        {"rope_parameters", "{\"full_attention\":{}}", "rope_parameters differ by type of layer"},
        {"rope_parameters", "{\"partial_rotary_factor\":1.5}", "partial_rotary_factor is 1.5; expected more than 0"},
        {"rope_parameters", "[]", "rope_parameters: expected an object"},
        {"rope_parameters", "{\"rope_theta\":0}", "rope_theta is 0; expected 1 to"},
        {"partial_rotary_factor", "0.2", "RoPE turns 3 channels of a head; expected an even number"},
        {"quantization_config", "{\"quant_method\":\"gptq\",\"bits\":4}", "quantization_config: quant_method \"gptq\""},
        {"quantization_config", "{\"quant_method\":\"bitsandbytes\",\"load_in_8bit\":true}", "without load_in_4bit"},
        {"quantization_config", "3", "quantization_config: expected an object"},
        {"vocab_size", "0", "config.json: vocab_size is 0; expected 1 to"},
        {"hidden_size", "1000000000000", "config.json: hidden_size is 1000000000000; expected 1 to"},
        {"hidden_size", "-1", "config.json: hidden_size: expected a whole number"},
        {"hidden_size", "96.5", "config.json: hidden_size: expected a whole number"},
        {"hidden_size", NULL, "config.json: hidden_size is missing"},
        {"num_hidden_layers", "9223372036854775807", "num_hidden_layers is 9223372036854775807"},
        {"num_attention_heads", "0", "num_attention_heads is 0"},
        {"num_key_value_heads", "0", "num_key_value_heads is 0"},
        {"num_key_value_heads", "4", "num_attention_heads (6) must be a multiple of num_key_value_heads (4)"},
        {"head_dim", "15", "head_dim is 15; expected an even number"},
        {"rms_norm_eps", "0", "rms_norm_eps is 0"},
        {"eos_token_id", "320", "eos_token_id is 320; expected less than vocab_size (320)"},
        {"eos_token_id", "[1,\"x\"]", "eos_token_id: expected a token id"},
        {"eos_token_id", "[1,2,3,4,5,6,7,8,9,1,2,3,4,5,6,7,8,9,1,2,3,4,5,6,7,8,9,1,2,3,4,5,6]", "lists 33 tokens"},
        {"bos_token_id", "1000", "bos_token_id is 1000"},
        {"tie_word_embeddings", "\"yes\"", "tie_word_embeddings: expected true or false"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        err_t err = {0};
        model_config_t c;
        json_t *j = golden_json();
        if (cases[i].value) json_object_set_new(j, cases[i].key, json_loads(cases[i].value, JSON_DECODE_ANY, NULL));
        else json_object_del(j, cases[i].key);
        assert_error(model_config_from_json(j, "config.json", &c, &err), err, ERR_USAGE, cases[i].message);
        json_decref(j);
    }
    err_t err;
    model_config_t c;
    assert_error(from_text("[]", &c, &err), err, ERR_USAGE, "expected an object");
    assert_error(from_text("{\"model_type\":\"llama\",\"vocab_size\":32,\"hidden_size\":50,\"intermediate_size\":64,"
                           "\"num_hidden_layers\":1,\"num_attention_heads\":4}",
                           &c, &err),
                 err, ERR_USAGE, "hidden_size (50) is no multiple of num_attention_heads (4)");
}

#define SIZES(model_type) \
    "{\"model_type\":\"" model_type "\",\"vocab_size\":32,\"hidden_size\":48,\"intermediate_size\":64," \
    "\"num_hidden_layers\":2,\"num_attention_heads\":4,"

/* A config without the epsilon of its norms has that of its family in Transformers; a GGUF must have it. */
static void test_epsilon(void **state) {
    (void)state;
    static const char *const small[] = {SIZES("llama") "\"pad_token_id\":0}", SIZES("qwen3") "\"pad_token_id\":0}"};
    static const char *const large[] = {
        SIZES("phi3") "\"pad_token_id\":0}",
        SIZES("olmo2") "\"pad_token_id\":0}",
        SIZES("olmo3") "\"pad_token_id\":0}",
        SIZES("exaone4") "\"pad_token_id\":0}",
        SIZES("ministral3") "\"rope_parameters\":{\"rope_theta\":1e6}}",
    };
    err_t err;
    model_config_t c;
    for (size_t i = 0; i < sizeof small / sizeof *small; i++) {
        assert_ok(from_text(small[i], &c, &err), err);
        assert_true(c.norm_eps == 1e-6f);
    }
    for (size_t i = 0; i < sizeof large / sizeof *large; i++) {
        assert_ok(from_text(large[i], &c, &err), err);
        assert_true(c.norm_eps == 1e-5f);
    }
}

/* Lists and patterns of layers of another kind: none may pass as a default. */
static void test_layers_refused(void **state) {
    (void)state;
    static const char list[] = "no_rope_layers: expected a list of 0 and 1, one for each of 2 layers";
    static const char pattern[] = "sliding_window_pattern: expected a whole number of at least 1, or a text of L and G";
    static const struct {
        const char *text, *message;
    } cases[] = {
        {SIZES("smollm3") "\"no_rope_layers\":[1]}", list},
        {SIZES("smollm3") "\"no_rope_layers\":[true,true]}", list},
        {SIZES("smollm3") "\"no_rope_layers\":[1.0,1.0]}", list},
        {SIZES("smollm3") "\"no_rope_layers\":\"all\"}", list},
        {SIZES("gemma3_text") "\"sliding_window_pattern\":0}", pattern},
        {SIZES("exaone4") "\"sliding_window_pattern\":\"\"}", pattern},
        {SIZES("exaone4") "\"sliding_window_pattern\":\"LLLF\"}", pattern},
        {SIZES("qwen2") "\"use_sliding_window\":true,\"layer_types\":[\"full_attention\"]}",
         "layer_types: expected a list of"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        err_t err;
        model_config_t c;
        assert_error(from_text(cases[i].text, &c, &err), err, ERR_USAGE, cases[i].message);
    }
}

/* What is written is what transformers itself wrote, and reads back as the same config. */
static void test_to_json(void **state) {
    (void)state;
    static const char *const dropped[] = {"transformers_version", "initializer_range", "pretraining_tp"};
    err_t err = {0};
    model_config_t c, again;
    json_t *j = golden_json();
    assert_ok(model_config_from_json(j, "a", &c, &err), err);
    json_t *written = model_config_to_json(&c);
    for (size_t i = 0; i < sizeof dropped / sizeof *dropped; i++) json_object_del(j, dropped[i]);
    assert_true(json_equal(j, written));
    json_decref(j);
    json_decref(written);
    c.n_eos = 2;
    c.eos[1] = 9;
    c.pad = -1;
    c.norm_eps = 0.3333333f;
    written = model_config_to_json(&c);
    assert_ok(model_config_from_json(written, "b", &again, &err), err);
    json_decref(written);
    assert_memory_equal(c.eos, again.eos, 2 * sizeof *c.eos);
    assert_true(again.n_eos == 2 && again.pad == -1 && again.norm_eps == c.norm_eps && again.hidden == c.hidden);
}

static void test_gguf_config(void **state) {
    (void)state;
    err_t err = {0};
    gguf_t *g;
    model_config_t c;
    assert_ok(gguf_open(test_path("golden/gguf/mixed.gguf"), &g, &err), err);
    assert_ok(model_config_from_gguf(g, &c, &err), err);
    gguf_close(g);
    assert_true(c.vocab == 48 && c.hidden == 64 && c.ffn == 32 && c.layers == 6 && c.heads == 2 && c.kv_heads == 1);
    assert_true(c.head_dim == 32 && c.max_positions == 256 && c.norm_eps == 1e-5f && c.rope[0].theta == 50000.0);
    assert_true(c.tied && c.bos == 1 && c.pad == -1 && c.n_eos == 1 && c.eos[0] == 2);
}

/* The golden GGUF, for a test to change. */
static const char *golden_path = "golden/gguf/mixed.gguf";

static strbuf_t golden_gguf(void) {
    err_t err = {0};
    strbuf_t b = {0};
    assert_ok(file_read(test_path(golden_path), &b.p, &b.len, &err), err);
    b.cap = b.len + 1;
    return b;
}

/* Reads the config from the bytes: they must give `message`, or (NULL) be fine. Frees them. */
static model_config_t expect_config(strbuf_t *b, const char *message) {
    err_t err = {0};
    gguf_t *g;
    model_config_t c;
    char *path = path_join(test_tmpdir(), "changed.gguf");
    assert_ok(file_write(path, b->p, b->len, &err), err);
    assert_ok(gguf_open(path, &g, &err), err);
    int rc = model_config_from_gguf(g, &c, &err);
    if (message) assert_error(rc, err, ERR_USAGE, message);
    else assert_ok(rc, err);
    gguf_close(g);
    free(path);
    free(b->p);
    return c;
}

/* The first occurrence of a text replaced by one of the same length. */
static void expect_renamed(const char *from, const char *to, const char *message) {
    strbuf_t b = golden_gguf();
    size_t at = 0, len = strlen(from);
    assert_int_equal(len, strlen(to));
    while (at + len <= b.len && memcmp(b.p + at, from, len)) at++;
    assert_true(at + len <= b.len);
    memcpy(b.p + at, to, len);
    expect_config(&b, message);
}

static void le(strbuf_t *b, uint64_t v, int bytes) {
    for (int i = 0; i < bytes; i++) strbuf_add(b, (char[]){(char)(v >> 8 * i)}, 1);
}

static void str(strbuf_t *b, const char *s) {
    le(b, strlen(s), 8);
    strbuf_adds(b, s);
}

enum { U32 = 4, F32 = 6, STRING = 8 };

/* One more metadata value; `text` for a string, else the bits. A second one fills up to the data's alignment. */
static model_config_t expect_with(const char *key, uint32_t type, uint32_t bits, const char *text,
                                  const char *message) {
    strbuf_t old = golden_gguf(), b = {0};
    strbuf_add(&b, old.p, 16);
    le(&b, (uint64_t)(uint8_t)old.p[16] + 2, 8); /* fewer than 254 values */
    size_t start = b.len;
    str(&b, key);
    le(&b, type, 4);
    if (type == STRING) str(&b, text);
    else le(&b, bits, 4);
    str(&b, "fill");
    le(&b, STRING, 4);
    size_t fill = (32 - (b.len - start + 8) % 32) % 32;
    le(&b, fill, 8);
    while (fill--) strbuf_add(&b, "", 1);
    strbuf_add(&b, old.p + 24, old.len - 24);
    free(old.p);
    return expect_config(&b, message);
}

static void test_gguf_refused(void **state) {
    (void)state;
    expect_renamed("llama.block_count", "llama.block_coun_", "llama.block_count is missing");
    expect_renamed("llama.context_length", "llama.context_lengt_", "llama.context_length is missing");
    expect_renamed("general.architecture", "general.architectur_", "general.architecture is missing");
    expect_renamed("llama.attention.layer_norm_rms_epsilon", "llama.attention.layer_norm_rms_epsilo_",
                   "llama.attention.layer_norm_rms_epsilon is missing; expected a number");
    expect_renamed("llama", "gpt-2", "general.architecture: \"gpt-2\" is not supported");
    expect_renamed("token_embd.weight", "rope_freqs.weight",
                   "tensor rope_freqs.weight: expected at most 256 F32 values");
    const uint32_t one = 0x3f800000; /* as F32 */
    expect_with("llama.rope.scaling.type", STRING, 0, "dynamic", "rope.scaling.type: \"dynamic\" is not supported");
    expect_with("llama.rope.scaling.factor", STRING, 0, "2", "llama.rope.scaling.factor: expected a number");
    expect_with("llama.expert_count", U32, 8, NULL, "llama.expert_count: mixtures of experts");
    expect_with("llama.attention.value_length", U32, 16, NULL, "llama.attention.value_length: expected the key length");
    expect_with("llama.attention.key_length", U32, 16, NULL, "RoPE turns 32 channels of a head; expected");
    expect_with("llama.attention.key_length", F32, one, NULL, "llama.attention.key_length: expected a whole number");
    expect_with("general.type", STRING, 0, "adapter", "general.type is \"adapter\"; expected a model");
    expect_with("tokenizer.ggml.padding_token_id", U32, 48, NULL, "pad_token_id is 48");
    expect_with("tokenizer.ggml.eot_token_id", F32, one, NULL, "tokenizer.ggml.eot_token_id: expected a token id");
}

static void test_gguf_scaled_twice(void **state) {
    (void)state;
    const uint32_t one = 0x3f800000, two = 0x40000000; /* as F32 */
    static const char message[] = "RoPE is scaled by llama.rope.scaling and by a tensor of factors; expected one";
    const char *usual = golden_path;
    golden_path = "golden/arch-gguf/llama-rope-llama3.gguf";
    expect_with("llama.rope.scale_linear", F32, two, NULL, message);
    expect_with("llama.rope.scaling.factor", F32, two, NULL, message);
    expect_with("llama.rope.scaling.type", STRING, 0, "yarn", message);
    assert_int_equal(expect_with("llama.rope.scale_linear", F32, one, NULL, NULL).rope[0].type, ROPE_LLAMA3);
    golden_path = usual;
}

static void test_gguf_accepted(void **state) {
    (void)state;
    const uint32_t two = 0x40000000; /* as F32 */
    static const char *const factors[] = {"llama.rope.scaling.factor", "llama.rope.scale_linear"};
    for (int i = 0; i < 2; i++) {
        model_config_t scaled = expect_with(factors[i], F32, two, NULL, NULL);
        assert_true(scaled.rope[0].type == ROPE_LINEAR && scaled.rope[0].factor == 2);
    }
    model_config_t c = expect_with("llama.attention.sliding_window", U32, 64, NULL, NULL), again;
    json_t *written = model_config_to_json(&c);
    err_t err = {0};
    assert_ok(model_config_from_json(written, "written", &again, &err), err);
    json_decref(written);
    assert_true(c.kinds[0].window == 64 && again.kinds[0].window == 64 && c.arch->gguf_permuted_qk);
    c = expect_with("tokenizer.ggml.eot_token_id", U32, 9, NULL, NULL);
    assert_true(c.n_eos == 2 && c.eos[0] == 2 && c.eos[1] == 9);
    assert_int_equal(expect_with("tokenizer.ggml.eot_token_id", U32, 2, NULL, NULL).n_eos, 1);
    assert_int_equal(expect_with("tokenizer.ggml.padding_token_id", U32, 7, NULL, NULL).pad, 7);
    assert_int_equal(expect_with("tokenizer.ggml.padding_token_id", U32, UINT32_MAX, NULL, NULL).pad, -1);
    assert_int_equal(expect_with("llama.rope.scaling.type", STRING, 0, "none", NULL).heads, 2);
    assert_int_equal(expect_with("general.type", STRING, 0, "model", NULL).heads, 2);
}

static void test_rope_table(void **state) {
    (void)state;
    rope_spec_t r = {.theta = 10000, .factor = 1};
    float table[5 * 4 * 2];
    rope_table(&r, 8, false, false, 5, table);
    for (int p = 0; p < 5; p++)
        for (int i = 0; i < 4; i++) {
            double angle = p / pow(10.0, i); /* 10000^(2i/8) = 10^i */
            assert_true(fabs(table[(p * 4 + i) * 2] - cos(angle)) < 1e-7);
            assert_true(fabs(table[(p * 4 + i) * 2 + 1] - sin(angle)) < 1e-7);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_transformers5), cmocka_unit_test(test_transformers4),
        cmocka_unit_test(test_nulls),         cmocka_unit_test(test_refused),
        cmocka_unit_test(test_to_json),       cmocka_unit_test(test_gguf_config),
        cmocka_unit_test(test_gguf_refused),  cmocka_unit_test(test_gguf_accepted),
        cmocka_unit_test(test_rope_table),    cmocka_unit_test(test_layers_refused),
        cmocka_unit_test(test_epsilon),       cmocka_unit_test(test_gguf_scaled_twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
