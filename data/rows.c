#include "data/rows.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "data/odd_json.h"

/* ---- what kind of file ---- */

/* ".jsonl" of "a.jsonl.gz"; the caller frees. */
static char *plain_name(const char *path) {
    const char *suffix = unpack_suffix(path);
    return xstrndup(path, suffix ? (size_t)(suffix - path) : strlen(path));
}

bool rows_is_data(const char *path) {
    char *name = plain_name(path);
    bool data = path_has_suffix(name, ".jsonl") || path_has_suffix(name, ".json") || path_has_suffix(name, ".txt");
    free(name);
    return data;
}

/* Formats of data that are not read, and what of pandas reads them. */
static const struct {
    const char *suffix, *read;
} others[] = {{".parquet", "read_parquet"},
              {".arrow", "read_feather"},
              {".feather", "read_feather"},
              {".csv", "read_csv"},
              {".tsv", "read_table"}};
enum { OTHERS = sizeof others / sizeof *others };

static size_t find_other(const char *path) {
    size_t i = 0;
    while (i < OTHERS && !path_has_suffix(path, others[i].suffix)) i++;
    return i;
}

bool rows_is_other(const char *path) { return find_other(path) < OTHERS; }

static int refuse_kind(const char *path, err_t *err) {
    size_t i = find_other(path);
    if (i == OTHERS) return err_set(err, ERR_USAGE, "%s: unknown kind of data file; expected " ROWS_SUFFIXES, path);
    return err_set(err, ERR_USAGE,
                   "%s: %s is not read; expected JSONL: python -c 'import pandas; "
                   "pandas.%s(\"%s\").to_json(\"train.jsonl\", orient=\"records\", lines=True)' makes it",
                   path, others[i].suffix, others[i].read, path);
}

/* ---- bytes ---- */

/* The longest row of a compressed file: some bytes can unpack to any number. */
#define LONGEST ((size_t)1 << 30)
enum { FIRST_WINDOW = 1 << 18 };

/* More bytes behind those that are there; the rows before are let go. */
static int fill(rows_t *r, err_t *err) {
    size_t n;
    if (r->at > 0) {
        memmove(r->window, r->window + r->at, r->size - r->at);
        r->passed += r->at;
        r->size -= r->at;
        r->at = 0;
    }
    if (r->size > LONGEST)
        return err_set(err, ERR_USAGE, "%s:%zu: a row of more than 1 GiB; expected shorter rows", r->path, r->line);
    if (r->size == r->cap) r->window = xrealloc(r->window, r->cap = r->cap ? 2 * r->cap : FIRST_WINDOW);
    if (unpack_read(r->packed, r->window + r->size, r->cap - r->size, &n, err)) return err->code;
    r->ended = r->size + n < r->cap;
    r->size += n;
    r->data = (const uint8_t *)r->window;
    return 0;
}

static bool is_space(uint8_t c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

static int skip_space(rows_t *r, err_t *err) {
    for (;;) {
        for (; r->at < r->size && is_space(r->data[r->at]); r->at++) r->line += r->data[r->at] == '\n';
        if (r->at < r->size || r->ended) return 0;
        if (fill(r, err)) return err->code;
    }
}

static int open_bytes(rows_t *r, err_t *err) {
    if (unpack_suffix(r->path)) return unpack_open(r->path, &r->packed, err) ? err->code : fill(r, err);
    if (file_map(r->path, &r->map, err)) return err->code;
    r->data = r->map.data;
    r->size = r->map.size;
    r->ended = true;
    return 0;
}

static int begin(rows_t *r, err_t *err) {
    if (open_bytes(r, err)) return err->code;
    if (r->size >= 3 && memcmp(r->data, "\xef\xbb\xbf", 3) == 0) r->at = 3; /* byte order mark */
    if (r->plain) return 0;
    if (skip_space(r, err)) return err->code;
    r->array = r->at < r->size && r->data[r->at] == '[';
    if (r->array) r->at++;
    return 0;
}

int rows_open(const char *path, rows_t *r, err_t *err) {
    *r = (rows_t){.path = path, .line = 1};
    if (!rows_is_data(path)) return refuse_kind(path, err);
    char *name = plain_name(path);
    r->plain = path_has_suffix(name, ".txt");
    free(name);
    int rc = begin(r, err);
    if (rc) rows_close(r);
    return rc;
}

void rows_close(rows_t *r) {
    if (r->map.data) file_unmap(&r->map);
    unpack_close(r->packed);
    free(r->window);
    r->packed = NULL;
    r->window = NULL;
}

size_t rows_position(const rows_t *r) { return r->passed + r->at; }

void rows_release(rows_t *r) {
    if (r->packed) return;
    mapping_release(r->map.data + r->released, r->at - r->released);
    r->released = r->at;
}

/* ---- one value ---- */

static json_t *load(const char *text, size_t len, size_t flags, json_error_t *e) {
    return json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_ANY | flags, e);
}

