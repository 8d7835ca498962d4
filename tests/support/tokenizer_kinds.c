#include "tokenizer_kinds.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "testing.h"

/* The base with `patch`: members replaced, those of "model" one by one, "added_tokens" appended. */
static json_t *patched(const json_t *base, const json_t *patch) {
    json_t *root = json_deep_copy(base), *v;
    const char *key;
    json_object_foreach((json_t *)patch, key, v) {
        if (!strcmp(key, "model")) json_object_update(json_object_get(root, key), v);
        else if (!strcmp(key, "added_tokens")) json_array_extend(json_object_get(root, key), v);
        else json_object_set(root, key, v);
    }
    return root;
}

const char *write_kind(const json_t *base, const json_t *files) {
    const char *dir = test_tmpdir(), *name;
    json_t *v;
    json_object_foreach((json_t *)files, name, v) {
        err_t err = {0};
        char *path = path_join(dir, name);
        json_t *root = strcmp(name, "tokenizer.json") ? json_incref(v) : patched(base, v);
        if (json_is_null(v))
            assert_ok(file_copy(test_path("golden/tokenizer/llama2-tokenizer.model"), path, &err), err);
        else assert_ok(json_write(path, root, &err), err);
        json_decref(root);
        free(path);
    }
    return dir;
}

json_t *load_json(const char *path) {
    err_t err = {0};
    json_t *root;
    assert_ok(json_file(path, &root, &err), err);
    return root;
}

tokenizer_t *open_tokenizer(const char *path) {
    err_t err = {0};
    tokenizer_t *t;
    assert_ok(tokenizer_open(path, &t, &err), err);
    return t;
}
