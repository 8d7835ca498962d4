#include "model/outline.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "model/known_models.h"

static bool has(const char *dir, const char *file) {
    char *path = path_join(dir, file);
    bool there = path_exists(path);
    free(path);
    return there;
}

static bool is_config(const char *path) {
    size_t n = strlen(path), end = strlen(".json");
    return n > end && !strcmp(path + n - end, ".json") && path_exists(path) && !path_is_dir(path);
}

bool outline_only(const char *path) {
    model_config_t c;
    if (!path_exists(path)) return known_model_find(path, &c, NULL);
    if (!path_is_dir(path)) return is_config(path);
    return has(path, "config.json") && !has(path, "model.safetensors") && !has(path, "model.safetensors.index.json");
}

static int read_config(char *path, model_config_t *c, char **name, err_t *err) {
    json_t *json = NULL;
    int rc = json_file(path, &json, err);
    if (rc == 0) rc = model_config_from_json(json, path, c, err);
    json_decref(json);
    if (rc == 0) *name = path;
    else free(path);
    return rc;
}

int outline_read(const char *path, model_config_t *c, char **name, err_t *err) {
    const char *known;
    if (is_config(path)) return read_config(xstrdup(path), c, name, err);
    if (path_is_dir(path)) return read_config(path_join(path, "config.json"), c, name, err);
    if (known_model_find(path, c, &known)) {
        *name = xstrdup(known);
        return 0;
    }
    char *names = known_model_names(path);
    err_set(err, ERR_USAGE, "%s: no such model; expected a directory with a config.json, or one of %s", path, names);
    free(names);
    return err->code;
}
