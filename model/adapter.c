#include "model/adapter.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "model/formats/safetensors.h"

#define CONFIG_FILE "adapter_config.json"
#define TENSOR_FILE "adapter_model.safetensors"

/* Members that change what an adapter computes and that are not supported: each must be absent, null, false or
 * empty. */
static const char *const unsupported[] = {
    "alpha_pattern",
    "arrow_config",
    "layer_replication",
    "layers_to_transform",
    "modules_to_save",
    "rank_pattern",
    "trainable_token_indices",
    "target_parameters",
    "fan_in_fan_out",
    "lora_bias",
    "use_dora",
    "use_qalora",
    "use_bdlora",
    "alora_invocation_tokens",
};

static bool is_off(const json_t *v) {
    if (!v || json_is_null(v) || json_is_false(v)) return true;
    return (json_is_object(v) && json_object_size(v) == 0) || (json_is_array(v) && json_array_size(v) == 0);
}

static int set_target(lora_spec_t *spec, const char *name, const char *where, err_t *err) {
    for (int k = 0; k < LIN_COUNT; k++)
        if (!strcmp(linear_info[k].name, name)) {
            spec->targets[k] = true;
            return 0;
        }
    return err_set(err, ERR_USAGE,
                   "%s: target_modules: %s is not a linear layer of a llama block; expected q_proj, "
                   "k_proj, v_proj, o_proj, gate_proj, up_proj or down_proj",
                   where, name);
}

static int read_targets(const json_t *cfg, const char *where, lora_spec_t *spec, err_t *err) {
    const json_t *targets = json_object_get(cfg, "target_modules");
    if (json_is_string(targets) && !strcmp(json_string_value(targets), "all-linear")) {
        for (int k = 0; k < LIN_COUNT; k++) spec->targets[k] = true;
        return 0;
    }
    if (!json_is_array(targets) || json_array_size(targets) == 0)
        return err_set(err, ERR_USAGE, "%s: target_modules: expected a list of layer names or \"all-linear\"", where);
    size_t i;
    json_t *v;
    json_array_foreach(targets, i, v) {
        if (!json_is_string(v)) return err_set(err, ERR_USAGE, "%s: target_modules: expected strings", where);
        if (set_target(spec, json_string_value(v), where, err)) return err->code;
    }
    return 0;
}

static int read_config(const json_t *cfg, const char *where, lora_spec_t *spec, err_t *err) {
    const char *type = NULL, *bias = "none";
    if (json_need_string(cfg, "peft_type", where, &type, err)) return err->code;
    if (strcmp(type, "LORA") != 0)
        return err_set(err, ERR_USAGE, "%s: peft_type: %s is not supported; expected LORA", where, type);
    if (json_opt_string(cfg, "bias", where, &bias, err)) return err->code;
    if (strcmp(bias, "none") != 0)
        return err_set(err, ERR_USAGE, "%s: bias: %s is not supported; expected none", where, bias);
    for (size_t i = 0; i < sizeof unsupported / sizeof *unsupported; i++)
        if (!is_off(json_object_get(cfg, unsupported[i])))
            return err_set(err, ERR_USAGE, "%s: %s is set, which is not supported", where, unsupported[i]);
    if (json_need_size(cfg, "r", where, &spec->r, err)) return err->code;
    if (spec->r < 1 || spec->r > 1 << 16) return err_set(err, ERR_USAGE, "%s: r: expected 1 to 65536", where);
    spec->alpha = (double)spec->r;
    if (json_opt_number(cfg, "lora_alpha", where, &spec->alpha, err)) return err->code;
    if (json_opt_number(cfg, "lora_dropout", where, &spec->dropout, err)) return err->code;
    if (json_opt_bool(cfg, "use_rslora", where, &spec->rslora, err)) return err->code;
    return read_targets(cfg, where, spec, err);
}

int adapter_read_spec(const char *dir, lora_spec_t *spec, err_t *err) {
    *spec = (lora_spec_t){0};
    char *path = path_join(dir, CONFIG_FILE);
    json_t *cfg = NULL;
    int rc = json_file(path, &cfg, err);
    if (rc == 0) rc = read_config(cfg, path, spec, err);
    json_decref(cfg);
    free(path);
    if (rc) return rc;

    path = path_join(dir, TENSOR_FILE);
    safetensors_t *st = NULL;
    rc = safetensors_open(path, &st, err);
    if (rc == 0) spec->f32 = st->n_tensors > 0 && st->tensors[0].dtype == DT_F32;
    safetensors_close(st);
    free(path);
    return rc;
}

