/* Models of every kind, made four times as deep: layers that are paged, of whatever types and sizes, change no bit. */
#include "testing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "cases.h"
#include "program.h"
#include "variant.h"

enum { TIMES = 4 };

static void repeat_list(json_t *config, const char *key) {
    json_t *list = json_object_get(config, key), *once = json_deep_copy(list);
    for (int i = 1; json_is_array(list) && i < TIMES; i++) json_array_extend(list, once);
    json_decref(once);
}

/* The model with its layers TIMES in a row. */
static const char *deep(const char *model) {
    static const char part[] = "layers.";
    variant_t v = variant_of(model);
    long layers = (long)json_integer_value(json_object_get(v.config, "num_hidden_layers"));
    json_object_set_new(v.config, "num_hidden_layers", json_integer(TIMES * layers));
    repeat_list(v.config, "layer_types");
    repeat_list(v.config, "no_rope_layers");
    for (size_t i = 0, n = v.n; i < n; i++) {
        const char *name = v.t[i].name, *at = strstr(name, part);
        if (!at) continue;
        char *end;
        long layer = strtol(at + strlen(part), &end, 10);
        for (int k = 1; k < TIMES; k++)
            variant_add(&v, &v.t[i],
                        test_keep(xasprintf("%.*s%s%ld%s", (int)(at - name), name, part, layer + k * layers, end)));
    }
    return variant_write(&v);
}

typedef struct {
    const char *config, *quant; /* override of the quantization */
} run_t;

static int status_of(const run_t *r, const char *command, const char *limit, const char *text, bool *found) {
    const char *args[] = {command, r->config, limit, "training.gradient_checkpointing=true", r->quant, NULL};
    ran_t ran = program_run(command ? args : args + 1);
    int status = ran.status;
    if (found) *found = strstr(ran.out, text) != NULL;
    ran_free(&ran);
    return status;
}

/* About the least that does, by plans. */
static char *least_limit(const run_t *r) {
    size_t no = 0, yes = (size_t)64 << 20;
    while (yes - no > 1024) {
        size_t at = (no + yes) / 2;
        char *limit = xasprintf("device.memory_limit=%zu", at);
        if (status_of(r, "plan", limit, "", NULL) == 0) yes = at;
        else no = at;
        free(limit);
    }
    return xasprintf("device.memory_limit=%zu", yes);
}

static char *trained_bytes(const run_t *r, const char *limit, size_t *n, const char *text) {
    err_t err = {0};
    char *dir = path_dirname(r->config), *out = path_join(dir, "out"), *bytes;
    char *path = path_join(out, "adapter/adapter_model.safetensors");
    bool found = false;
    if (status_of(r, NULL, limit, text, &found) != 0 || !found) fail_msg("%s with %s", r->config, limit);
    assert_ok(file_read(path, &bytes, n, &err) || dir_remove(out, &err), err);
    free(dir);
    free(out);
    free(path);
    return bytes;
}

static void check(const char *model, const char *quant) {
    const char *dir = deep(model);
    run_t r = {case_config(dir), quant};
    char *limit = least_limit(&r);
    size_t n, m;
    char *roomy = trained_bytes(&r, "device.memory_limit=256MiB", &n, "done");
    char *tight = trained_bytes(&r, limit, &m, " layers in host memory: ");
    if (n != m || memcmp(roomy, tight, n) != 0) fail_msg("%s: another adapter under %s", model, limit);
    print_message("%s: %s\n", model + strlen(TEST_DIR) + 1, limit);
    free(roomy);
    free(tight);
    free(limit);
}

static void test_types(void **state) {
    (void)state;
    check(case_path("mixed-4bit"), "quantization.double_quant=true");
    check(case_path("f16"), "quantization.quant_type=none");
    check(case_path("f16"), "quantization.quant_type=nf4");
    check(case_path("f32"), "quantization.quant_type=int8");
}

static void test_families(void **state) {
    (void)state;
    static const char *const families[] = {
        "gemma2-softcap", "phi3-fused", "granite-scales", "smollm3-nope", "exaone4-hybrid", "llama-all-bias",
    };
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        char *path = xasprintf("golden/arch/%s", families[i]);
        check(test_path(path), "quantization.double_quant=true");
        free(path);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_types), cmocka_unit_test(test_families)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
