#include "model_files.h"

#include <stdlib.h>

#include "base/file.h"
#include "base/json.h"
#include "testing.h"

safetensors_t *tensors_of(const char *dir) {
    err_t err = {0};
    safetensors_t *st = NULL;
    char *path = path_join(dir, "model.safetensors");
    assert_ok(safetensors_open(path, &st, &err), err);
    free(path);
    return st;
}

json_t *config_of(const char *dir) {
    err_t err = {0};
    json_t *j = NULL;
    char *path = path_join(dir, "config.json");
    assert_ok(json_file(path, &j, &err), err);
    free(path);
    return j;
}
