/* Which layers the terms of adapter_config.json choose, and of which rank: as PEFT did in golden/lora-options; what they
 * are written as; and what is refused. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "model/adapter.h"
#include "model/lora_choice.h"
#include "testing.h"
#include "trained.h"

static const char *const cases[] = {"regex", "layers", "patterns", "loraplus", "head", "head-tied"};
#define N_CASES (sizeof cases / sizeof *cases)

static const char *case_dir(const char *name) {
    char path[96];
    snprintf(path, sizeof path, "golden/lora-options/%s", name);
    return test_path(path);
}

static json_t *read_json(const char *dir, const char *name) {
    err_t err = {0};
    json_t *json;
    char *path = path_join(dir, name);
    assert_ok(json_file(path, &json, &err), err);
    free(path);
    return json;
}

/* ---- which layers, of which rank --------------------------------------------------------------------------------- */

static lora_choice_t choice_of(const json_t *lora) {
    return (lora_choice_t){.targets = json_object_get(lora, "target_modules"),
                           .exclude = json_object_get(lora, "exclude_modules"),
                           .layers = json_object_get(lora, "layers_to_transform"),
                           .ranks = json_object_get(lora, "rank_pattern"),
                           .alphas = json_object_get(lora, "alpha_pattern")};
}

/* What the terms choose is what PEFT chose by them; and written by us it is read as the same. */
static void test_choice(void **state) {
    (void)state;
    for (size_t i = 0; i < N_CASES; i++) {
        err_t err = {0};
        const char *member;
        json_t *meta = read_json(case_dir(cases[i]), "expected.json"), *lora = json_object_get(meta, "lora");
        char *adapter = path_join(case_dir(cases[i]), "adapter");
        model_source_t *src = open_source(case_dir(json_string_value(json_object_get(meta, "model"))));
        const model_config_t *c = model_source_config(src);
        lora_choice_t choice = choice_of(lora);
        lora_spec_t peft, own, again;
        lora_t layout;
        assert_ok(adapter_read_spec(adapter, c, &peft, &err), err);
        own = (lora_spec_t){.r = 4, .alpha = 8, .rslora = peft.rslora, .f32 = true};
        assert_ok(lora_choice_check(&choice, 1024, &member, &err), err);
        assert_ok(lora_choose(&choice, c, &own, &member, &err), err);
        assert_true(lora_spec_equal(&own, &peft));

        for (int with_choice = 0; with_choice < 2; with_choice++) {
            const char *dir = test_tmpdir();
            lora_init(&layout, c, with_choice ? &own : &peft);
            float *zeros = xcalloc(layout.count, sizeof *zeros);
            assert_ok(adapter_write(dir, &layout, zeros, "base", &err), err);
            assert_ok(adapter_read_spec(dir, c, &again, &err), err);
            assert_true(lora_spec_equal(&layout.spec, &again));
            if (with_choice) {
                const char *key;
                json_t *v, *written = read_json(dir, "adapter_config.json");
                json_object_foreach(lora, key, v) if (!json_equal(json_object_get(written, key), v))
                    fail_msg("%s: %s", cases[i], key);
                json_decref(written);
            }
            lora_spec_free(&again);
            free(zeros);
            lora_free(&layout);
        }
        model_source_close(src);
        json_decref(meta);
        free(adapter);
    }
}

static void test_choice_errors(void **state) {
    (void)state;
    static const struct {
        const char *members, *message;
    } bad[] = {
        {"'target_modules': ['qproj']",
         "target_modules: llama models have no linear layer \"qproj\"; expected some of "
         "q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj, lm_head; did you "
         "mean q_proj?"},
        {"'target_modules': ['q_proj', 'roj']", "have no linear layer \"roj\""},
        {"'target_modules': ['embed_tokens']",
         "target_modules: model.embed_tokens is no linear layer and cannot be adapted"},
        {"'target_modules': ['q_proj', 'input_layernorm']", "model.layers.0.input_layernorm is no linear layer"},
        {"'target_modules': ['norm']", "model.norm is no linear layer"},
        {"'target_modules': ['mlp']", "model.layers.0.mlp is no linear layer"},
        {"'target_modules': '.*self_attn.*'", "model.layers.0.self_attn is no linear layer"},
        {"'target_modules': 'q_proj'", "target_modules: the regular expression \"q_proj\" matches no whole name of a "
                                       "module; expected all-linear, a list of names or an expression such as "
                                       ".*q_proj; did you mean [q_proj]?"},
        {"'target_modules': 'all_linear'", "did you mean all-linear?"},
        {"'target_modules': ['all-linear']", "did you mean all-linear, alone and without a list?"},
        {"'target_modules': 'model\\\\.layers\\\\.7\\\\.[a-z_.]+_proj'", "matches no whole name of a linear layer"},
        {"'exclude_modules': ['norm', 'c_attn']", "exclude_modules: llama models have no linear layer \"c_attn\""},
        {"'target_modules': ['q_proj'], 'exclude_modules': '.*q_proj'",
         "exclude_modules: leaves nothing of target_modules"},
        {"'layers_to_transform': [0, 2]", "layers_to_transform: got 2; expected indices from 0 to 1"},
        {"'layers_to_transform': []", "layers_to_transform: an empty list"},
        {"'target_modules': []", "target_modules: an empty list"},
        {"'target_modules': ['lm_head', 'q_proj'], 'layers_to_transform': 0",
         "layers_to_transform: target_modules names lm_head, which is in no layer"},
        {"'rank_pattern': {'q_proj': 8, 'qkv_proj': 8}", "rank_pattern: \"qkv_proj\" matches no adapted layer"},
        {"'rank_pattern': {'lm_head': 8}", "rank_pattern: \"lm_head\" matches no adapted layer"},
        {"'rank_pattern': {'_proj': 8}", "rank_pattern: \"_proj\" matches no adapted layer"},
        {"'target_modules': ['q_proj'], 'alpha_pattern': {'v_proj': 8}",
         "alpha_pattern: \"v_proj\" matches no adapted"},
        {"'target_modules': ['q_proj'], 'rank_pattern': {'(([^!]+)+)+[!?]': 8}",
         "with model.layers.0.self_attn.q_proj"},
    };
    model_source_t *src = open_source(case_dir("untied"));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        err_t err = {0};
        lora_spec_t spec = {.r = 4, .alpha = 8};
        char *text = xasprintf("{%s}", bad[i].members);
        for (char *s = text; *s; s++)
            if (*s == '\'') *s = '"';
        json_t *lora;
        assert_ok(json_text(text, strlen(text), "test", &lora, &err), err);
        lora_choice_t choice = choice_of(lora);
        const char *member;
        int rc = lora_choose(&choice, model_source_config(src), &spec, &member, &err);
        err_prefix(&err, "%s", member);
        if (rc != ERR_USAGE || !strstr(err.msg, bad[i].message)) fail_msg("%s: got %s", text, err.msg);
        json_decref(lora);
        free(text);
    }
    model_source_close(src);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_choice),
        cmocka_unit_test(test_choice_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
