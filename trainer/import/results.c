/* What an import gathers: values with a word on where they come from, and notes. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/names.h"
#include "data/tokenizer/utf8.h"
#include "trainer/config/config_json.h"
#include "trainer/import/state.h"

/* ---- what the file says ---- */

const yaml_tree_t *import_get(const import_t *im, const char *key) { return yaml_tree_member(&im->root, key); }

bool import_is_bool(const char *text, bool *flag) {
    static const char *const words[2][7] = {{"no", "No", "NO", "off", "Off", "OFF", NULL},
                                            {"yes", "Yes", "YES", "on", "On", "ON", NULL}};
    if (yaml_is_bool(text, flag)) return true;
    *flag = name_is_among(text, words[1]);
    return *flag || name_is_among(text, words[0]);
}

bool import_is_something(const yaml_tree_t *v) {
    if (v->kind != YAML_ITEM_SCALAR) return v->n > 0;
    if (v->quoted) return *v->text != 0;
    bool flag;
    if (yaml_is_null(v->text) || (import_is_bool(v->text, &flag) && !flag)) return false;
    size_t n = yaml_number_length(v->text, true);
    return n == 0 || v->text[n] || strtod(v->text, NULL) != 0;
}

bool import_is_no(const yaml_tree_t *v) {
    return !import_is_something(v) || (v->kind == YAML_ITEM_SCALAR && strcmp(v->text, "no") == 0);
}

bool import_set_there(const import_t *im, const char *key) {
    const yaml_tree_t *v = import_get(im, key);
    return v && import_is_something(v);
}

/* Whatever was quoted stays on its line, and is text that YAML and terminals take. */
static void make_printable(char *s) {
    for (size_t n; s[n = utf8_valid(s, strlen(s))];) s[n] = '?';
    for (unsigned char *p = (unsigned char *)s; *p; p++) {
        bool c1 = p[0] == 0xc2 && p[1] < 0xa0; /* NEL is a line's end in YAML */
        bool separator = p[0] == 0xe2 && p[1] == 0x80 && (p[2] == 0xa8 || p[2] == 0xa9); /* so are these two */
        bool mark = p[0] == 0xef && ((p[1] == 0xbb && p[2] == 0xbf) || (p[1] == 0xbf && p[2] >= 0xbe));
        if (*p < 0x20 || *p == 0x7f) *p = '?';
        else if (c1) memset(p, '?', 2);
        else if (separator || mark) memset(p, '?', 3);
    }
}