static void widen(const st_tensor_t *t, size_t n, float *out) {
    for (size_t i = 0; i < n; i++) {
        uint16_t h;
        if (t->dtype == DT_F32) {
            memcpy(&out[i], t->data + 4 * i, 4);
            continue;
        }
        memcpy(&h, t->data + 2 * i, 2);
        out[i] = t->dtype == DT_BF16 ? bf16_to_f32(h) : f16_to_f32(h);
    }
}

static int read_tensor(const safetensors_t *st, const lora_tensor_t *want, float *master, err_t *err) {
    char name[160];
    lora_tensor_name(want, name, sizeof name);
    const st_tensor_t *t = safetensors_find(st, name);
    if (!t)
        return err_set(err, ERR_USAGE,
                       "%s: tensor %s is missing: this adapter is for another model or other "
                       "target_modules",
                       st->path, name);
    if (t->n_dims != 2 || t->shape[0] != want->rows || t->shape[1] != want->cols)
        return err_set(err, ERR_USAGE,
                       "%s: tensor %s has shape [%zu, %zu]; expected [%zu, %zu]: this adapter is for "
                       "another model or rank",
                       st->path, name, t->n_dims > 0 ? t->shape[0] : 0, t->n_dims > 1 ? t->shape[1] : 0, want->rows,
                       want->cols);
    if (t->dtype != DT_F32 && t->dtype != DT_F16 && t->dtype != DT_BF16)
        return err_set(err, ERR_USAGE, "%s: tensor %s: expected F32, F16 or BF16", st->path, name);
    widen(t, want->rows * want->cols, master + want->offset);
    return 0;
}

int adapter_read(const char *dir, const lora_t *lora, float *master, err_t *err) {
    char *path = path_join(dir, TENSOR_FILE);
    safetensors_t *st = NULL;
    int rc = safetensors_open(path, &st, err);
    for (size_t i = 0; rc == 0 && i < lora->n_tensors; i++) rc = read_tensor(st, &lora->tensors[i], master, err);
    if (rc == 0 && st->n_tensors != lora->n_tensors)
        rc = err_set(err, ERR_USAGE,
                     "%s: holds %zu tensors; this model and these target_modules have %zu: an adapter "
                     "for another model",
                     path, st->n_tensors, lora->n_tensors);
    safetensors_close(st);
    free(path);
    return rc;
}

static json_t *config_json(const lora_t *lora, const char *base) {
    const lora_spec_t *s = &lora->spec;
    json_t *targets = json_array();
    for (int k = 0; k < LIN_COUNT; k++)
        if (s->targets[k]) json_array_append_new(targets, json_string(linear_info[k].name));
    json_t *cfg = json_pack("{s:s, s:s, s:s, s:I, s:o, s:f, s:s, s:b, s:b, s:o}", "peft_type", "LORA", "task_type",
                            "CAUSAL_LM", "base_model_name_or_path", base, "r", (json_int_t)s->r, "lora_alpha",
                            s->alpha == (double)(json_int_t)s->alpha ? json_integer((json_int_t)s->alpha)
                                                                     : json_real(s->alpha),
                            "lora_dropout", s->dropout, "bias", "none", "inference_mode", 1, "use_rslora", s->rslora,
                            "target_modules", targets);
    CHECK(cfg != NULL);
    return cfg;
}

static int write_tensors(const char *path, const lora_t *lora, const float *master, err_t *err) {
    st_writer_t *w = st_writer_new();
    dtype_t dtype = lora->spec.f32 ? DT_F32 : DT_BF16;
    char name[160];
    for (size_t i = 0; i < lora->n_tensors; i++) {
        const lora_tensor_t *t = &lora->tensors[i];
        lora_tensor_name(t, name, sizeof name);
        st_writer_declare(w, name, dtype, 2, (size_t[]){t->rows, t->cols});
    }
    int rc = st_writer_begin(w, path, err);
    bf16_t *narrow = xmalloc(lora->count * sizeof *narrow);
    for (size_t i = 0; i < lora->count; i++) narrow[i] = bf16_from_f32(master[i]);
    for (size_t i = 0; rc == 0 && i < lora->n_tensors; i++) {
        const lora_tensor_t *t = &lora->tensors[st_writer_order(w, i)];
        const void *data = lora->spec.f32 ? (const void *)(master + t->offset) : (const void *)(narrow + t->offset);
        rc = st_writer_data(w, data, t->rows * t->cols * dtype_size(dtype), err);
    }
    free(narrow);
    return st_writer_finish(w, err);
}

int adapter_write(const char *dir, const lora_t *lora, const float *master, const char *base, err_t *err) {
    char *path = path_join(dir, TENSOR_FILE);
    int rc = write_tensors(path, lora, master, err);
    free(path);
    if (rc) return rc;
    path = path_join(dir, CONFIG_FILE);
    json_t *cfg = config_json(lora, base);
    rc = json_write(path, cfg, err);
    json_decref(cfg);
    free(path);
    return rc;
}
