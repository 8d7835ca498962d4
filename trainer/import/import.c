#include "trainer/import/import.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/names.h"
#include "trainer/config/config_json.h"
#include "trainer/import/state.h"

static const dialect_t *const dialects[] = {&dialect_axolotl, &dialect_llama_factory};
enum { N_DIALECTS = sizeof dialects / sizeof *dialects };

/* ---- reading ---- */

static int read_tree(import_t *im) {
    char *text;
    size_t len;
    if (file_read(im->file, &text, &len, im->err)) return im->err->code;
    int rc = len > CONFIG_MAX_BYTES
                 ? err_set(im->err, ERR_USAGE, "%s: %zu bytes; expected YAML of at most 256 KiB", im->file, len)
                 : yaml_tree_parse(im->file, text, len, &im->root, im->err);
    free(text);
    return rc;
}

static int find_dialect(import_t *im) {
    const dialect_t *found = NULL;
    for (size_t i = 0; i < N_DIALECTS; i++) {
        if (!yaml_tree_member(&im->root, dialects[i]->model_key)) continue;
        if (found)
            return err_set(im->err, ERR_USAGE,
                           "%s: %s and %s are both there; expected one of them, which tells %s from %s", im->file,
                           found->model_key, dialects[i]->model_key, found->name, dialects[i]->name);
        found = dialects[i];
    }
    im->dialect = found;
    if (found) return 0;
    if (yaml_tree_member(&im->root, "model") && yaml_tree_member(&im->root, "training"))
        return err_set(im->err, ERR_USAGE, "%s: is a config of qlora-train already; train it as it is", im->file);
    return err_set(im->err, ERR_USAGE,
                   "%s: neither Axolotl's nor LLaMA-Factory's; expected the key base_model (Axolotl) or "
                   "model_name_or_path (LLaMA-Factory)",
                   im->file);
}

static const import_key_t *find_key(const dialect_t *d, const char *key) {
    for (size_t i = 0; i < d->n_keys; i++)
        if (strcmp(d->keys[i].key, key) == 0) return &d->keys[i];
    return NULL;
}

static void note_unknown(import_t *im, const yaml_tree_t *v) {
    const dialect_t *d = im->dialect;
    const char **names = xmalloc_array(d->n_keys, sizeof *names);
    for (size_t i = 0; i < d->n_keys; i++) names[i] = d->keys[i].key;
    const char *near = closest_name(v->key, names, d->n_keys);
    if (near) import_note(im, v, v->key, "is not known here; did you mean %s?", near);
    else import_note(im, v, v->key, "is not known here, and left out");
    free(names);
}

static int take(import_t *im, const yaml_tree_t *v) {
    const import_key_t *k = find_key(im->dialect, v->key);
    if (!k) {
        if (!yaml_tree_is_null(v)) note_unknown(im, v);
        return 0;
    }
    if (yaml_tree_is_null(v)) return 0;
    if (k->take) return k->take(im, k, v);
    switch (k->fate) {
    case FATE_CARRIED: return import_copy(im, k->section, k->name, v, k->key);
    case FATE_IDLE: import_idle(im, k->key); return 0;
    case FATE_LOST:
        if (import_is_something(v)) import_note(im, v, k->key, "%s", k->says);
        return 0;
    case FATE_REFUSED: break;
    }
    return import_is_something(v) ? import_error(im, v, k->key, "%s", k->says) : 0;
}

/* Where both programs agree on a default there is nothing to say. */
static void add_defaults(import_t *im) {
    const dialect_t *d = im->dialect;
    for (size_t i = 0; i < d->n_keys; i++) {
        const import_key_t *k = &d->keys[i];
        if (!k->missing || import_has(im, k->section, k->name)) continue;
        char *why = xasprintf("%s's default of %s", d->name, k->key);
        import_put_said(im, k->section, k->name, xstrdup(k->missing), why);
        free(why);
    }
}

static int read_all(import_t *im) {
    if (read_tree(im) || find_dialect(im)) return im->err->code;
    for (size_t i = 0; i < im->root.n; i++)
        if (take(im, &im->root.items[i])) return im->err->code;
    if (im->dialect->finish(im)) return im->err->code;
    add_defaults(im);
    return 0;
}

int import_read(const char *file, const char *config, import_t **out, err_t *err) {
    import_t *im = xcalloc(1, sizeof *im);
    im->file = file;
    im->err = err;
    im->file_dir = path_dirname(file);
    im->dir = path_dirname(config);
    if (strcmp(im->dir, ".") == 0) {
        free(im->dir);
        im->dir = NULL;
    }
    im->values = xcalloc(config_n_keys, sizeof *im->values);
    *out = im;
    int rc = read_all(im);
    if (rc) {
        import_free(im);
        *out = NULL;
    }
    return rc;
}

