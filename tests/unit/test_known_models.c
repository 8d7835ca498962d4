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

/* A head that is tied counts once, though some files hold it twice; of a vision-language model the language model
 * counts. */
static const struct {
    const char *name;
    size_t parameters;
} published[] = {{"smollm2-135m", 134515008},
                 {"smollm2-360m", 361821120},
                 {"smollm2-1.7b", 1711376384},
                 {"tinyllama-1.1b", 1100048384},
                 {"llama-2-7b", 6738415616},
                 {"llama-2-13b", 13015864320},
                 {"llama-2-70b", 68976648192},
                 {"llama-3-8b", 8030261248},
                 {"llama-3-70b", 70553706496},
                 {"llama-3.1-8b", 8030261248},
                 {"llama-3.1-70b", 70553706496},
                 {"llama-3.1-405b", 405853388800},
                 {"llama-3.2-1b", 1235814400},
                 {"llama-3.2-3b", 3212749824},
                 {"llama-3.3-70b", 70553706496},
                 {"deepseek-r1-distill-llama-8b", 8030261248},
                 {"deepseek-r1-distill-llama-70b", 70553706496},
                 {"deepseek-llm-7b", 6910365696},
                 {"deepseek-llm-67b", 67425001472},
                 {"yi-6b", 6061035520},
                 {"yi-34b", 34388917248},
                 {"yi-1.5-6b", 6061035520},
                 {"yi-1.5-9b", 8829407232},
                 {"yi-1.5-34b", 34388917248},
                 {"falcon3-3b", 3227655168},
                 {"mistral-7b-v0.1", 7241732096},
                 {"mistral-7b-v0.2", 7241732096},
                 {"mistral-7b-v0.3", 7248023552},
                 {"mistral-nemo", 12247782400},
                 {"mistral-small-24b-instruct-2501", 23572403200},
                 {"mistral-small-3.1-24b", 23572403200},
                 {"mistral-small-3.2-24b", 23572403200},
                 {"ministral-3-3b", 3429006336},
                 {"qwen2-1.5b", 1543714304},
                 {"qwen2-1.5b-instruct", 1543714304},
                 {"qwen2-7b", 7615616512},
                 {"qwen2-7b-instruct", 7615616512},
                 {"qwen2.5-0.5b", 494032768},
                 {"qwen2.5-1.5b", 1543714304},
                 {"qwen2.5-1.5b-instruct", 1543714304},
                 {"qwen2.5-3b", 3085938688},
                 {"qwen2.5-7b", 7615616512},
                 {"qwen2.5-7b-instruct", 7615616512},
                 {"qwen2.5-14b", 14770033664},
                 {"qwen2.5-14b-instruct", 14770033664},
                 {"qwen2.5-32b", 32763876352},
                 {"qwen2.5-32b-instruct", 32763876352},
                 {"qwen2.5-72b", 72706203648},
                 {"qwen2.5-72b-instruct", 72706203648},
                 {"qwen2.5-coder-1.5b", 1543714304},
                 {"qwen2.5-coder-7b", 7615616512},
                 {"deepseek-r1-distill-qwen-1.5b", 1777088000},
                 {"deepseek-r1-distill-qwen-7b", 7615616512},
                 {"deepseek-r1-distill-qwen-14b", 14770033664},
                 {"deepseek-r1-distill-qwen-32b", 32763876352},
                 {"qwq-32b", 32763876352},
                 {"qwen3-0.6b", 596049920},
                 {"qwen3-1.7b", 1720574976},
                 {"qwen3-4b", 4022468096},
                 {"qwen3-4b-2507", 4022468096},
                 {"qwen3-8b", 8190735360},
                 {"qwen3-14b", 14768307200},
                 {"qwen3-32b", 32762123264},
                 {"gemma-2b", 2506172416},
                 {"gemma-7b", 8537680896},
                 {"gemma-2-2b", 2614341888},
                 {"gemma-2-9b", 9241705984},
                 {"gemma-2-27b", 27227128320},
                 {"gemma-3-270m", 268098176},
                 {"gemma-3-1b", 999885952},
                 {"gemma-3-4b", 3880263168},
                 {"gemma-3-12b", 11766034176},
                 {"gemma-3-27b", 27009346304},
                 {"phi-3-mini-4k", 3821079552},
                 {"phi-3-mini-128k", 3821079552},
                 {"phi-3-medium-4k", 13960238080},
                 {"phi-3.5-mini", 3821079552},
                 {"phi-4", 14659507200},
                 {"phi-4-reasoning", 14659507200},
                 {"phi-4-mini", 3836021760},
                 {"granite-3.1-2b-instruct", 2533531648},
                 {"granite-3.3-8b-instruct", 8170864640},
                 {"smollm3-3b", 3075098624},
                 {"olmo-2-1b", 1484916736},
                 {"olmo-2-7b", 7298617344},
                 {"olmo-2-13b", 13716198400},
                 {"olmo-2-32b", 32234279936},
                 {"olmo-3-7b", 7298011136},
                 {"olmo-3-32b", 32233522176},
                 {"olmo-3.1-32b", 32233522176},
                 {"glm-4-9b-0414", 9400279040},
                 {"seed-oss-36b", 36151104512},
                 {"ernie-4.5-0.3b", 360748032},
                 /* Published in rounded form only. */
                 {"falcon3-7b", 7455550464},
                 {"falcon3-10b", 10305653760},
                 {"ministral-3-8b", 8489553920},
                 {"ministral-3-14b", 13506073600},
                 {"glm-4-32b-0414", 32566081536},
                 {"glm-z1-32b-0414", 32566081536},
                 {"exaone-4.0-1.2b", 1279391488},
                 {"exaone-4.0-32b", 32003216384}};
