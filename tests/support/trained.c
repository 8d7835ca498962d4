#include "trained.h"

#include <stdlib.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/rng.h"
#include "model/adapter.h"
#include "program.h"
#include "testing.h"

#define STEPS "4"

/* Rows in which each token follows from the one before. */
static void write_rows(const char *path) {
    err_t err = {0};
    strbuf_t s = {0};
    for (uint64_t row = 0; row < 24; row++) {
        size_t n = 12 + rng_fold(1, row) % 20, id = rng_fold(2, row) % 317;
        strbuf_adds(&s, "{\"input_ids\": [");
        for (size_t t = 0; t < n; t++, id = (id * 3 + 7) % 317) strbuf_addf(&s, "%s%zu", t ? ", " : "", id + 3);
        strbuf_adds(&s, "]}\n");
    }
    assert_ok(file_write(path, s.p, s.len, &err), err);
    free(s.p);
}

trained_t trained_on(const char *model, const char *dtype, const char *device) {
    err_t err = {0};
    const char *work = test_tmpdir();
    char *config = path_join(work, "c.yaml"), *data = path_join(work, "train.jsonl");
    trained_t t = {model, path_join(work, "run"), path_join(work, "run/checkpoint-" STEPS)};
    write_rows(data);
    char *yaml = xasprintf("model: {path: %s}\nlora: {r: 4, lora_alpha: 8, lora_dropout: 0.1, dtype: %s}\n"
                           "data: {train: train.jsonl, format: tokens, max_length: 64}\n"
                           "training: {output_dir: run, max_steps: " STEPS ", learning_rate: 2e-5}\n"
                           "device: {backend: cpu, threads: 1%s}\n",
                           model, dtype, device ? device : "");
    assert_ok(file_write(config, yaml, strlen(yaml), &err), err);
    EXPECT_RUN(0, "done: the adapter is in", config);
    free(yaml);
    free(config);
    free(data);
    return t;
}

void trained_free(trained_t *t) {
    free(t->dir);
    free(t->checkpoint);
}

model_source_t *open_source(const char *path) {
    err_t err = {0};
    model_source_t *src = NULL;
    assert_ok(model_source_open(path, &src, &err), err);
    return src;
}

float *read_adapter(const char *dir, const model_config_t *c, lora_t *lora) {
    err_t err = {0};
    lora_spec_t spec;
    assert_ok(adapter_read_spec(dir, c, &spec, &err), err);
    lora_init(lora, c, &spec);
    float *values = xmalloc(lora->count * sizeof *values);
    assert_ok(adapter_read(dir, lora, NULL, values, &err), err);
    return values;
}

bf16_t *read_bf16(const model_source_t *src, const char *name, size_t *n) {
    err_t err = {0};
    const source_tensor_t *t = model_source_find(src, name);
    assert_non_null(t);
    *n = t->rows * t->cols;
    bf16_t *v = xmalloc(*n * sizeof *v);
    assert_ok(source_read(src, t, 0, *n, DT_BF16, v, &err), err);
    return v;
}

trained_t tied, plain;

int train_both(void **state) {
    (void)state;
    tied = trained_on(test_path("golden/tiny/llama-gqa-tied-odd"), "f32", NULL);
    plain = trained_on(test_path("golden/tiny/llama-mha"), "bf16", NULL);
    return 0;
}

int free_both(void **state) {
    (void)state;
    trained_free(&tied);
    trained_free(&plain);
    return 0;
}