void import_free(import_t *im) {
    if (!im) return;
    for (size_t i = 0; i < config_n_keys; i++) {
        free(im->values[i].text);
        free(im->values[i].why);
    }
    for (size_t i = 0; i < im->n_notes; i++) free(im->notes[i].line);
    free(im->notes);
    free(im->values);
    free(im->idle.p);
    config_free(&im->checked);
    yaml_tree_free(&im->root);
    free(im->file_dir);
    free(im->dir);
    free(im);
}

/* ---- writing ---- */

size_t import_n_notes(const import_t *im) { return im->n_notes; }
const char *import_note_line(const import_t *im, size_t i) { return im->notes[i].line; }
size_t import_n_missing(const import_t *im) { return im->n_missing; }

static void add_values(const import_t *im, strbuf_t *b) {
    const char *section = "";
    for (size_t i = 0; i < config_n_keys; i++) {
        const config_key_t *k = &config_keys[i];
        if (!im->values[i].text) continue;
        if (strcmp(section, k->section) != 0) strbuf_addf(b, "\n%s:\n", section = k->section);
        strbuf_addf(b, "  %s: %s  # %s\n", k->name, im->values[i].text, im->values[i].why);
    }
}

/* "a, b, c" on lines of a readable width, each with `lead` in front. */
static void add_wrapped(strbuf_t *b, const char *words, const char *lead) {
    enum { WIDTH = 118 };
    size_t column = 0;
    for (const char *s = words; *s;) {
        size_t n = strcspn(s, " ");
        bool over = column + 1 + n > WIDTH;
        if (over) strbuf_adds(b, "\n");
        if (over || s == words) {
            strbuf_adds(b, lead);
            column = strlen(lead);
        } else {
            strbuf_adds(b, " ");
            column++;
        }
        strbuf_add(b, s, n);
        column += n;
        s += n + strspn(s + n, " ");
    }
    strbuf_adds(b, "\n");
}

static void add_idle(const import_t *im, strbuf_t *b) {
    if (!im->idle.len) return;
    strbuf_adds(b, "\n# These change nothing here:\n");
    add_wrapped(b, im->idle.p, "# ");
}

char *import_config(const import_t *im) {
    strbuf_t b = {0};
    strbuf_addf(
        &b,
        "# A run of qlora-train, made from a config of %s. `qlora-train plan THIS-FILE` checks it and says what\n"
        "# memory and time it takes; `qlora-train THIS-FILE` trains. docs/import.md says where keys went.\n",
        im->dialect->name);
    add_values(im, &b);
    if (im->n_notes) strbuf_adds(&b, "\n# Not carried over, or still to be put in:\n");
    for (size_t i = 0; i < im->n_notes; i++) strbuf_addf(&b, "# - %s\n", im->notes[i].line);
    add_idle(im, &b);
    return b.p;
}

/* ---- the documentation's tables ---- */

static void add_key(strbuf_t *b, const import_key_t *k) {
    const char *says = k->says ? k->says : "";
    strbuf_addf(b, "| `%s` | ", k->key);
    if (k->fate == FATE_CARRIED) strbuf_addf(b, "`%s.%s` | ", k->section, k->name);
    else strbuf_addf(b, "%s | ", k->fate == FATE_LOST ? "not carried over" : "refused");
    if (k->missing) strbuf_addf(b, "`%s`", k->missing);
    strbuf_addf(b, " | %s |\n", says);
}

static void add_dialect(strbuf_t *b, const dialect_t *d) {
    strbuf_t idle = {0};
    strbuf_addf(b, "## Keys of %s\n\n| key | goes to | where it is missing | |\n|---|---|---|---|\n", d->name);
    for (size_t i = 0; i < d->n_keys; i++)
        if (d->keys[i].fate != FATE_IDLE) add_key(b, &d->keys[i]);
    for (size_t i = 0; i < d->n_keys; i++)
        if (d->keys[i].fate == FATE_IDLE) strbuf_addf(&idle, "%s`%s`", idle.len ? ", " : "", d->keys[i].key);
    strbuf_adds(b, "\nThese change nothing here:\n");
    add_wrapped(b, idle.p, "");
    free(idle.p);
}

char *import_key_tables(void) {
    strbuf_t b = {0};
    for (size_t i = 0; i < N_DIALECTS; i++) {
        if (i) strbuf_adds(&b, "\n");
        add_dialect(&b, dialects[i]);
    }
    return b.p;
}