/* One JSON value at the start of [text, text+len), on the line `line` of the file; *used its bytes. */
static int parse(const char *path, size_t line, const char *text, size_t len, size_t flags, file_row_t *row,
                 size_t *used, err_t *err) {
    json_error_t e;
    row->json = load(text, len, flags, &e);
    *used = (size_t)e.position;
    if (row->json) return 0;
    strbuf_t b = {0};
    size_t extent = flags & JSON_DISABLE_EOF_CHECK ? json_extent(text, len) : len;
    row->odd = odd_json_replace(text, extent, &b);
    if (row->odd) row->json = load(b.p, b.len, 0, &e);
    free(b.p);
    *used = extent;
    if (row->json) return 0;
    if (e.line > 0) line += (size_t)e.line - 1;
    /* A line may be the first of an object over several, with the rows in a member of it. */
    bool cut = !(flags & JSON_DISABLE_EOF_CHECK) && json_error_code(&e) == json_error_premature_end_of_input;
    return err_set(err, ERR_USAGE, "%s:%zu: not valid %s: %s%s", path, line,
                   json_error_code(&e) == json_error_invalid_utf8 ? "UTF-8" : "JSON", e.text,
                   cut ? "; expected a row on one line, or an array [...] of rows" : "");
}

int row_parse(const char *path, file_row_t *row, err_t *err) {
    size_t used;
    if (!row->unparsed) return 0;
    row->unparsed = false;
    return parse(path, row->line, row->text, row->len, 0, row, &used, err);
}

void row_free(file_row_t *row) {
    json_decref(row->json);
    free(row->owned);
    *row = (file_row_t){0};
}

/* ---- rows ---- */

/* The next `len` bytes are the row's text. */
static void take_text(rows_t *r, file_row_t *row, size_t len) {
    row->text = (const char *)r->data + r->at;
    row->len = len;
    if (r->packed) row->text = row->owned = memcpy(xmalloc(len + 1), row->text, len);
    r->at += len;
}

static int next_line(rows_t *r, file_row_t *row, bool *more, err_t *err) {
    if (skip_space(r, err)) return err->code;
    *more = r->at < r->size;
    if (!*more) return 0;
    const uint8_t *nl;
    for (size_t seen = 0;;) {
        nl = memchr(r->data + r->at + seen, '\n', r->size - r->at - seen);
        if (nl || r->ended) break;
        seen = r->size - r->at;
        if (fill(r, err)) return err->code;
    }
    row->unparsed = true;
    row->line = r->line;
    take_text(r, row, nl ? (size_t)(nl - r->data) - r->at : r->size - r->at);
    return 0;
}

/* So that the window has an element from its beginning to behind its end. */
static int fill_element(rows_t *r, err_t *err) {
    while (!r->ended && json_extent((const char *)r->data + r->at, r->size - r->at) == r->size - r->at)
        if (fill(r, err)) return err->code;
    return 0;
}

