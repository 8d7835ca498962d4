#include "data/tokenizer/normalizer.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "base/json.h"
#include "data/tokenizer/pattern.h"

enum { MAX_STEPS = 16 };

typedef enum { STEP_NFC, STEP_PREPEND, STEP_REPLACE } kind_t;

typedef struct {
    kind_t kind;
    pattern_t *pattern; /* of STEP_REPLACE */
    char *text;         /* what is prepended, or put in a match's place */
    size_t len;
} step_t;

struct normalizer {
    step_t steps[MAX_STEPS];
    size_t n;
};

/* ---- reading ---- */

static int add_step(normalizer_t *norm, kind_t kind, const json_t *text, const char *where, step_t **step, err_t *err) {
    if (norm->n == MAX_STEPS) return err_set(err, ERR_USAGE, "%s: normalizer: more than %d steps", where, MAX_STEPS);
    *step = &norm->steps[norm->n++];
    **step = (step_t){.kind = kind, .len = json_string_length(text)};
    (*step)->text = xstrndup(text ? json_string_value(text) : "", (*step)->len);
    return 0;
}

static int add_nfc(normalizer_t *norm, const json_t *desc, const char *where, err_t *err) {
    (void)desc;
    step_t *step = NULL;
    return add_step(norm, STEP_NFC, NULL, where, &step, err);
}

static int add_prepend(normalizer_t *norm, const json_t *desc, const char *where, err_t *err) {
    const char *text;
    step_t *step = NULL;
    if (json_need_string(desc, "prepend", where, &text, err)) return err_prefix(err, "normalizer: Prepend");
    return add_step(norm, STEP_PREPEND, json_object_get(desc, "prepend"), where, &step, err);
}

static int add_replace(normalizer_t *norm, const json_t *desc, const char *where, err_t *err) {
    const char *text;
    step_t *step = NULL;
    if (json_need_string(desc, "content", where, &text, err)) return err_prefix(err, "normalizer: Replace");
    if (add_step(norm, STEP_REPLACE, json_object_get(desc, "content"), where, &step, err)) return err->code;
    char *place = xasprintf("%s: normalizer: Replace", where);
    int rc = pattern_open_json(json_object_get(desc, "pattern"), place, &step->pattern, err);
    free(place);
    return rc;
}

static int add_steps(normalizer_t *norm, const json_t *desc, const char *where, err_t *err);

static int add_sequence(normalizer_t *norm, const json_t *desc, const char *where, err_t *err) {
    const json_t *item;
    size_t i;
    json_array_foreach(json_object_get(desc, "normalizers"), i, item) {
        if (add_steps(norm, item, where, err)) return err->code;
    }
    return 0;
}

static const struct {
    const char *type;
    int (*add)(normalizer_t *, const json_t *, const char *, err_t *);
} kinds[] = {{"Sequence", add_sequence}, {"NFC", add_nfc}, {"Prepend", add_prepend}, {"Replace", add_replace}};

static int add_steps(normalizer_t *norm, const json_t *desc, const char *where, err_t *err) {
    const char *type;
    if (json_need_string(desc, "type", where, &type, err)) return err_prefix(err, "normalizer");
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (!strcmp(type, kinds[i].type)) return kinds[i].add(norm, desc, where, err);
    }
    return err_set(err, ERR_USAGE,
                   "%s: normalizer: type \"%.100s\" is not supported; expected NFC, Prepend, Replace, a Sequence of "
                   "them, or null",
                   where, type);
}

int normalizer_open(const json_t *desc, const char *where, normalizer_t **norm, err_t *err) {
    *norm = xcalloc(1, sizeof **norm);
    return desc && !json_is_null(desc) ? add_steps(*norm, desc, where, err) : 0;
}

void normalizer_close(normalizer_t *norm) {
    if (!norm) return;
    for (size_t i = 0; i < norm->n; i++) {
        pattern_close(norm->steps[i].pattern);
        free(norm->steps[i].text);
    }
    free(norm);
}

bool normalizer_prepends(const normalizer_t *norm) {
    for (size_t i = 0; i < norm->n; i++) {
        if (norm->steps[i].kind == STEP_PREPEND) return true;
    }
    return false;
}

/* ---- applying: each step reads the text as it is and writes the next one to `out`; false: it changes nothing ---- */

/* No text is changed by NFC whose characters are all below U+0300, the first with a lead byte of 0xcc. */
static bool maybe_not_nfc(const char *text, size_t len) {
    for (size_t i = 0; i < len; i++) {
        if ((uint8_t)text[i] >= 0xcc) return true;
    }
    return false;
}

static int apply_nfc(const char *text, size_t len, strbuf_t *out, bool *changed, err_t *err) {
    if (!(*changed = maybe_not_nfc(text, len))) return 0;
    utf8proc_uint8_t *nfc = NULL;
    utf8proc_ssize_t n = utf8proc_map((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)len, &nfc,
                                      UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    if (n < 0) return err_set(err, ERR_FAILED, "Unicode normalisation failed: %s", utf8proc_errmsg(n));
    strbuf_add(out, (const char *)nfc, (size_t)n);
    free(nfc);
    return 0;
}

static int apply_replace(const step_t *s, const char *text, size_t len, strbuf_t *out, bool *changed, err_t *err) {
    pattern_match_t *m = pattern_match_new();
    size_t at = 0, start, end;
    bool found = true;
    int rc = 0;
    *changed = false;
    while (rc == 0 && at < len) {
        rc = pattern_find(s->pattern, m, text, len, at, &found, &start, &end, err);
        if (rc || !found) break;
        strbuf_add(out, text + at, start - at);
        strbuf_add(out, s->text, s->len);
        at = end;
        *changed = true;
    }
    if (*changed) strbuf_add(out, text + at, len - at);
    pattern_match_free(m);
    return rc;
}

static int apply(const step_t *s, const char *text, size_t len, strbuf_t *out, bool *changed, err_t *err) {
    switch (s->kind) {
    case STEP_NFC: return apply_nfc(text, len, out, changed, err);
    case STEP_REPLACE: return apply_replace(s, text, len, out, changed, err);
    case STEP_PREPEND: break;
    }
    *changed = len > 0;
    if (*changed) {
        strbuf_add(out, s->text, s->len);
        strbuf_add(out, text, len);
    }
    return 0;
}

int normalizer_apply(const normalizer_t *norm, const char *text, size_t len, strbuf_t *buf, const char **out,
                     size_t *out_len, err_t *err) {
    strbuf_t next = {0};
    int rc = 0;
    *out = text;
    *out_len = len;
    for (size_t i = 0; i < norm->n && rc == 0; i++) {
        bool changed = false;
        next.len = 0;
        strbuf_adds(&next, "");
        rc = apply(&norm->steps[i], *out, *out_len, &next, &changed, err);
        if (rc || !changed) continue;
        strbuf_t swap = *buf;
        *buf = next;
        next = swap;
        *out = buf->p;
        *out_len = buf->len;
    }
    free(next.p);
    return rc;
}
