/* What data sets come to: files, one format, evaluations. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "trainer/config/config_json.h"
#include "trainer/import/state.h"

/* Formats of files that are not read; names of the hub have no suffix. */
static const char *unread(const char *path) {
    static const char *const suffixes[] = {".parquet", ".csv", ".arrow", ".tsv"};
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++)
        if (path_has_suffix(path, suffixes[i])) return suffixes[i];
    return NULL;
}

void import_data_file(import_t *im, import_data_t *d, const yaml_tree_t *at, const char *key, const char *path) {
    bool there;
    if (d->one && d->n) {
        import_note(im, at, key, "%.200s: one file is evaluated; put its rows into the first", path);
        return;
    }
    char *full = import_path(im, path, &there);
    if (there && path_is_dir(full))
        import_note(im, at, key, "%.200s is a directory; put the names of its files in data.train", path);
    else if (!there)
        import_note(im, at, key,
                    "%.200s is not here; put a file of its rows there (of a data set of the hub: "
                    "datasets.load_dataset(...).to_json(FILE))",
                    path);
    if (unread(path)) import_note(im, at, key, "%s is not read; write its rows as .jsonl", unread(path));
    if (d->n++) strbuf_adds(&d->files, ", ");
    yaml_add_quoted(&d->files, full);
    d->missing |= !there;
    free(full);
}

void import_data_format(import_data_t *d, const char *format) {
    if (d->format && strcmp(d->format, format) != 0) d->mixed = true;
    d->format = format;
}

void import_data_put(import_t *im, import_data_t *d, const char *name, const yaml_tree_t *from, const char *key) {
    bool list = d->n > 1;
    if (d->n) {
        char *files = xasprintf("%s%s%s", list ? "[" : "", d->files.p, list ? "]" : "");
        char *why = xasprintf("%s, line %zu%s", key, (from->key ? from->key_at : from->at).line,
                              d->missing ? "; not all of it is here" : "");
        import_put_said(im, "data", name, files, why);
        free(why);
    }
    im->n_missing += d->missing;
    if (d->mixed) import_note(im, from, key, "rows of several formats; a run reads one: rewrite them as messages, say");
    else if (d->format && !import_has(im, "data", "format"))
        import_put(im, "data", "format", xstrdup(d->format), from, key);
    free(d->files.p);
    *d = (import_data_t){0};
}

void import_evaluate_often(import_t *im, const yaml_tree_t *at, const char *key) {
    import_put(im, "training", "eval_steps", xstrdup("50"), at, key);
    import_note(im, at, key, "only a plan tells how many steps that is; every 50 steps is written");
}
