/* An adapter's directory: adapter_config.json and its tensors. */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "model/adapter.h"

static model_config_t model;
static const char *dir, *config, *tensors;

static void open_model(void) {
    err_t err = {0};
    json_t *json = NULL;
    FUZZ_CHECK(json_text(fuzz_config, strlen(fuzz_config), "config.json", &json, &err) == 0);
    FUZZ_CHECK(model_config_from_json(json, "config.json", &model, &err) == 0);
    json_decref(json);
    dir = fuzz_path("adapter");
    config = fuzz_path("adapter/adapter_config.json");
    tensors = fuzz_path("adapter/adapter_model.safetensors");
}

/* Read, and what was read written and read again. */
static void use(lora_spec_t *spec) {
    static const char *out;
    if (!out) fuzz_path("written/x"), out = fuzz_path("written");
    lora_t lora;
    lora_spec_t again;
    err_t err = {0};
    free(lora_spec_text(spec));
    lora_init(&lora, &model, spec);
    float *master = xmalloc(lora.count * sizeof *master);
    if (fuzz_outcome(adapter_read(dir, &lora, NULL, master, &err), &err) && fuzz_read % 64 == 0) {
        FUZZ_CHECK(adapter_write(out, &lora, master, "base", &err) == 0);
        if (adapter_read_spec(out, &model, &again, &err)) check_failed(out, 0, err.msg);
        FUZZ_CHECK(lora_spec_equal(&lora.spec, &again));
        lora_spec_free(&again);
    }
    free(master);
    lora_free(&lora);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!dir) open_model();
    part_t rest = {data, size}, part = fuzz_part(&rest);
    fuzz_file(config, part.p, part.n);
    fuzz_safetensors_file(tensors, &rest);
    lora_spec_t spec;
    err_t err = {0};
    char *text = NULL;
    if (adapter_target_text(dir, &text, &err) == 0) free(text);
    err = (err_t){0};
    if (fuzz_outcome(adapter_read_spec(dir, &model, &spec, &err), &err)) use(&spec);
    err = (err_t){0};
    if (fuzz_outcome(adapter_read_spec(dir, NULL, &spec, &err), &err)) lora_spec_free(&spec);
    return 0;
}
