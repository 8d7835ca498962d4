#include "cases.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "program.h"
#include "testing.h"

const char *case_path(const char *name) {
    char *relative = path_join("golden/cases", name);
    const char *path = test_path(relative);
    free(relative);
    return path;
}

double case_loss(const char *name) {
    err_t err = {0};
    json_t *losses = NULL;
    assert_ok(json_file(case_path("losses.json"), &losses, &err), err);
    const json_t *loss = json_object_get(losses, name);
    if (!json_is_real(loss)) fail_msg("losses.json has no %s", name);
    double value = json_real_value(loss);
    json_decref(losses);
    return value;
}

const char *case_config(const char *model) {
    err_t err = {0};
    const char *path = test_keep(path_join(test_tmpdir(), "c.yaml")), *batch = case_path("batch.jsonl");
    char *yaml = xasprintf("model: {path: %s}\nquantization: {compute_dtype: f32}\nlora: {r: 2, dtype: f32}\n"
                           "data: {train: %s, eval: %s, format: tokens, packing: false}\n"
                           "training: {output_dir: out, max_steps: 2, learning_rate: 1e-3}\n"
                           "device: {backend: cpu, threads: 1}\n",
                           model, batch, batch);
    assert_ok(file_write(path, yaml, strlen(yaml), &err), err);
    free(yaml);
    return path;
}

double case_eval(const char *model, const char *adapter, const char *override) {
    const char *args[6] = {"eval", case_config(model)}, key[] = "\"eval_loss\": ";
    size_t n = 2;
    if (override) args[n++] = override;
    if (adapter) args[n++] = "--adapter", args[n++] = adapter;
    ran_t r = program_run(args);
    const char *at = strstr(r.out, key);
    if (r.status || !at)
        fail_msg("eval of %s with %s: status %d: %s", model, adapter ? adapter : "none", r.status, r.err);
    double loss = at ? strtod(at + strlen(key), NULL) : NAN;
    ran_free(&r);
    return loss;
}

void expect_loss(const char *model, const char *adapter, const char *override, double want) {
    double got = case_eval(model, adapter, override);
    if (!(fabs(got - want) <= 2e-6 * want))
        fail_msg("%s with %s: loss %.9g, expected %.9g", model, adapter ? adapter : "no adapter", got, want);
}

const char *case_quantize(const char *model) {
    const char *out = test_keep(path_join(test_tmpdir(), "out"));
    EXPECT_RUN(0, "linear parameters in", "quantize", model, out);
    return out;
}

const char *case_train(const char *model, const char *override) {
    const char *config = case_config(model);
    char *dir = path_dirname(config);
    const char *last = test_keep(path_join(dir, "out/checkpoint-2"));
    EXPECT_RUN(0, "done: the adapter is in", config, "training.learning_rate=1e-2", "training.save_steps=1", override);
    free(dir);
    return last;
}

const char *case_merge(const char *checkpoint, const char *base, const char *type) {
    const char *out = test_keep(path_join(test_tmpdir(), "merged"));
    EXPECT_RUN(0, "merged onto", "export", checkpoint, "--merged", out, "--base", base, "--dtype", type);
    return out;
}
