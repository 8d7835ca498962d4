/* config.json of any family: the description of the model, what is computed from it, and that written again. */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "model/arch.h"

static void use_rope(const model_config_t *c) {
    size_t pairs = c->rotated / 2;
    double *inv = xmalloc(pairs * sizeof *inv);
    float *table = xmalloc(2 * pairs * 4 * sizeof *table);
    for (size_t i = 0; i < 2 * c->n_rope; i++) {
        rope_frequencies(&c->rope[i / 2], c->rotated, i % 2, inv);
        rope_table(&c->rope[i / 2], c->rotated, i % 2, true, 4, table);
        FUZZ_CHECK(rope_attention_factor(&c->rope[i / 2]) == rope_attention_factor(&c->rope[i / 2]));
    }
    free(inv);
    free(table);
}

static int count_tensor(void *ctx, const model_tensor_t *t) {
    char name[160];
    model_tensor_name(t, name, sizeof name);
    model_tensor_gguf_name(t, name, sizeof name);
    FUZZ_CHECK(t->rows > 0 && t->cols > 0 && t->cols <= SIZE_MAX / t->rows);
    ++*(size_t *)ctx;
    return 0;
}

/* As run.json and exports from a GGUF have it, which has not all that a config.json may say. */
static void write_again(const model_config_t *c) {
    model_config_t again;
    err_t err = {0};
    json_t *out = model_config_to_json(c);
    int rc = model_config_from_json(out, "written", &again, &err);
    FUZZ_CHECK(rc == 0 || rc == ERR_USAGE);
    if (rc == 0) FUZZ_CHECK(again.arch == c->arch && again.hidden == c->hidden && again.layers == c->layers);
    json_decref(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    model_config_t c;
    err_t err = {0};
    json_t *json = NULL;
    int rc = json_text((const char *)data, size, "config.json", &json, &err);
    if (rc == 0) rc = model_config_from_json(json, "config.json", &c, &err);
    if (fuzz_outcome(rc, &err)) {
        size_t tensors = 0;
        use_rope(&c);
        model_each_tensor(&c, count_tensor, &tensors);
        (void)model_count_params(&c);
        (void)model_choose_rope(&c, 100000);
        write_again(&c);
    }
    json_decref(json);
    return 0;
}
