#include "model/formats/gguf.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "model/formats/gguf_impl.h"

#define MAX_PARTS 99999 /* five digits of a file's name */

static int by_name(const void *a, const void *b) {
    return gguf_str_cmp(((const gguf_tensor_t *)a)->name, ((const gguf_tensor_t *)b)->name);
}

static int open_file(const char *path, gguf_t **out, err_t *err) {
    mapping_t map;
    if (file_map(path, &map, err)) return err->code;
    gguf_t *g = xcalloc(1, sizeof *g);
    g->path = xstrdup(path);
    g->map = map;
    if (gguf_parse(g, err)) {
        gguf_close(g);
        return err->code;
    }
    *out = g;
    return 0;
}

/* ---- parts ------------------------------------------------------------------------------------------------ */

/* "-00002-of-00003.gguf" */
static char *part_suffix(uint64_t number, uint64_t count) {
    return xasprintf("-%05" PRIu64 "-of-%05" PRIu64 ".gguf", number, count);
}

static int need_number(const gguf_t *g, const char *key, uint64_t *v, err_t *err) {
    if (gguf_get_uint(g, key, v)) return 0;
    return err_set(err, ERR_USAGE, "%s: %s: expected a whole number", g->path, key);
}

/* Only the first part has the metadata. */
static int refuse_later_part(const gguf_t *g, const char *stem, uint64_t no, uint64_t count, err_t *err) {
    char *first = part_suffix(1, count);
    err_set(err, ERR_USAGE, "%s: part %" PRIu64 " of a model in %" PRIu64 " files; expected the first, %s%s", g->path,
            no + 1, count, stem ? stem : "NAME", first);
    free(first);
    return err->code;
}

/* What comes before the suffix of this part's name; NULL where the name has another end. */
static char *part_stem(const gguf_t *g, uint64_t no, uint64_t count) {
    char *suffix = part_suffix(no + 1, count);
    size_t n = strlen(g->path) - (path_has_suffix(g->path, suffix) ? strlen(suffix) : 0);
    free(suffix);
    return g->path[n] ? xstrndup(g->path, n) : NULL;
}

static int check_part(const gguf_t *g, uint64_t no, uint64_t count, err_t *err) {
    uint64_t got_no, got_count;
    if (need_number(g, "split.no", &got_no, err) || need_number(g, "split.count", &got_count, err)) return err->code;
    if (got_no == no && got_count == count) return 0;
    return err_set(err, ERR_USAGE,
                   "%s: split.no is %" PRIu64 " and split.count %" PRIu64 "; expected %" PRIu64 " and %" PRIu64
                   ", as its name says",
                   g->path, got_no, got_count, no, count);
}

/* Opens part `no` (from 0) and adds its tensors to those of the first. */
static int add_part(gguf_t *g, const char *stem, uint64_t no, uint64_t count, err_t *err) {
    char *suffix = part_suffix(no + 1, count), *path = xasprintf("%s%s", stem, suffix);
    gguf_t *part = NULL;
    free(suffix);
    int rc = open_file(path, &part, err);
    free(path);
    if (rc) return rc;
    g->others = xrealloc_array(g->others, g->n_others + 1, sizeof *g->others);
    g->others[g->n_others++] = part;
    if (check_part(part, no, count, err)) return err->code;
    g->tensors = xrealloc_array(g->tensors, g->n_tensors + part->n_tensors, sizeof *g->tensors);
    memcpy(g->tensors + g->n_tensors, part->tensors, part->n_tensors * sizeof *g->tensors);
    g->n_tensors += part->n_tensors;
    return 0;
}

/* All parts say the same of the whole, if they say it. */
static int check_tensor_count(const gguf_t *part, const gguf_t *g, err_t *err) {
    uint64_t n;
    if (!gguf_has(part, "split.tensors.count")) return 0;
    if (need_number(part, "split.tensors.count", &n, err)) return err->code;
    if (n == g->n_tensors) return 0;
    return err_set(err, ERR_USAGE, "%s: split.tensors.count is %" PRIu64 "; the %zu parts have %zu tensors", part->path,
                   n, 1 + g->n_others, g->n_tensors);
}

