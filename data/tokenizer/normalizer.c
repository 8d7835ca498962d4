#include "data/tokenizer/normalizer.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "base/json.h"
#include "data/tokenizer/pattern.h"
#include "data/tokenizer/utf8.h"

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

/* ---- applying: each step reads the text as it is and writes the next one ---- */

typedef struct {
    strbuf_t text;
    places_t from; /* the byte of the step's input that each was made from; kept if `tracked` */
    bool tracked, changed;
    size_t whole; /* bytes of the text before all steps */
} step_out_t;

/* Bytes made from those at `at`: each from its own, or all from that one. */
static void put(step_out_t *out, const char *s, size_t n, size_t at, bool each) {
    strbuf_add(&out->text, s, n);
    for (size_t i = 0; out->tracked && i < n; i++) places_add(&out->from, each ? at + i : at);
}

/* No text is changed by NFC whose characters are all below U+0300, the first with a lead byte of 0xcc. */
static bool maybe_not_nfc(const char *text, size_t len) {
    for (size_t i = 0; i < len; i++) {
        if ((uint8_t)text[i] >= 0xcc) return true;
    }
    return false;
}

static size_t decomposed(uint32_t c) {
    utf8proc_int32_t parts[32];
    int last_class = 0;
    utf8proc_ssize_t n = utf8proc_decompose_char((utf8proc_int32_t)c, parts, sizeof parts / sizeof *parts,
                                                 UTF8PROC_STABLE | UTF8PROC_DECOMPOSE, &last_class);
    return n > 0 ? (size_t)n : 1;
}

/* Both texts are the same characters once decomposed (but for the order of marks on one letter), which is how the places
 * in one are found in the other. */
static void track_nfc(const char *text, size_t len, const char *nfc, size_t n, places_t *from) {
    size_t at = 0, at_end = 0, read = 0, written = 0; /* [at, at_end) gave the decomposed characters up to `read` */
    uint32_t c;
    for (size_t i = 0, k; i < n && (k = utf8_next(nfc + i, n - i, &c)); i += k) {
        while (read <= written && at_end < len) {
            uint32_t source;
            at = at_end;
            at_end += utf8_next(text + at, len - at, &source);
            read += decomposed(source);
        }
        written += decomposed(c);
        for (size_t b = 0; b < k; b++) places_add(from, at);
    }
}

static int apply_nfc(const char *text, size_t len, step_out_t *out, err_t *err) {
    if (!(out->changed = maybe_not_nfc(text, len))) return 0;
    utf8proc_uint8_t *nfc = NULL;
    utf8proc_ssize_t n = utf8proc_map((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)len, &nfc,
                                      UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    if (n < 0) return err_set(err, ERR_FAILED, "Unicode normalisation failed: %s", utf8proc_errmsg(n));
    strbuf_add(&out->text, (const char *)nfc, (size_t)n);
    if (out->tracked) track_nfc(text, len, (const char *)nfc, (size_t)n, &out->from);
    free(nfc);
    return 0;
}

/* Steps that each make a text longer by a factor of their own would fill any memory. The most that one of the known
 * normalisations makes of a byte is three. */
enum { MOST_OF_A_BYTE = 64, MOST_OF_NONE = 1 << 16 };

static int check_growth(const step_out_t *out, err_t *err) {
    if (out->text.len / MOST_OF_A_BYTE <= out->whole + MOST_OF_NONE / MOST_OF_A_BYTE) return 0;
    return err_set(err, ERR_USAGE,
                   "the tokenizer's normalizer makes a text of %zu bytes more than %d times as long; expected one that "
                   "does not fill the memory",
                   out->whole, MOST_OF_A_BYTE);
}

static int apply_replace(const step_t *s, const char *text, size_t len, step_out_t *out, err_t *err) {
    pattern_match_t *m = pattern_match_new();
    size_t at = 0, start, end;
    bool found = true;
    int rc = 0;
    while (rc == 0 && at < len) {
        rc = pattern_find(s->pattern, m, text, len, at, &found, &start, &end, err);
        if (rc || !found) break;
        put(out, text + at, start - at, at, true);
        put(out, s->text, s->len, start, false);
        rc = check_growth(out, err);
        at = end;
        out->changed = true;
    }
    if (out->changed) put(out, text + at, len - at, at, true);
    pattern_match_free(m);
    return rc;
}

static int apply(const step_t *s, const char *text, size_t len, step_out_t *out, err_t *err) {
    switch (s->kind) {
    case STEP_NFC: return apply_nfc(text, len, out, err);
    case STEP_REPLACE: return apply_replace(s, text, len, out, err);
    case STEP_PREPEND: break;
    }
    out->changed = len > 0;
    if (out->changed) {
        put(out, s->text, s->len, 0, false);
        put(out, text, len, 0, true);
    }
    return 0;
}

/* Places of a step's input into places of the text before all steps. */
static void compose(places_t *from, places_t *step, bool first) {
    for (size_t i = 0; !first && i < step->len; i++) step->at[i] = from->at[step->at[i]];
    places_t swap = *from;
    *from = *step;
    *step = swap;
}

int normalizer_apply(const normalizer_t *norm, const char *text, size_t len, strbuf_t *buf, places_t *from,
                     const char **out, size_t *out_len, err_t *err) {
    step_out_t next = {.tracked = from != NULL, .whole = len};
    int rc = 0;
    *out = text;
    *out_len = len;
    for (size_t i = 0; i < norm->n && rc == 0; i++) {
        next.changed = false;
        next.text.len = next.from.len = 0;
        strbuf_adds(&next.text, "");
        rc = apply(&norm->steps[i], *out, *out_len, &next, err);
        if (rc || !next.changed) continue;
        if (from) compose(from, &next.from, *out == text);
        strbuf_t swap = *buf;
        *buf = next.text;
        next.text = swap;
        *out = buf->p;
        *out_len = buf->len;
    }
    free(next.text.p);
    free(next.from.at);
    return rc;
}
