/* Model directories in the forms that other programs leave: what is in them is used as it is, what nobody needs is left
 * alone, and what would compute something else is refused. */
#include "testing.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "cases.h"
#include "model/source.h"
#include "model_files.h"
#include "program.h"
#include "tensors.h"
#include "trained.h"
#include "variant.h"

#define NONE "quantization.quant_type=none"
#define NF4 "quantization.quant_type=nf4"
#define EMBEDDING "model.embed_tokens.weight"
#define Q0 "model.layers.0.self_attn.q_proj.weight"

static void refuse(const char *dir, const char *text) {
    err_t err = {0};
    model_source_t *src = NULL;
    assert_error(model_source_open(dir, &src, &err), err, ERR_USAGE, text);
}

/* ---- types ------------------------------------------------------------------------------------------------ */

/* F16 is held as it is, F32 in BF16; both are quantized from their exact values. */
static void test_losses(void **state) {
    (void)state;
    static const char *const cases[][3] = {
        {"bf16", NONE, "bf16"},
        {"f16", NONE, "f16"},
        {"f16", NF4, "f16/bnb4"},
        {"f16", NULL, "f16/bnb4"},
        {"f16/bnb4", NULL, "f16/bnb4"},
        {"f32", NONE, "f32 held in bf16"},
        {"f32", NF4, "f32/bnb4 held in bf16"},
        {"f32/bnb4", NULL, "f32/bnb4 held in bf16"},
        {"mixed-4bit", NULL, "mixed-4bit"},
        {"mixed-4bit", NONE, "mixed-4bit"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_loss(case_path(cases[i][0]), NULL, cases[i][1], case_loss(cases[i][2]));
}

/* ---- tensors beside the model's --------------------------------------------------------------------------- */

#define OTHER_F8 "model.layers.0.self_attn.k_scale"
#define OTHER_5D "vision_tower.patch_embedding.weight"
#define OTHER_UNKNOWN "model.extra"
#define INV_FREQ "model.layers.1.self_attn.rotary_emb.inv_freq"

static const char *with_others(void) {
    static const uint8_t bytes[64] = {1, 2, 3, 4, 5, 6, 7, 8};
    variant_t v = variant_of(case_path("bf16"));
    variant_add(&v, &(st_tensor_t){.dtype = DT_F8_E4M3, .n_dims = 1, .shape = {5}, .data = bytes, .bytes = 5},
                OTHER_F8);
    variant_add(&v, &(st_tensor_t){.dtype = DT_BF16, .n_dims = 5, .shape = {2, 1, 2, 2, 2}, .data = bytes, .bytes = 32},
                OTHER_5D);
    variant_add(&v, &(st_tensor_t){.dtype = DT_OTHER, .n_dims = 1, .shape = {3}, .data = bytes, .bytes = 3},
                OTHER_UNKNOWN);
    variant_add(&v, &(st_tensor_t){.dtype = DT_F32, .n_dims = 1, .shape = {8}, .data = bytes, .bytes = 32}, INV_FREQ);
    variant_add(&v, &(st_tensor_t){.dtype = DT_I64, .n_dims = 0, .data = bytes, .bytes = 8}, "steps");
    return variant_write(&v);
}

static void expect_others(const char *dir) {
    safetensors_t *st = tensors_of(dir);
    static const char *const kept[] = {OTHER_F8, OTHER_5D, INV_FREQ, "steps"};
    for (size_t i = 0; i < 4; i++) {
        const st_tensor_t *t = safetensors_find(st, kept[i]);
        assert_non_null(t);
        assert_int_equal(t->data[2], 3);
        assert_int_equal(t->n_dims, i == 1 ? 5 : i == 3 ? 0 : 1);
    }
    assert_null(safetensors_find(st, OTHER_UNKNOWN));
    safetensors_close(st);
}

/* Of any type and shape: not read, and carried along but for what cannot be written. */
static void test_others(void **state) {
    (void)state;
    const char *dir = with_others();
    expect_loss(dir, NULL, NONE, case_loss("bf16"));
    EXPECT_RUN(0, "5 tensors of other parts", "inspect", dir);
    expect_others(case_quantize(dir));
    expect_others(case_merge(case_train(dir, NONE), "original", "auto"));

    variant_t v = variant_of(case_path("bf16"));
    st_tensor_t *t = variant_tensor(&v, Q0);
    t->dtype = DT_F8_E4M3, t->bytes /= 2;
    refuse(variant_write(&v), "tensor \"" Q0 "\" has element type F8_E4M3; expected BF16, F16 or F32");
    v = variant_of(case_path("bf16"));
    t = variant_tensor(&v, Q0);
    t->dtype = DT_OTHER, t->bytes /= 2;
    refuse(variant_write(&v), "tensor \"" Q0 "\" has element type an unknown one; expected BF16, F16 or F32");
}

/* The head of a tied model may be there in another type, if it says the same. */
static void test_tied_head(void **state) {
    (void)state;
    static const dtype_t types[] = {DT_BF16, DT_F32};
    for (size_t i = 0; i < 2; i++) {
        variant_t v = variant_of(case_path("bf16"));
        st_tensor_t head = retyped(variant_tensor(&v, EMBEDDING), types[i]);
        variant_add(&v, &head, "lm_head.weight");
        const char *dir = variant_write(&v);
        expect_loss(dir, NULL, NONE, case_loss("bf16"));
        const char *out = case_merge(case_train(dir, NONE), "original", "f16"); /* in which they would differ */
        safetensors_t *st = tensors_of(out);
        assert_null(safetensors_find(st, "lm_head.weight"));
        safetensors_close(st);

        v = variant_of(case_path("bf16"));
        ((uint8_t *)(uintptr_t)head.data)[0] ^= 1;
        variant_add(&v, &head, "lm_head.weight");
        refuse(variant_write(&v), "tensor \"lm_head.weight\" differs from the embedding");
    }
    variant_t v = variant_of(case_path("bf16"));
    st_tensor_t less = *variant_tensor(&v, EMBEDDING);
    less.shape[0]--, less.bytes -= less.shape[1] * 2;
    variant_add(&v, &less, "lm_head.weight");
    refuse(variant_write(&v), "differs from the embedding");
}

/* ---- names ------------------------------------------------------------------------------------------------ */

/* As the bare model saves them, and as others that hold it do. */
static void test_prefixes(void **state) {
    (void)state;
    static const char *const prefixes[] = {"", "language_model.model.", "model.language_model.", "language_model."};
    for (size_t i = 0; i < 4; i++) {
        variant_t v = variant_of(case_path("bf16"));
        for (size_t k = 0; k < v.n; k++)
            v.t[k].name = (char *)(uintptr_t)test_keep(xasprintf("%s%s", prefixes[i], v.t[k].name + strlen("model.")));
        const char *dir = variant_write(&v);
        expect_loss(dir, NULL, NONE, case_loss("bf16"));
        if (i > 0) continue;
        expect_loss(case_quantize(dir), NULL, NULL, case_eval(case_path("bf16"), NULL, NULL));
        expect_loss(dir, case_path("pattern"), NONE, case_loss("bf16 + pattern"));
    }
}

/* Two shards whose index has "./", and names what is in neither. */
static const char *with_index(const char *stale_in) {
    err_t err = {0};
    variant_t v = variant_of(case_path("bf16"));
    size_t half = v.n / 2;
    json_t *map = json_object();
    const char *dir = test_tmpdir();
    char *config = path_join(dir, "config.json"), *index = path_join(dir, "model.safetensors.index.json");
    char *a = path_join(dir, "a.safetensors"), *b = path_join(dir, "b.safetensors");
    tensors_write(a, v.t, half);
    tensors_write(b, v.t + half, v.n - half);
    for (size_t i = 0; i < v.n; i++)
        json_object_set_new(map, v.t[i].name, json_string(i < half ? "./a.safetensors" : "b.safetensors"));
    json_object_set_new(map, "model.layers.0.self_attn.rotary_emb.inv_freq", json_string(stale_in));
    json_object_set_new(map, "gone", json_string(stale_in));
    json_t *root = json_pack("{s:{}, s:o}", "metadata", "weight_map", map);
    assert_ok(json_write(index, root, &err) || json_write(config, v.config, &err), err);
    json_decref(root);
    free(config), free(index), free(a), free(b);
    variant_write(&v);
    return dir;
}

static size_t times(const char *text, const char *part) {
    size_t n = 0;
    while ((text = strstr(text, part))) n++, text++;
    return n;
}

static void test_index(void **state) {
    (void)state;
    const char *dir = with_index("b.safetensors");
    expect_loss(dir, NULL, NONE, case_loss("bf16"));
    ran_t r = program_run((const char *const[]){"eval", case_config(dir), NULL});
    assert_int_equal(times(r.err, "the index names 2 tensors that its files do not have"), 1);
    ran_free(&r);
    refuse(with_index("../b.safetensors"), "expected the name of a file in the same directory");
    refuse(with_index("c.safetensors"), "c.safetensors: cannot open");
}

/* ---- constants, ids, biases ------------------------------------------------------------------------------- */

/* Constants of BF16 weights are BF16 values, and some checkpoints hold them so. */
static void test_absmax_types(void **state) {
    (void)state;
    const char *golden = test_path("golden/tiny/llama-gqa-tied-odd/bnb4-fp4");
    variant_t v = variant_of(golden);
    size_t n = 0;
    for (size_t i = 0; i < v.n; i++) {
        if (!path_has_suffix(v.t[i].name, ".absmax")) continue;
        v.t[i] = retyped(&v.t[i], DT_BF16);
        n++;
    }
    assert_int_equal(n, 14);
    expect_loss(variant_write(&v), NULL, NULL, case_eval(golden, NULL, NULL));
}

static void test_many_eos(void **state) {
    (void)state;
    variant_t v = variant_of(case_path("bf16"));
    variant_set(&v, "eos_token_id", "[2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21]");
    model_source_t *src = open_source(variant_write(&v));
    assert_int_equal(model_source_config(src)->n_eos, 20);
    assert_int_equal(model_source_config(src)->eos[19], 21);
    model_source_close(src);
}

/* A bias that is there is used, whatever the config says; where none can be it is refused. */
static void test_biases(void **state) {
    (void)state;
    const char *golden = test_path("golden/arch/llama-all-bias");
    variant_t v = variant_of(golden);
    variant_set(&v, "attention_bias", "false");
    variant_set(&v, "mlp_bias", "false");
    const char *silent = variant_write(&v);
    expect_loss(silent, NULL, NONE, case_eval(golden, NULL, NONE));
    expect_loss(case_quantize(silent), NULL, NULL, case_eval(golden, NULL, NULL));

    static const uint8_t zeros[96];
    static const char *const nowhere[] = {"model.layers.1.input_layernorm.bias", "model.norm.bias", "lm_head.bias",
                                          "model.layers.1.self_attn.q_proj.bias"};
    for (size_t i = 0; i < 4; i++) {
        v = variant_of(case_path("bf16"));
        variant_add(&v, &(st_tensor_t){.dtype = DT_BF16, .n_dims = 1, .shape = {48}, .data = zeros, .bytes = 96},
                    nowhere[i]);
        char *text = xasprintf("tensor \"%s\": not of a llama model", nowhere[i]);
        refuse(variant_write(&v), text);
        free(text);
    }
    v = variant_of(golden);
    variant_remove(&v, "model.layers.1.self_attn.q_proj.bias");
    refuse(variant_write(&v), "\"model.layers.1.self_attn.q_proj.bias\" is missing");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_losses),   cmocka_unit_test(test_others), cmocka_unit_test(test_tied_head),
        cmocka_unit_test(test_prefixes), cmocka_unit_test(test_index),  cmocka_unit_test(test_absmax_types),
        cmocka_unit_test(test_many_eos), cmocka_unit_test(test_biases),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