static int end_array(rows_t *r, bool *more, err_t *err) {
    r->at++;
    if (skip_space(r, err)) return err->code;
    r->done = true;
    *more = false;
    if (r->at == r->size) return 0;
    return err_set(err, ERR_USAGE, "%s:%zu: text after the end of the array", r->path, r->line);
}

/* The comma behind an element, or the array's end, which stays. */
static int after_element(rows_t *r, err_t *err) {
    if (skip_space(r, err)) return err->code;
    uint8_t c = r->at < r->size ? r->data[r->at] : 0;
    bool comma = c == ',';
    if (comma) {
        r->at++;
        if (skip_space(r, err)) return err->code;
    }
    if (comma ? !(r->at < r->size && r->data[r->at] == ']') : c == ']') return 0;
    return err_set(err, ERR_USAGE, "%s:%zu: not valid JSON: expected %s", r->path, r->line,
                   comma ? "another element after the comma" : "',' or ']' after an element of the array");
}

static int next_element(rows_t *r, file_row_t *row, bool *more, err_t *err) {
    size_t used = 0;
    if (skip_space(r, err)) return err->code;
    if (r->at < r->size && r->data[r->at] == ']') return end_array(r, more, err);
    if (fill_element(r, err)) return err->code;
    if (parse(r->path, r->line, (const char *)r->data + r->at, r->size - r->at, JSON_DISABLE_EOF_CHECK, row, &used,
              err))
        return err->code;
    row->line = r->line;
    for (size_t end = r->at + used; r->at < end; r->at++) r->line += r->data[r->at] == '\n';
    if (after_element(r, err)) {
        row_free(row);
        return err->code;
    }
    *more = true;
    return 0;
}

static int next_text(rows_t *r, file_row_t *row, bool *more, err_t *err) {
    while (!r->ended)
        if (fill(r, err)) return err->code;
    row->text = (const char *)r->data + r->at;
    row->len = r->size - r->at;
    if (r->packed) { /* the window goes along */
        row->owned = r->window;
        r->window = NULL;
    }
    r->at = r->size;
    r->done = *more = true;
    return 0;
}

int rows_next_unparsed(rows_t *r, file_row_t *row, bool *more, err_t *err) {
    *more = false;
    if (r->done) return 0;
    file_row_t next = {.line = r->line};
    int rc = r->plain   ? next_text(r, &next, more, err)
             : r->array ? next_element(r, &next, more, err)
                        : next_line(r, &next, more, err);
    if (rc == 0 && *more) *row = next;
    return rc;
}

int rows_next(rows_t *r, file_row_t *row, bool *more, err_t *err) {
    file_row_t next;
    if (rows_next_unparsed(r, &next, more, err)) return err->code;
    if (*more && row_parse(r->path, &next, err)) {
        row_free(&next);
        *more = false;
        return err->code;
    }
    if (*more) *row = next;
    return 0;
}

/* ---- members of a row ---- */

const json_t *row_member(const json_t *obj, const char *key) {
    const json_t *v = json_object_get(obj, key);
    return json_is_null(v) ? NULL : v;
}

bool row_member_empty(const json_t *obj, const char *key) {
    const json_t *v = row_member(obj, key);
    return !v || (json_is_array(v) && json_array_size(v) == 0) || (json_is_string(v) && json_string_length(v) == 0);
}

int row_text(const json_t *row, const char *key, bool optional, const char **s, size_t *n, err_t *err) {
    const json_t *v = json_object_get(row, key);
    *s = "";
    *n = 0;
    if (optional && !row_member(row, key)) return 0;
    if (!v) return err_set(err, ERR_USAGE, "%s is missing; expected a string", key);
    if (odd_json_is(v)) return odd_json_refuse(v, err) ? err_prefix(err, "%s", key) : 0;
    if (!json_is_string(v)) return err_set(err, ERR_USAGE, "%s: expected a string", key);
    *s = json_string_value(v);
    *n = json_string_length(v);
    return 0;
}
