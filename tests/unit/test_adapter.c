/* Adapters that PEFT and others wrote: each is read as it was meant, or refused by what is not supported in it. */
#include "testing.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "cases.h"
#include "model/adapter.h"
#include "program.h"
#include "variant.h"

#define Q1_A "base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight"
#define Q1_B "base_model.model.model.layers.1.self_attn.q_proj.lora_B.weight"
#define EMBEDDING "base_model.model.model.embed_tokens.weight"

static model_source_t *base; /* bf16 */

static int open_base(void **state) {
    (void)state;
    err_t err = {0};
    assert_ok(model_source_open(case_path("bf16"), &base, &err), err);
    return 0;
}

static int close_base(void **state) {
    (void)state;
    model_source_close(base);
    return 0;
}

/* Reads an adapter as the commands do; the masters, if asked for, are the caller's. */
static int read_dir(const char *dir, lora_spec_t *spec, float **master, err_t *err) {
    const model_config_t *c = model_source_config(base);
    lora_t lora;
    if (adapter_read_spec(dir, c, spec, err)) return err->code;
    lora_init(&lora, c, spec);
    float *values = xmalloc(lora.count * sizeof *values);
    int rc = adapter_read(dir, &lora, base, values, err);
    lora_free(&lora);
    spec->ranks = NULL;
    if (rc == 0 && master) *master = values;
    else free(values);
    return rc;
}

static void accept(const char *dir) {
    err_t err = {0};
    lora_spec_t spec;
    assert_ok(read_dir(dir, &spec, NULL, &err), err);
}

static void refuse(const char *dir, const char *text) {
    err_t err = {0};
    lora_spec_t spec;
    assert_error(read_dir(dir, &spec, NULL, &err), err, ERR_USAGE, text);
}

/* ---- what PEFT computes with them ------------------------------------------------------------------------- */

static void test_losses(void **state) {
    (void)state;
    static const char *const adapters[] = {"all-linear",  "full-names",   "pattern",
                                           "some-layers", "dotted-names", "defaults"};
    for (size_t i = 0; i < sizeof adapters / sizeof *adapters; i++)
        for (int mixed = 0; mixed < 2; mixed++) {
            const char *model = mixed ? "mixed-4bit" : "bf16";
            char *name = xasprintf("%s + %s", model, adapters[i]);
            double want = case_loss(name);
            assert_true(fabs(want - case_loss(model)) > 1e-3); /* else it would not be seen whether there is one */
            expect_loss(case_path(model), case_path(adapters[i]), mixed ? NULL : "quantization.quant_type=none", want);
            free(name);
        }
}

/* Where r and lora_alpha are not in the file they are what older versions of PEFT did not write. */
static void test_spec(void **state) {
    (void)state;
    err_t err = {0};
    lora_spec_t spec;
    assert_ok(read_dir(case_path("defaults"), &spec, NULL, &err), err);
    assert_true(spec.r == 8 && spec.alpha == 8 && spec.dropout == 0 && !spec.rslora && !spec.f32);
    assert_ok(read_dir(case_path("pattern"), &spec, NULL, &err), err);
    assert_true(spec.r == 3 && spec.alpha == 4 && spec.rslora);

    variant_t v = variant_of(case_path("pattern"));
    variant_set(&v, "lora_alpha", NULL);
    variant_set(&v, "lora_dropout", "0.25");
    assert_ok(read_dir(variant_write(&v), &spec, NULL, &err), err);
    assert_true(spec.r == 3 && spec.alpha == 8 && spec.dropout == 0.25);
    v = variant_of(case_path("pattern"));
    variant_set(&v, "lora_alpha", "2.5");
    assert_ok(read_dir(variant_write(&v), &spec, NULL, &err), err);
    assert_true(spec.alpha == 2.5);
    v = variant_of(case_path("pattern"));
    variant_set(&v, "r", NULL);
    refuse(variant_write(&v), "another model or rank"); /* the 8 that is meant then */
}

