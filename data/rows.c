#include "data/rows.h"

#include <string.h>

static bool is_space(uint8_t c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

static void skip_space(rows_t *r) {
    for (; r->at < r->map.size && is_space(r->map.data[r->at]); r->at++) r->line += r->map.data[r->at] == '\n';
}

int rows_open(const char *path, rows_t *r, err_t *err) {
    *r = (rows_t){.path = path, .line = 1};
    bool json = path_has_suffix(path, ".jsonl") || path_has_suffix(path, ".json");
    r->plain = path_has_suffix(path, ".txt");
    if (!json && !r->plain)
        return err_set(err, ERR_USAGE, "%s: unknown kind of data file; expected .jsonl, .json (an array) or .txt",
                       path);
    if (file_map(path, &r->map, err)) return err->code;
    if (r->map.size >= 3 && memcmp(r->map.data, "\xef\xbb\xbf", 3) == 0) r->at = 3; /* byte order mark */
    if (r->plain) return 0;
    skip_space(r);
    r->array = r->at < r->map.size && r->map.data[r->at] == '[';
    if (r->array) r->at++;
    return 0;
}

void rows_close(rows_t *r) { file_unmap(&r->map); }

static int bad_json(const rows_t *r, const json_error_t *e, err_t *err) {
    size_t line = r->line + (e->line > 0 ? (size_t)e->line - 1 : 0);
    return err_set(err, ERR_USAGE, "%s:%zu: not valid %s: %s", r->path, line,
                   json_error_code(e) == json_error_invalid_utf8 ? "UTF-8" : "JSON", e->text);
}

/* One JSON value from [at, end); *used its bytes. */
static int parse(const rows_t *r, size_t end, size_t flags, json_t **json, size_t *used, err_t *err) {
    json_error_t e;
    *json = json_loadb((const char *)r->map.data + r->at, end - r->at,
                       JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_ANY | flags, &e);
    if (!*json) return bad_json(r, &e, err);
    *used = (size_t)e.position;
    return 0;
}

static int next_line(rows_t *r, file_row_t *row, bool *more, err_t *err) {
    skip_space(r);
    *more = r->at < r->map.size;
    if (!*more) return 0;
    const uint8_t *p = r->map.data + r->at, *nl = memchr(p, '\n', r->map.size - r->at);
    size_t end = nl ? (size_t)(nl - r->map.data) : r->map.size, used = 0;
    if (parse(r, end, 0, &row->json, &used, err)) return err->code;
    row->line = r->line;
    r->at = end;
    return 0;
}

static int next_element(rows_t *r, file_row_t *row, bool *more, err_t *err) {
    skip_space(r);
    uint8_t c = r->at < r->map.size ? r->map.data[r->at] : 0;
    if (c == ']') {
        r->at++;
        skip_space(r);
        r->done = true;
        *more = false;
        if (r->at == r->map.size) return 0;
        return err_set(err, ERR_USAGE, "%s:%zu: text after the end of the array", r->path, r->line);
    }
    size_t used = 0;
    if (parse(r, r->map.size, JSON_DISABLE_EOF_CHECK, &row->json, &used, err)) return err->code;
    row->line = r->line;
    for (size_t end = r->at + used; r->at < end; r->at++) r->line += r->map.data[r->at] == '\n';
    skip_space(r);
    c = r->at < r->map.size ? r->map.data[r->at] : 0;
    bool comma = c == ',';
    if (comma) r->at++, skip_space(r);
    if ((!comma && c != ']') || (comma && r->at < r->map.size && r->map.data[r->at] == ']')) {
        json_decref(row->json);
        return err_set(err, ERR_USAGE, "%s:%zu: not valid JSON: expected %s", r->path, r->line,
                       comma ? "another element after the comma" : "',' or ']' after an element of the array");
    }
    *more = true;
    return 0;
}

int rows_next(rows_t *r, file_row_t *row, bool *more, err_t *err) {
    *more = false;
    if (r->done) return 0;
    file_row_t next = {.line = r->line};
    int rc = 0;
    if (r->plain) {
        next.text = (const char *)r->map.data + r->at;
        next.len = r->map.size - r->at;
        r->done = *more = true;
    } else {
        rc = r->array ? next_element(r, &next, more, err) : next_line(r, &next, more, err);
    }
    if (rc == 0 && *more) *row = next;
    return rc;
}

int row_text(const json_t *row, const char *key, bool optional, const char **s, size_t *n, err_t *err) {
    const json_t *v = json_object_get(row, key);
    *s = "";
    *n = 0;
    if (optional && (!v || json_is_null(v))) return 0;
    if (!v) return err_set(err, ERR_USAGE, "%s is missing; expected a string", key);
    if (!json_is_string(v)) return err_set(err, ERR_USAGE, "%s: expected a string", key);
    *s = json_string_value(v);
    *n = json_string_length(v);
    return 0;
}