static int check_tensor_counts(const gguf_t *g, err_t *err) {
    if (check_tensor_count(g, g, err)) return err->code;
    for (size_t i = 0; i < g->n_others; i++)
        if (check_tensor_count(g->others[i], g, err)) return err_prefix(err, "%s: part %zu", g->path, i + 2);
    return 0;
}

static int open_parts(gguf_t *g, err_t *err) {
    uint64_t count, no;
    if (!gguf_has(g, "split.count")) return 0;
    if (need_number(g, "split.count", &count, err)) return err->code;
    if (count < 2) return 0;
    if (need_number(g, "split.no", &no, err)) return err->code;
    if (count > MAX_PARTS || no >= count)
        return err_set(err, ERR_USAGE,
                       "%s: split.no is %" PRIu64 " and split.count %" PRIu64 "; expected at most %d parts", g->path,
                       no, count, MAX_PARTS);
    char *stem = part_stem(g, no, count), *suffix = part_suffix(no + 1, count);
    int rc = 0;
    if (no > 0) rc = refuse_later_part(g, stem, no, count, err);
    else if (!stem)
        rc = err_set(err, ERR_USAGE, "%s: the first of %" PRIu64 " files; expected a name that ends in %s", g->path,
                     count, suffix);
    for (no = 1; rc == 0 && no < count; no++)
        if (add_part(g, stem, no, count, err)) rc = err_prefix(err, "%s: part %" PRIu64, g->path, no + 1);
    free(stem);
    free(suffix);
    return rc ? rc : check_tensor_counts(g, err);
}

/* ---- all of a model --------------------------------------------------------------------------------------- */

static int sort_tensors(gguf_t *g, err_t *err) {
    qsort(g->tensors, g->n_tensors, sizeof *g->tensors, by_name);
    for (size_t i = 1; i < g->n_tensors; i++) {
        const gguf_tensor_t *a = &g->tensors[i - 1], *b = &g->tensors[i];
        if (by_name(a, b) != 0) continue;
        if (a->path == b->path)
            return err_set(err, ERR_USAGE, "%s: tensor \"%.*s\" is there twice", b->path, (int)b->name.len, b->name.p);
        return err_set(err, ERR_USAGE, "%s: tensor \"%.*s\" is there twice: in %s and in %s", g->path, (int)b->name.len,
                       b->name.p, a->path, b->path);
    }
    return 0;
}

int gguf_open(const char *path, gguf_t **out, err_t *err) {
    gguf_t *g = NULL;
    if (open_file(path, &g, err)) return err->code;
    if (open_parts(g, err) || sort_tensors(g, err)) {
        gguf_close(g);
        return err->code;
    }
    *out = g;
    return 0;
}

void gguf_close(gguf_t *g) {
    if (!g) return;
    for (size_t i = 0; i < g->n_others; i++) gguf_close(g->others[i]);
    free(g->others);
    for (size_t i = 0; i < g->n_kvs; i++) free(g->kvs[i].starts);
    free(g->kvs);
    free(g->tensors);
    file_unmap(&g->map);
    free(g->path);
    free(g);
}

const char *gguf_path(const gguf_t *g) { return g->path; }
size_t gguf_tensor_count(const gguf_t *g) { return g->n_tensors; }
const gguf_tensor_t *gguf_tensor_at(const gguf_t *g, size_t i) { return &g->tensors[i]; }

const gguf_tensor_t *gguf_find(const gguf_t *g, const char *name) {
    gguf_tensor_t key = {.name = {name, strlen(name)}};
    return bsearch(&key, g->tensors, g->n_tensors, sizeof key, by_name);
}
