/* Shapes known by name: they have the published numbers of parameters, and no name is taken for another's. */
#include "testing.h"

#include <stdlib.h>
#include <string.h>

#include "model/known_models.h"

/* The name that was found, or "" for none. */
static const char *found(const char *text) {
    model_config_t c;
    const char *name = "";
    return known_model_find(text, &c, &name) ? name : "";
}

static void test_parameters(void **state) {
    (void)state;
    static const struct {
        const char *name;
        size_t parameters;
    } published[] = {
        {"smollm2-135m", 134515008},    {"smollm2-360m", 361821120}, {"smollm2-1.7b", 1711376384},
        {"tinyllama-1.1b", 1100048384}, {"llama-2-7b", 6738415616},  {"llama-2-13b", 13015864320},
        {"llama-2-70b", 68976648192},   {"llama-3-8b", 8030261248},  {"llama-3-70b", 70553706496},
    };
    char *names = known_model_names();
    size_t listed = 1;
    for (const char *p = names; *p; p++) listed += *p == ',';
    assert_int_equal(listed, sizeof published / sizeof *published); /* none goes untested */
    free(names);
    for (size_t i = 0; i < sizeof published / sizeof *published; i++) {
        model_config_t c;
        const char *name;
        err_t err = {0};
        assert_true(known_model_find(published[i].name, &c, &name));
        assert_string_equal(name, published[i].name);
        model_params_t p = model_count_params(&c);
        assert_int_equal(p.linear + p.embedding + p.head + p.rest, published[i].parameters);
        assert_ok(model_config_check(&c, name, &err), err);
    }
}

static void test_shape(void **state) {
    (void)state;
    model_config_t c;
    assert_true(known_model_find("llama-3-8b", &c, NULL));
    assert_string_equal(c.arch->model_type, "llama");
    assert_int_equal(c.head_dim, 128);
    assert_int_equal(c.kv_heads, 8);
    assert_int_equal(c.max_positions, 8192);
    assert_true(c.rope[0].theta == 500000.0 && c.norm_eps == 1e-5f && !c.tied);
    assert_true(c.bos == -1 && c.pad == -1 && c.n_eos == 0);
}

static void test_names(void **state) {
    (void)state;
    static const struct {
        const char *text, *name;
    } cases[] = {
        {"llama-2-7b", "llama-2-7b"},
        {"LLAMA-2-7B", "llama-2-7b"},
        {"/path/to/Llama-2-70b-hf", "llama-2-70b"},
        {"/path/to/Llama-2-7b-hf/", "llama-2-7b"},
        {"meta-llama/Llama-2-13b-chat-hf", "llama-2-13b"},
        {"llama_2_7b", "llama-2-7b"},
        {"Meta-Llama-3-8B-Instruct", "llama-3-8b"},
        {"../Meta-Llama-3-70B", "llama-3-70b"},
        {"TinyLlama/TinyLlama-1.1B-Chat-v1.0", "tinyllama-1.1b"},
        {"TinyLlama-1.1B-intermediate-step-1431k-3T", "tinyllama-1.1b"},
        {"HuggingFaceTB/SmolLM2-1.7B-Instruct", "smollm2-1.7b"},
        /* Others, however like them. */
        {"Llama-3.2-1B", ""},
        {"Llama-3.1-8B", ""},
        {"Meta-Llama-3.1-8B-Instruct", ""},
        {"Llama-3-8B-Instruct-262k", ""},
        {"LLaMA-2-7B-32K", ""},
        {"CodeLlama-7b-hf", ""},
        {"llama-7b", ""},
        {"llama-2", ""},
        {"llama-2-7b-13b", ""},
        {"llama-27b", ""},
        {"7b-2-llama", ""},
        {"llama-2-7b.yaml", ""},
        {"SmolLM-135M", ""},
        {"SmolLM2-135M-Instruct.Q4_1.gguf", ""},
        {"TinyLlama-1.1B-Chat-v0.3", ""},
        {"llama-2-7b/model.safetensors", ""},
        {"instruct", ""},
        {"", ""},
        {"/", ""},
        {"---", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (strcmp(found(cases[i].text), cases[i].name) != 0)
            fail_msg("\"%s\" was taken for \"%s\"; expected \"%s\"", cases[i].text, found(cases[i].text),
                     cases[i].name);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parameters),
        cmocka_unit_test(test_shape),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