#define N_PUBLISHED (sizeof published / sizeof *published)

static void test_parameters(void **state) {
    (void)state;
    for (size_t i = 0; i < N_PUBLISHED; i++) {
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

static bool is_published(const char *name) {
    for (size_t i = 0; i < N_PUBLISHED; i++)
        if (!strcmp(name, published[i].name)) return true;
    return false;
}

/* What messages list: the series of models, or of one series the models; together all, and none goes untested. */
static void test_lists(void **state) {
    (void)state;
    char *all = known_model_names("/path/to/other-7b"), *rest = all, *of_rest;
    size_t listed = 0;
    for (char *series; (series = strtok_r(rest, ", ", &rest));) {
        char *names = of_rest = known_model_names(series);
        for (char *name; (name = strtok_r(of_rest, ", ", &of_rest)); listed++)
            if (!is_published(name)) fail_msg("%s has no published number here", name);
        free(names);
    }
    free(all);
    assert_int_equal(listed, N_PUBLISHED);
    char *granite = known_model_names("../Granite-3.1-8B/");
    assert_string_equal(granite, "granite-3.1-2b-instruct, granite-3.3-8b-instruct");
    free(granite);
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

/* What is told from sizes alone would be wrong here: windows, biases, what is tied, which part of a model it is. */
static void test_families(void **state) {
    (void)state;
    model_config_t c;
    assert_true(known_model_find("mistral-7b-v0.1", &c, NULL));
    assert_int_equal(c.kinds[0].window, 4096);
    assert_true(known_model_find("mistral-7b-v0.2", &c, NULL));
    assert_int_equal(c.kinds[0].window, 0);
    assert_true(known_model_find("llama-3.2-1b", &c, NULL));
    assert_true(c.tied && c.rope[0].type == ROPE_LLAMA3 && c.rope[0].factor == 32);
    assert_true(known_model_find("gemma-3-4b", &c, NULL));
    assert_true(c.wrapped && layer_kind(&c, 0)->window == 1024 && layer_kind(&c, 5)->window == 0);
    assert_true(known_model_find("phi-4-mini", &c, NULL));
    assert_int_equal(c.rotated, 96);
    assert_true(known_model_find("smollm3-3b", &c, NULL));
    assert_true(layer_kind(&c, 3)->rope == -1 && layer_kind(&c, 4)->rope == 0);
    assert_true(known_model_find("exaone-4.0-32b", &c, NULL));
    assert_true(layer_kind(&c, 2)->window == 4096 && layer_kind(&c, 3)->window == 0 && layer_kind(&c, 3)->rope == -1);
    assert_true(known_model_find("seed-oss-36b", &c, NULL));
    assert_true(linear_has_bias(&c, LIN_Q) && !linear_has_bias(&c, LIN_O));
    assert_true(known_model_find("ernie-4.5-0.3b", &c, NULL));
    assert_true(c.tied && c.rope_interleaved && c.rope[0].theta == 500000.0);
    assert_true(known_model_find("ministral-3-8b", &c, NULL));
    assert_true(c.wrapped && c.rope[0].query_beta == 0.1);
}

/* At least two sizes of each family, but of those that have only one. */
static void test_every_family_is_known(void **state) {
    (void)state;
    for (size_t a = 0; a < n_archs; a++) {
        size_t sizes = 0;
        for (size_t i = 0; i < N_PUBLISHED; i++) {
            model_config_t c;
            assert_true(known_model_find(published[i].name, &c, NULL));
            sizes += c.arch == &archs[a];
        }
        bool one = !strcmp(archs[a].model_type, "smollm3") || !strcmp(archs[a].model_type, "seed_oss") ||
                   !strcmp(archs[a].model_type, "ernie4_5");
        if (sizes < (one ? 1 : 2)) fail_msg("%s: %zu sizes are known", archs[a].model_type, sizes);
    }
}

/* As run.json has it: of a vision-language model too the language model's config alone, which reads back. */
static void test_descriptions(void **state) {
    (void)state;
    for (size_t i = 0; i < N_PUBLISHED; i++) {
        model_config_t c, again;
        err_t err = {0};
        assert_true(known_model_find(published[i].name, &c, NULL));
        json_t *json = model_config_to_json(&c);
        assert_ok(model_config_from_json(json, published[i].name, &again, &err), err);
        assert_true(again.arch == c.arch && again.layers == c.layers && again.biases == c.biases && !again.wrapped);
        json_decref(json);
    }
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
        {"unsloth/Meta-Llama-3.1-8B-Instruct-unsloth-bnb-4bit", "llama-3.1-8b"},
        {"Llama-3.2-1B", "llama-3.2-1b"},
        {"Llama-3.3-70B-Instruct", "llama-3.3-70b"},
        {"deepseek-ai/DeepSeek-R1-Distill-Llama-8B", "deepseek-r1-distill-llama-8b"},
        {"deepseek-llm-7b-chat", "deepseek-llm-7b"},
        {"Yi-1.5-9B-Chat", "yi-1.5-9b"},
        {"Yi-6B", "yi-6b"},
        {"Falcon3-7B-Base", "falcon3-7b"},
        {"mistralai/Mistral-7B-v0.1", "mistral-7b-v0.1"},
        {"mistral-7b-instruct-v0.3-bnb-4bit", "mistral-7b-v0.3"},
        {"Mistral-Nemo-Instruct-2407", "mistral-nemo"},
        {"Mistral-Small-24B-Instruct-2501", "mistral-small-24b-instruct-2501"},
        {"Mistral-Small-3.2-24B-Instruct-2506", "mistral-small-3.2-24b"},
        {"Ministral-3-8B-Instruct-2512-BF16", "ministral-3-8b"},
        {"Qwen2.5-7B", "qwen2.5-7b"},
        {"Qwen2.5-7B-Instruct-bnb-4bit", "qwen2.5-7b-instruct"},
        {"Qwen2.5-Coder-7B-Instruct", "qwen2.5-coder-7b"},
        {"Qwen2-7B-Instruct", "qwen2-7b-instruct"},
        {"QwQ-32B", "qwq-32b"},
        {"Qwen3-8B-unsloth-bnb-4bit", "qwen3-8b"},
        {"Qwen3-4B-Instruct-2507", "qwen3-4b-2507"},
        {"gemma-1.1-2b-it", "gemma-2b"},
        {"gemma-2-2b-it", "gemma-2-2b"},
        {"google/gemma-3-4b-it", "gemma-3-4b"},
        {"Phi-3-mini-4k-instruct", "phi-3-mini-4k"},
        {"phi-4", "phi-4"},
        {"Phi-4-mini-instruct", "phi-4-mini"},
        {"Phi-4-reasoning-plus", "phi-4-reasoning"},
        {"granite-3.3-8b-instruct", "granite-3.3-8b-instruct"},
        {"SmolLM3-3B-Base", "smollm3-3b"},
        {"OLMo-2-1124-7B-Instruct", "olmo-2-7b"},
        {"Olmo-3-7B-Think", "olmo-3-7b"},
        {"Olmo-3.1-32B-Instruct", "olmo-3.1-32b"},
        {"GLM-4-9B-0414", "glm-4-9b-0414"},
        {"EXAONE-4.0-32B", "exaone-4.0-32b"},
        {"Seed-OSS-36B-Instruct", "seed-oss-36b"},
        {"baidu/ERNIE-4.5-0.3B-Base-PT", "ernie-4.5-0.3b"},
        /* Others, however like them. */
        {"gemma-2b-2", ""},
        {"gemma-3n-4b-it", ""},
        {"glm-4-9b-chat", ""},
        {"ERNIE-4.5-0.3B-Paddle", ""}, /* PaddlePaddle's form */
        {"ERNIE-4.5-21B-A3B-PT", ""},
        {"Mistral-7B-Instruct", ""},
        {"OLMo-7B-Instruct", ""},
        {"Phi-4-multimodal-instruct", ""},
        {"phi-4-unsloth-bnb-4bit", ""}, /* its layers are not fused */
        {"Qwen2.5-7B-Instruct-1M", ""},
        {"Qwen2.5-VL-7B-Instruct", ""},
        {"Qwen3-8B-Base", ""},
        {"Qwen3-30B-A3B", ""},
        {"Yi-34B-200K", ""},
        {"Llama-3.2-11B-Vision", ""},
        {"Llama-3.1-Nemotron-70B-Instruct", ""},
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
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_shape),
        cmocka_unit_test(test_families),
        cmocka_unit_test(test_every_family_is_known),
        cmocka_unit_test(test_descriptions),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
