#include "variant.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "tensors.h"
#include "testing.h"

variant_t variant_of(const char *dir) {
    err_t err = {0};
    char *adapter = path_join(dir, "adapter_config.json");
    bool is_adapter = path_exists(adapter);
    variant_t v = {.from = dir,
                   .config_name = is_adapter ? "adapter_config.json" : "config.json",
                   .tensors_name = is_adapter ? "adapter_model.safetensors" : "model.safetensors"};
    char *config = path_join(dir, v.config_name), *tensors = path_join(dir, v.tensors_name);
    assert_ok(json_file(config, &v.config, &err) || safetensors_open(tensors, &v.st, &err), err);
    v.n = v.st->n_tensors;
    v.t = xmalloc(v.n * sizeof *v.t);
    memcpy(v.t, v.st->tensors, v.n * sizeof *v.t);
    free(adapter);
    free(config);
    free(tensors);
    return v;
}

st_tensor_t *variant_tensor(variant_t *v, const char *name) {
    for (size_t i = 0; i < v->n; i++)
        if (!strcmp(v->t[i].name, name)) return &v->t[i];
    fail_msg("%s has no %s", v->from, name);
    return NULL;
}

void variant_add(variant_t *v, const st_tensor_t *t, const char *name) {
    st_tensor_t more = *t; /* which may lie in the array that moves */
    more.name = (char *)(uintptr_t)name;
    v->t = xrealloc(v->t, (v->n + 1) * sizeof *v->t);
    v->t[v->n++] = more;
}

void variant_remove(variant_t *v, const char *name) {
    st_tensor_t *t = variant_tensor(v, name);
    *t = v->t[--v->n];
}

void variant_set(variant_t *v, const char *key, const char *json) {
    if (!json) {
        assert_int_equal(json_object_del(v->config, key), 0);
        return;
    }
    json_t *value = json_loads(json, JSON_DECODE_ANY, NULL);
    assert_non_null(value);
    json_object_set_new(v->config, key, value);
}

st_tensor_t retyped(const st_tensor_t *t, dtype_t type) {
    st_tensor_t out = *t;
    size_t n = t->bytes / dtype_size(t->dtype);
    out.dtype = type;
    out.bytes = n * dtype_size(type);
    uint8_t *data = xmalloc(out.bytes);
    for (size_t i = 0; i < n; i++) {
        float x;
        assert_true(st_value(t, i, &x));
        uint16_t h = type == DT_F16 ? f16_from_f32(x) : bf16_from_f32(x);
        memcpy(data + i * dtype_size(type), type == DT_F32 ? (const void *)&x : &h, dtype_size(type));
    }
    out.data = data;
    test_keep((char *)data);
    return out;
}

const char *variant_write(variant_t *v) {
    err_t err = {0};
    const char *dir = test_tmpdir();
    char *config = path_join(dir, v->config_name), *tensors = path_join(dir, v->tensors_name);
    assert_ok(json_write(config, v->config, &err), err);
    tensors_write(tensors, v->t, v->n);
    json_decref(v->config);
    safetensors_close(v->st);
    free(v->t);
    free(config);
    free(tensors);
    return dir;
}
