#include "base/json.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"

void json_use_checked_memory(void) { json_set_alloc_funcs(xmalloc, free); }

int json_text(const char *text, size_t len, const char *where, json_t **root, err_t *err) {
    json_error_t e;
    *root = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &e);
    if (*root) return 0;
    return err_set(err, ERR_USAGE, "%s:%d:%d: not valid JSON: %s", where, e.line, e.column, e.text);
}

int json_file(const char *path, json_t **root, err_t *err) {
    char *text;
    size_t len;
    if (file_read(path, &text, &len, err)) return err->code;
    int rc = len ? json_text(text, len, path, root, err) : err_set(err, ERR_USAGE, "%s: the file is empty", path);
    free(text);
    return rc;
}

static const json_t *member(const json_t *obj, const char *key) {
    const json_t *v = json_object_get(obj, key);
    return v && !json_is_null(v) ? v : NULL;
}

int json_opt_size(const json_t *obj, const char *key, const char *where, size_t *out, err_t *err) {
    const json_t *v = member(obj, key);
    if (!v) return 0;
    if (!json_is_integer(v) || json_integer_value(v) < 0)
        return err_set(err, ERR_USAGE, "%s: %s: expected a whole number of at least 0", where, key);
    *out = (size_t)json_integer_value(v);
    return 0;
}

int json_opt_number(const json_t *obj, const char *key, const char *where, double *out, err_t *err) {
    const json_t *v = member(obj, key);
    if (!v) return 0;
    if (!json_is_number(v) || !isfinite(json_number_value(v)))
        return err_set(err, ERR_USAGE, "%s: %s: expected a number", where, key);
    *out = json_number_value(v);
    return 0;
}

int json_opt_bool(const json_t *obj, const char *key, const char *where, bool *out, err_t *err) {
    const json_t *v = member(obj, key);
    if (!v) return 0;
    if (!json_is_boolean(v)) return err_set(err, ERR_USAGE, "%s: %s: expected true or false", where, key);
    *out = json_is_true(v);
    return 0;
}

int json_opt_string(const json_t *obj, const char *key, const char *where, const char **out, err_t *err) {
    const json_t *v = member(obj, key);
    if (!v) return 0;
    if (!json_is_string(v)) return err_set(err, ERR_USAGE, "%s: %s: expected a string", where, key);
    *out = json_string_value(v);
    return 0;
}

int json_need_size(const json_t *obj, const char *key, const char *where, size_t *out, err_t *err) {
    if (!member(obj, key)) return err_set(err, ERR_USAGE, "%s: %s is missing; expected a whole number", where, key);
    return json_opt_size(obj, key, where, out, err);
}

int json_need_string(const json_t *obj, const char *key, const char *where, const char **out, err_t *err) {
    if (!member(obj, key)) return err_set(err, ERR_USAGE, "%s: %s is missing; expected a string", where, key);
    return json_opt_string(obj, key, where, out, err);
}

json_t *json_of_id(uint64_t id) {
    char hex[17];
    snprintf(hex, sizeof hex, "%016" PRIx64, id);
    return json_string(hex);
}

int json_need_id(const json_t *obj, const char *key, const char *where, uint64_t *out, err_t *err) {
    const char *hex = "";
    if (json_need_string(obj, key, where, &hex, err)) return err->code;
    if (strlen(hex) != 16 || strspn(hex, "0123456789abcdef") != 16)
        return err_set(err, ERR_USAGE, "%s: %s: expected 16 hexadecimal digits", where, key);
    *out = strtoull(hex, NULL, 16);
    return 0;
}

int json_write(const char *path, const json_t *root, err_t *err) {
    char *s = json_dumps(root, JSON_INDENT(2));
    CHECK(s != NULL);
    size_t n = strlen(s);
    s = xrealloc(s, n + 2);
    memcpy(s + n, "\n", 2);
    int rc = file_write(path, s, n + 1, err);
    free(s);
    return rc;
}
