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

/* One JSON value at the start of [text, text+len), on the line `line` of the file; *used its bytes. */
static int parse(const char *path, size_t line, const char *text, size_t len, size_t flags, json_t **json, size_t *used,
                 err_t *err) {
    json_error_t e;
    *json = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_ANY | flags, &e);
    *used = (size_t)e.position;
    if (*json) return 0;
    if (e.line > 0) line += (size_t)e.line - 1;
    return err_set(err, ERR_USAGE, "%s:%zu: not valid %s: %s", path, line,
                   json_error_code(&e) == json_error_invalid_utf8 ? "UTF-8" : "JSON", e.text);
}

int row_parse(const char *path, file_row_t *row, err_t *err) {
    size_t used;
    if (!row->unparsed) return 0;
    row->unparsed = false;
    return parse(path, row->line, row->text, row->len, 0, &row->json, &used, err);
}

static void next_line(rows_t *r, file_row_t *row, bool *more) {
    skip_space(r);
    *more = r->at < r->map.size;
    if (!*more) return;
    const uint8_t *p = r->map.data + r->at, *nl = memchr(p, '\n', r->map.size - r->at);
    size_t end = nl ? (size_t)(nl - r->map.data) : r->map.size;
    *row = (file_row_t){.unparsed = true, .text = (const char *)p, .len = end - r->at, .line = r->line};
    r->at = end;
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
    if (parse(r->path, r->line, (const char *)r->map.data + r->at, r->map.size - r->at, JSON_DISABLE_EOF_CHECK,
              &row->json, &used, err))
        return err->code;
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

int rows_next_unparsed(rows_t *r, file_row_t *row, bool *more, err_t *err) {
    *more = false;
    if (r->done) return 0;
    file_row_t next = {.line = r->line};
    int rc = 0;
    if (r->plain) {
        next.text = (const char *)r->map.data + r->at;
        next.len = r->map.size - r->at;
        r->at = r->map.size;
        r->done = *more = true;
    } else if (r->array) {
        rc = next_element(r, &next, more, err);
    } else {
        next_line(r, &next, more);
    }
    if (rc == 0 && *more) *row = next;
    return rc;
}

int rows_next(rows_t *r, file_row_t *row, bool *more, err_t *err) {
    file_row_t next;
    if (rows_next_unparsed(r, &next, more, err)) return err->code;
    if (*more && row_parse(r->path, &next, err)) return *more = false, err->code;
    if (*more) *row = next;
    return 0;
}

void rows_release(rows_t *r) {
    mapping_release(r->map.data + r->released, r->at - r->released);
    r->released = r->at;
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