/* target_modules in each form are what `inspect` shows. */
static void test_target_text(void **state) {
    (void)state;
    err_t err = {0};
    static const struct {
        const char *adapter, *text;
    } cases[] = {{"all-linear", "all-linear"},
                 {"pattern", ".*\\.(self_attn\\.(q|v)|mlp\\.down)_proj"},
                 {"dotted-names", "0.mlp.gate_proj, self_attn.q_proj"},
                 {"defaults", "q_proj"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *text = NULL;
        assert_ok(adapter_target_text(case_path(cases[i].adapter), &text, &err), err);
        assert_string_equal(text, cases[i].text);
        free(text);
    }
}

/* ---- names of tensors ------------------------------------------------------------------------------------- */

/* `name` with its first `from` replaced. */
static const char *replaced(const char *name, const char *from, const char *to) {
    const char *at = strstr(name, from);
    assert_non_null(at);
    return test_keep(xasprintf("%.*s%s%s", (int)(at - name), name, to, at + strlen(from)));
}

static void test_names(void **state) {
    (void)state;
    static const char *const other[][2] = {
        {".weight", ".default.weight"},
        {"base_model.model.model.", "base_model.model.model.language_model."},
        {"base_model.model.model.", "base_model.model.language_model.model."},
        {"base_model.model.model.", "base_model.model.language_model."},
        {"base_model.model.model.", "base_model.model."},
    };
    err_t err = {0};
    lora_spec_t spec;
    const char *dir = case_path("full-names");
    float *want, *got;
    assert_ok(read_dir(dir, &spec, &want, &err), err);
    size_t bytes = 0;
    for (size_t i = 0; i < sizeof other / sizeof *other; i++) {
        variant_t v = variant_of(dir);
        bytes = 0;
        for (size_t k = 0; k < v.n; k++) {
            v.t[k].name = (char *)(uintptr_t)replaced(v.t[k].name, other[i][0], other[i][1]);
            bytes += v.t[k].bytes / dtype_size(v.t[k].dtype) * sizeof(float);
        }
        assert_ok(read_dir(variant_write(&v), &spec, &got, &err), err);
        assert_memory_equal(got, want, bytes);
        free(got);
    }
    free(want);
}

/* Tensors that are not of this model's linear layers, or not whole. */
static void test_wrong_tensors(void **state) {
    (void)state;
    static const struct {
        const char *from, *to, *text;
    } cases[] = {
        {"layers.1.", "layers.2.", "is of no linear layer in the 2 blocks of this llama model"},
        {"layers.1.", "layers.-1.", "is of no linear layer"},
        {"self_attn.q_proj", "self_attn.qkv_proj", "is of no linear layer"},
        {"base_model.model.model.layers", "base_model.model.model.vision_tower.layers", "is of no linear layer"},
        {"base_model.model.", "", "is of no linear layer"},
        {".lora_A.weight", ".lora_A.other.weight", "is of no linear layer"},
        {".lora_A.weight", ".lora_magnitude_vector", "is of no linear layer"},
        {".lora_A.weight", ".lora_A.bias", "is of no linear layer"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        variant_t v = variant_of(case_path("defaults"));
        st_tensor_t *t = variant_tensor(&v, Q1_A);
        t->name = (char *)(uintptr_t)replaced(t->name, cases[i].from, cases[i].to);
        refuse(variant_write(&v), cases[i].text);
    }
    variant_t v = variant_of(case_path("defaults"));
    variant_remove(&v, Q1_B);
    refuse(variant_write(&v), Q1_B " is missing");
    v = variant_of(case_path("defaults"));
    st_tensor_t *t = variant_tensor(&v, Q1_A);
    t->shape[0] /= 2, t->shape[1] *= 2;
    refuse(variant_write(&v), "has shape [4, 96]; expected [8, 48]");
    v = variant_of(case_path("defaults"));
    variant_tensor(&v, Q1_A)->dtype = DT_I16;
    refuse(variant_write(&v), "expected F32, F16 or BF16");
    v = variant_of(case_path("defaults"));
    variant_add(&v, variant_tensor(&v, Q1_A), replaced(Q1_A, ".weight", ".default.weight"));
    refuse(variant_write(&v), "twice");
    v = variant_of(case_path("defaults"));
    v.n = 0;
    refuse(variant_write(&v), "no tensors of an adapter");
}

/* In F32 and F16 as in BF16; what is not finite would make every loss NaN. */
static void test_values(void **state) {
    (void)state;
    err_t err = {0};
    lora_spec_t spec;
    static const dtype_t types[] = {DT_F32, DT_F16};
    for (size_t k = 0; k < 2; k++) {
        variant_t v = variant_of(case_path("defaults"));
        for (size_t i = 0; i < v.n; i++) v.t[i] = retyped(&v.t[i], types[k]);
        assert_ok(read_dir(variant_write(&v), &spec, NULL, &err), err);
        assert_true(spec.f32);
    }
    static const uint16_t bad[] = {0x7f80, 0xff80, 0x7fc0};
    for (size_t k = 0; k < 3; k++) {
        variant_t v = variant_of(case_path("defaults"));
        st_tensor_t *t = variant_tensor(&v, Q1_B);
        uint8_t *data = xmalloc(t->bytes);
        memcpy(data, t->data, t->bytes);
        memcpy(data + t->bytes - 2, &bad[k], 2);
        t->data = data;
        refuse(variant_write(&v), "tensor " Q1_B " has a value that is not a finite number");
        free(data);
    }
}

/* ---- embeddings saved along ------------------------------------------------------------------------------- */

/* The adapter with the base's embedding under a name, in a type, with one value moved to the next. */
static const char *with_embedding(const char *name, dtype_t type, bool moved, size_t rows) {
    err_t err = {0};
    safetensors_t *st = NULL;
    char *path = path_join(case_path("bf16"), "model.safetensors");
    assert_ok(safetensors_open(path, &st, &err), err);
    free(path);
    variant_t v = variant_of(case_path("defaults"));
    st_tensor_t t = retyped(safetensors_find(st, "model.embed_tokens.weight"), type);
    if (moved) ((uint8_t *)(uintptr_t)t.data)[t.bytes - dtype_size(type)] ^= 1;
    t.bytes = t.bytes / t.shape[0] * rows;
    t.shape[0] = rows;
    variant_add(&v, &t, name);
    const char *dir = variant_write(&v);
    safetensors_close(st);
    return dir;
}

static void test_embeddings(void **state) {
    (void)state;
    static const char *const names[] = {EMBEDDING, "base_model.model.lm_head.weight",
                                        "base_model.model.model.language_model.embed_tokens.weight"};
    for (size_t i = 0; i < 3; i++) {
        accept(with_embedding(names[i], DT_BF16, false, 96));
        accept(with_embedding(names[i], DT_F32, false, 96));
        accept(with_embedding(names[i], DT_F16, false, 96));
        refuse(with_embedding(names[i], DT_BF16, true, 96), "is not the base model's: trained embeddings");
        refuse(with_embedding(names[i], DT_F32, true, 96), "is not the base model's: trained embeddings");
        refuse(with_embedding(names[i], DT_BF16, false, 95), "is not the base model's");
    }
    expect_loss(case_path("bf16"), with_embedding(EMBEDDING, DT_BF16, false, 96), "quantization.quant_type=none",
                case_loss("bf16 + defaults"));
}

/* ---- adapter_config.json ---------------------------------------------------------------------------------- */

static void test_config_refused(void **state) {
    (void)state;
    static const struct {
        const char *key, *json, *text;
    } cases[] = {
        {"init_lora_weights", "\"pissa\"", "init_lora_weights: \"pissa\" is not supported"},
        {"init_lora_weights", "\"pissa_niter_16\"", "init_lora_weights: \"pissa_niter_16\""},
        {"init_lora_weights", "\"olora\"", "init_lora_weights: \"olora\""},
        {"init_lora_weights", "\"corda\"", "init_lora_weights: \"corda\""},
        {"init_lora_weights", "\"loftq\"", "init_lora_weights: \"loftq\""},
        {"init_lora_weights", "3", "init_lora_weights"},
        {"use_dora", "true", "use_dora is set"},
        {"use_qalora", "true", "use_qalora is set"},
        {"bias", "\"all\"", "bias: all is not supported"},
        {"bias", "\"lora_only\"", "bias: lora_only is not supported"},
        {"lora_bias", "true", "lora_bias is set"},
        {"layer_replication", "[[0, 1], [1, 2]]", "layer_replication is set"},
        {"rank_pattern", "{\"q_proj\": 0}", "rank_pattern: q_proj: expected a whole number from 1 to 16384"},
        {"rank_pattern", "{\"q_proj\": 4}", "another model or rank"},
        {"rank_pattern", "[4]", "rank_pattern: expected a mapping"},
        {"alpha_pattern", "{\"q_proj\": \"4\"}", "alpha_pattern: q_proj: expected a number"},
        {"alpha_pattern", "{\"q_proj(\": 4}", "alpha_pattern: \"q_proj(\": missing closing parenthesis"},
        {"modules_to_save", "[\"lm_head\"]", "modules_to_save is set"},
        {"trainable_token_indices", "[3]", "trainable_token_indices is set"},
        {"target_parameters", "[\"x\"]", "target_parameters is set"},
        {"alora_invocation_tokens", "[3, 4]", "alora_invocation_tokens is set"},
        {"megatron_config", "{\"a\": 1}", "megatron_config is set"},
        {"of_next_year", "1", "of_next_year is set"},
        {"of_next_year", "\"on\"", "of_next_year is set"},
        {"of_next_year", "0.5", "of_next_year is set"},
        {"peft_type", "\"IA3\"", "peft_type: IA3 is not supported; expected LORA"},
        {"r", "0", "r: expected 1 to 16384"},
        {"r", "\"8\"", "r: "},
        {"lora_alpha", "\"16\"", "lora_alpha"},
        {"lora_alpha", "1e300", "lora_alpha: expected -1e6 to 1e6"},
        {"use_rslora", "1", "use_rslora"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        variant_t v = variant_of(case_path("defaults"));
        variant_set(&v, cases[i].key, cases[i].json);
        refuse(variant_write(&v), cases[i].text);
    }
    variant_t v = variant_of(case_path("defaults"));
    variant_set(&v, "init_lora_weights", "\"pissa\"");
    EXPECT_RUN(2, "init_lora_weights: \"pissa\"", "eval", case_config(case_path("bf16")), "--adapter",
               variant_write(&v));
}

static void test_config_accepted(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"init_lora_weights", "false"}, {"init_lora_weights", "\"gaussian\""},
        {"init_lora_weights", "null"},  {"of_next_year", "null"},
        {"of_next_year", "false"},      {"of_next_year", "[]"},
        {"of_next_year", "{}"},         {"of_next_year", "\"\""},
        {"rank_pattern", "null"},       {"modules_to_save", "[]"},
        {"inference_mode", "false"},    {"revision", "\"main\""},
        {"task_type", "null"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        variant_t v = variant_of(case_path("defaults"));
        variant_set(&v, cases[i][0], cases[i][1]);
        accept(variant_write(&v));
    }
}

static void test_pickled(void **state) {
    (void)state;
    err_t err = {0};
    variant_t v = variant_of(case_path("defaults"));
    const char *dir = variant_write(&v);
    char *path = path_join(dir, "adapter_model.safetensors"), *bin = path_join(dir, "adapter_model.bin");
    assert_ok(file_rename(path, bin, &err), err);
    refuse(dir, "adapter_model.bin: a .bin holds pickled Python objects");
    EXPECT_RUN(2, "a .bin holds pickled Python objects", "eval", case_config(case_path("bf16")), "--adapter", dir);
    free(path);
    free(bin);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_losses),          cmocka_unit_test(test_spec),
        cmocka_unit_test(test_target_text),     cmocka_unit_test(test_names),
        cmocka_unit_test(test_wrong_tensors),   cmocka_unit_test(test_values),
        cmocka_unit_test(test_embeddings),      cmocka_unit_test(test_config_refused),
        cmocka_unit_test(test_config_accepted), cmocka_unit_test(test_pickled),
    };
    return cmocka_run_group_tests(tests, open_base, close_base);
}
