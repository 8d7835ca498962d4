/* A run's directory: run.json, metrics.jsonl, and a checkpoint's state, tensors and checksums. An input whose checksums.json is "ok"
 * gets the right ones, so that mutations reach what they guard. */
#include "fuzz.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "model/adapter.h"
#include "trainer/run/backend_open.h"
#include "trainer/run/checkpoint.h"
#include "trainer/run/metrics.h"
#include "trainer/run/output_dir.h"

static const char *const names[] = {"trainer_state.json", "config.yaml", "adapter_config.json"};
static const char *const tensor_names[] = {"adapter_model.safetensors", "optimizer.safetensors"};
static const char *run_dir, *dir, *run_json, *checksums, *files[3], *tensors[2], *metrics_file;

static model_config_t model;
static backend_t *be;
static lora_t lora;
static optimizer_t opt;
static pool_t pool;

static void place(pool_t *p) {
    lora_place(&lora, p, true);
    optimizer_place(&opt, OPTIMIZER_8BIT, &lora, SIZE_MAX, p);
}

static const char *in_checkpoint(const char *name) {
    char *path = path_join("run/checkpoint-1", name);
    const char *whole = fuzz_path(path);
    free(path);
    return whole;
}

static void open_run(void) {
    err_t err = {0};
    json_t *json = NULL;
    lora_spec_t spec = {.r = 2, .alpha = 4, .f32 = true};
    run_dir = fuzz_path("run");
    run_json = fuzz_path("run/run.json");
    metrics_file = fuzz_path("run/metrics.jsonl");
    checksums = in_checkpoint("checksums.json");
    dir = fuzz_path("run/checkpoint-1");
    for (int i = 0; i < 3; i++) files[i] = in_checkpoint(names[i]);
    for (int i = 0; i < 2; i++) tensors[i] = in_checkpoint(tensor_names[i]);
    FUZZ_CHECK(json_text(fuzz_config, strlen(fuzz_config), "config.json", &json, &err) == 0);
    FUZZ_CHECK(model_config_from_json(json, "config.json", &model, &err) == 0);
    json_decref(json);
    lora_spec_fill(&spec, &model, 1u << LIN_Q | 1u << LIN_V);
    lora_init(&lora, &model, &spec);
    FUZZ_CHECK(backend_open("cpu", DT_F32, 1, HOST_ALONE, &be, &err) == 0);
    pool_t count = pool_counting(be);
    place(&count);
    FUZZ_CHECK(pool_open(&pool, be, count.used + count.back, &err) == 0);
    optimizer_free(&opt);
    place(&pool);
    FUZZ_CHECK(optimizer_open(&opt, &lora, &pool, pool.used, NULL, &err) == 0);
}

static void write_checksums(void) {
    strbuf_t b = {0};
    for (int i = 0; i < 5; i++) {
        uint64_t hash = 0;
        err_t err = {0};
        file_hash(i < 3 ? files[i] : tensors[i - 3], &hash, &err);
        strbuf_addf(&b, "%s\"%s\": \"%016" PRIx64 "\"", i ? ", " : "{", i < 3 ? names[i] : tensor_names[i - 3], hash);
    }
    strbuf_adds(&b, "}");
    fuzz_file(checksums, b.p, b.len);
    free(b.p);
}

static void use_run(void) {
    static const char *const starts[] = {"auto", "none"};
    for (int i = 0; i < 2; i++) {
        err_t err = {0};
        output_dir_t o = output_dir_at(run_dir);
        run_identity_t id = {.run_id = 1, .data_id = 2, .model_id = 3, .config = "a=1\nb=2\n", .start = starts[i]};
        int rc = i ? output_dir_check(&o, &id, &err) : output_dir_check_config(&o, &id, &err);
        fuzz_outcome(rc, &err);
        output_dir_close(&o);
    }
}

static void see_row(void *ctx, const metrics_row_t *row) {
    if (row->is_eval) evals_note(ctx, row->step, row->loss);
}

/* Rows up to a step are kept, the others cut off: what is left reads as it is. */
static void use_metrics(size_t step) {
    for (int i = 0; i < 2; i++) {
        metrics_t *m = NULL;
        evals_t evals = {0};
        err_t err = {0};
        if (!fuzz_outcome(metrics_open(metrics_file, step, see_row, &evals, &m, &err), &err)) return;
        metrics_close(m);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!dir) open_run();
    part_t rest = {data, size}, sums = fuzz_part(&rest), part = fuzz_part(&rest);
    fuzz_file(run_json, part.p, part.n);
    for (int i = 0; i < 3; i++) {
        part = fuzz_part(&rest);
        fuzz_file(files[i], part.p, part.n);
    }
    for (int i = 0; i < 2; i++) fuzz_safetensors_file(tensors[i], &rest);
    part = fuzz_part(&rest);
    fuzz_file(metrics_file, part.p, part.n);
    if (sums.n == 2 && memcmp(sums.p, "ok", 2) == 0) write_checksums();
    else fuzz_file(checksums, sums.p, sums.n);

    train_state_t state;
    err_t err = {0};
    char *newest = NULL;
    use_run();
    use_metrics(size % 3);
    FUZZ_CHECK(checkpoint_newest(run_dir, &newest, &err) == 0);
    FUZZ_CHECK(fuzz_outcome(checkpoint_verify(dir, &err), &err) == (newest != NULL));
    free(newest);
    err = (err_t){0};
    if (!fuzz_outcome(checkpoint_read_state(dir, &state, &err), &err)) return 0;
    if (!fuzz_outcome(checkpoint_load(dir, &state, &lora, &opt, be, &err), &err)) return 0;
    lora_spec_t spec;
    if (fuzz_outcome(adapter_read_spec(dir, &model, &spec, &err), &err)) lora_spec_free(&spec);
    return 0;
}