int import_error(import_t *im, const yaml_tree_t *at, const char *key, const char *fmt, ...) {
    char what[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    place_error(&at->at, im->err, "%.100s: %s", key, what);
    make_printable(im->err->msg);
    return im->err->code;
}

int import_scalar(import_t *im, const yaml_tree_t *v, const char *key, const char **text) {
    *text = v->kind == YAML_ITEM_SCALAR ? v->text : "";
    return v->kind == YAML_ITEM_SCALAR ? 0 : import_error(im, v, key, "not a single value; expected one");
}

int import_bool(import_t *im, const yaml_tree_t *v, const char *key, bool *flag) {
    const char *text;
    if (import_scalar(im, v, key, &text)) return im->err->code;
    return import_is_bool(text, flag) ? 0 : import_error(im, v, key, "got \"%.60s\"; expected true or false", text);
}

int import_number(import_t *im, const yaml_tree_t *v, const char *key, double *number) {
    const char *text;
    if (import_scalar(im, v, key, &text)) return im->err->code;
    size_t n = yaml_number_length(text, true);
    if (n == 0 || text[n]) return import_error(im, v, key, "got \"%.60s\"; expected a number", text);
    *number = strtod(text, NULL);
    return 0;
}

/* ---- notes ---- */

void import_note(import_t *im, const yaml_tree_t *at, const char *key, const char *fmt, ...) {
    char what[768];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    const place_t *p = at->key ? &at->key_at : &at->at;
    char *line = xasprintf("%s:%zu:%zu: %.100s: %s", p->file, p->line, p->column, key, what);
    make_printable(line);
    VEC_GROW(im->notes, im->n_notes, im->cap_notes);
    size_t i = im->n_notes++;
    for (; i > 0 && im->notes[i - 1].at.line > p->line; i--) im->notes[i] = im->notes[i - 1];
    im->notes[i].at = *p;
    im->notes[i].line = line;
}

void import_idle(import_t *im, const char *key) { strbuf_addf(&im->idle, "%s%s", im->idle.len ? ", " : "", key); }

/* ---- values ---- */

static size_t slot(const char *section, const char *name) {
    const config_key_t *k = config_key_find(section, name);
    CHECK(k != NULL);
    return (size_t)(k - config_keys);
}

bool import_has(const import_t *im, const char *section, const char *name) {
    return im->values[slot(section, name)].text != NULL;
}

void import_put_said(import_t *im, const char *section, const char *name, char *text, const char *why) {
    size_t i = slot(section, name);
    free(im->values[i].text);
    free(im->values[i].why);
    im->values[i].text = text;
    im->values[i].why = xstrdup(why);
    make_printable(im->values[i].why);
}

void import_put(import_t *im, const char *section, const char *name, char *text, const yaml_tree_t *from,
                const char *key) {
    char *why = from ? xasprintf("%s, line %zu", key, (from->key ? from->key_at : from->at).line) : xstrdup(key);
    import_put_said(im, section, name, text, why);
    free(why);
}

/* An item of an entry, of which errors say where it stands and what it is called there. */
static yaml_item_t item_of(const yaml_tree_t *v, const char *where, bool number) {
    return (yaml_item_t){.kind = v->kind,
                         .text = v->text ? v->text : (char *)"",
                         .quoted = v->quoted && !number, /* "2e-4" is a number to both programs */
                         .at = {.file = where}};
}

static int copy_bool(import_t *im, const config_key_t *k, const yaml_tree_t *v, const char *key) {
    bool flag;
    if (import_bool(im, v, key, &flag)) return im->err->code;
    import_put(im, k->section, k->name, xstrdup(flag ? "true" : "false"), v, key);
    return 0;
}

int import_copy(import_t *im, const char *section, const char *name, const yaml_tree_t *v, const char *key) {
    const config_key_t *k = config_key_find(section, name);
    CHECK(k != NULL);
    if (k->kind == KEY_BOOL) return copy_bool(im, k, v, key);
    bool number = k->kind == KEY_WHOLE || k->kind == KEY_REAL || k->kind == KEY_SEED || k->kind == KEY_STEPS;
    bool list = v->kind == YAML_ITEM_LIST;
    char *where = xasprintf("%s:%zu:%zu: %s", v->at.file, v->at.line, v->at.column, key);
    yaml_entry_t e = {.section = (char *)section, .key = (char *)name, .kind = v->kind, .value_at = {.file = where}};
    e.n_items = list ? v->n : 1;
    e.items = xcalloc(e.n_items + 1, sizeof *e.items);
    for (size_t i = 0; i < e.n_items; i++) e.items[i] = item_of(list ? &v->items[i] : v, where, number);
    int rc = v->kind == YAML_ITEM_MAPPING ? import_error(im, v, key, "a mapping; expected one value")
                                          : config_value_set(k, &e, "/", &im->checked, im->err);
    if (rc == 0) import_put(im, section, name, config_value_text(k, &im->checked), v, key);
    else make_printable(im->err->msg);
    free(e.items);
    free(where);
    return rc;
}

/* ---- paths ---- */

static char *in_full(const char *path) {
    char cwd[4096];
    return getcwd(cwd, sizeof cwd) ? path_join(cwd, path) : xstrdup(path);
}

char *import_path(const import_t *im, const char *path, bool *there) {
    *there = path_exists(path);
    if (*there) return im->dir ? in_full(path) : xstrdup(path);
    char *beside = path_join(im->file_dir, path);
    *there = path_exists(beside);
    char *full = *there ? in_full(beside) : xstrdup(path);
    free(beside);
    return full;
}

int import_put_path(import_t *im, const char *section, const char *name, const yaml_tree_t *v, const char *key,
                    const char *what) {
    const char *text;
    bool there;
    if (import_scalar(im, v, key, &text)) return im->err->code;
    if (!*text) return import_error(im, v, key, "no value; expected a path");
    strbuf_t b = {0};
    char *path = import_path(im, text, &there);
    yaml_add_quoted(&b, path);
    im->n_missing += !there;
    char *why = xasprintf("%s, line %zu%s%s", key, v->at.line, there ? "" : "; is not here: ", there ? "" : what);
    import_put_said(im, section, name, b.p, why);
    free(why);
    free(path);
    return 0;
}
