/* Tokenizers inside a GGUF (ggml docs/gguf.md, "Tokenizer"): the arrays tokens, token_type, and merges or scores. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "data/tokenizer/tokenizer_parts.h"
#include "data/tokenizer/utf8.h"
#include "model/formats/gguf.h"

#define KEY(name) "tokenizer.ggml." name

typedef struct {
    const gguf_t *g;
    const char *path;
    size_t n; /* tokens */
} source_t;

static int get_tokens(source_t *s, err_t *err) {
    long n = gguf_array_len(s->g, KEY("tokens"));
    if (n <= 0) return err_set(err, ERR_USAGE, "%s: " KEY("tokens") " is missing or empty", s->path);
    if (n > VOCAB_MAX_ID)
        return err_set(err, ERR_USAGE, "%s: " KEY("tokens") ": %ld tokens; expected at most %d", s->path, n,
                       VOCAB_MAX_ID);
    s->n = (size_t)n;
    long types = gguf_array_len(s->g, KEY("token_type"));
    if (types >= 0 && types != n)
        return err_set(err, ERR_USAGE, "%s: " KEY("token_type") ": %ld entries for %ld tokens", s->path, types, n);
    return 0;
}

static int get_token(const source_t *s, size_t i, gguf_str_t *text, spm_type_t *type, err_t *err) {
    int64_t k = SPM_NORMAL;
    if (!gguf_array_str(s->g, KEY("tokens"), i, text))
        return err_set(err, ERR_USAGE, "%s: " KEY("tokens") ": expected strings", s->path);
    if (gguf_array_len(s->g, KEY("token_type")) >= 0 && !gguf_array_int(s->g, KEY("token_type"), i, &k))
        return err_set(err, ERR_USAGE, "%s: " KEY("token_type") ": expected whole numbers", s->path);
    if (k < SPM_NORMAL || k > SPM_BYTE)
        return err_set(err, ERR_USAGE, "%s: " KEY("token_type") ": token %zu has type %lld; expected 1 to 6", s->path,
                       i, (long long)k);
    *type = (spm_type_t)k;
    return 0;
}

/* ---- byte-level BPE ---- */

static int load_bpe_tokens(tokenizer_t *t, const source_t *s, err_t *err) {
    gguf_str_t text;
    spm_type_t type;
    for (size_t i = 0; i < s->n; i++) {
        if (get_token(s, i, &text, &type, err)) return err->code;
        if (vocab_add(&t->vocab, (int64_t)i, text.p, text.len, s->path, err)) return err->code;
    }
    bpe_init(&t->bpe, &t->vocab);
    for (size_t i = 0; i < s->n; i++) {
        if (get_token(s, i, &text, &type, err)) return err->code;
        if (type != SPM_CONTROL && type != SPM_USER_DEFINED) continue;
        t->vocab.tokens[i].special = type == SPM_CONTROL;
        vocab_set_bytes(&t->vocab, (int32_t)i, text.p, text.len);
        added_add(&t->added, &t->vocab, (added_token_t){.id = (int32_t)i, .special = type == SPM_CONTROL});
    }
    return 0;
}

static int load_merges(tokenizer_t *t, const source_t *s, err_t *err) {
    long n = gguf_array_len(s->g, KEY("merges"));
    if (n < 0) return err_set(err, ERR_USAGE, "%s: " KEY("merges") " is missing", s->path);
    for (long i = 0; i < n; i++) {
        gguf_str_t m;
        if (!gguf_array_str(s->g, KEY("merges"), (size_t)i, &m))
            return err_set(err, ERR_USAGE, "%s: " KEY("merges") ": expected strings", s->path);
        if (bpe_add_merge_text(&t->bpe, m.p, m.len, s->path, err)) return err->code;
    }
    return 0;
}

static int load_bpe(tokenizer_t *t, source_t *s, err_t *err) {
    gguf_str_t name;
    const pretokenizer_preset_t *preset;
    json_t *desc;
    if (!gguf_get_str(s->g, KEY("pre"), &name))
        return err_set(err, ERR_USAGE, "%s: " KEY("pre") " is missing; without it words are unknown", s->path);
    if (pretokenizer_preset(name.p, name.len, s->path, &preset, err)) return err->code;
    if (load_bpe_tokens(t, s, err) || load_merges(t, s, err)) return err->code;
    if (json_text(preset->pre_tokenizer, strlen(preset->pre_tokenizer), preset->name, &desc, err)) return err->code;
    int rc = tokenizer_set_pre(t, desc, s->path, err);
    json_decref(desc);
    t->bpe.ignore_merges = preset->ignore_merges;
    t->nfc = preset->nfc;
    t->add_bos = preset->add_bos;
    return rc;
}

/* ---- SentencePiece ---- */

static const char *const spm_role_keys[4] = {KEY("unknown_token_id"), KEY("bos_token_id"), KEY("eos_token_id"),
                                             KEY("padding_token_id")};

/* The piece of a role as a C string, NULL: the file names none. */
static char *role_piece(const source_t *s, int role, int32_t *id) {
    uint64_t v;
    gguf_str_t text;
    *id = -1;
    if (!gguf_get_uint(s->g, spm_role_keys[role], &v) || v >= s->n || !gguf_array_str(s->g, KEY("tokens"), v, &text))
        return NULL;
    *id = (int32_t)v;
    return xstrndup(text.p, text.len);
}

static int build_proto(const source_t *s, spm_proto_t *p, err_t *err) {
    if (gguf_array_len(s->g, KEY("scores")) != (long)s->n)
        return err_set(err, ERR_USAGE, "%s: " KEY("scores") ": expected one for each of %zu tokens", s->path, s->n);
    int32_t first_unknown = -1;
    for (size_t i = 0; i < s->n; i++) {
        gguf_str_t text;
        spm_type_t type = SPM_NORMAL;
        double score;
        if (get_token(s, i, &text, &type, err)) return err->code;
        if (!gguf_array_float(s->g, KEY("scores"), i, &score))
            return err_set(err, ERR_USAGE, "%s: " KEY("scores") ": expected numbers", s->path);
        spm_proto_piece(p, text.p, text.len, (float)score, type);
        if (type == SPM_UNKNOWN && first_unknown < 0) first_unknown = (int32_t)i;
    }
    spm_settings_t set = {.add_dummy_prefix = true};
    char *pieces[4];
    gguf_get_bool(s->g, KEY("add_space_prefix"), &set.add_dummy_prefix);
    gguf_get_bool(s->g, KEY("remove_extra_whitespaces"), &set.remove_extra_whitespaces);
    for (int i = 0; i < 4; i++) set.piece[i] = pieces[i] = role_piece(s, i, &set.id[i]);
    if (set.id[0] < 0) set.id[0] = first_unknown;
    spm_proto_end(p, s->n, &set);
    for (int i = 0; i < 4; i++) free(pieces[i]);
    return 0;
}

static int load_spm(tokenizer_t *t, source_t *s, err_t *err) {
    spm_proto_t p = {0};
    int rc = build_proto(s, &p, err);
    if (rc == 0) rc = tokenizer_load_spm(t, p.buf.p, p.buf.len, s->path, err);
    free(p.buf.p);
    t->add_bos = true; /* the family's default, when add_bos_token does not say */
    return rc;
}

/* ---- both ---- */

static int load_roles(tokenizer_t *t, const source_t *s, err_t *err) {
    for (int i = 0; i < ROLE_TOKEN_COUNT; i++) {
        uint64_t id;
        const char *key = spm_role_keys[i + 1];
        if (!gguf_get_uint(s->g, key, &id)) continue;
        if (id > INT32_MAX || !vocab_has(&t->vocab, (int64_t)id))
            return err_set(err, ERR_USAGE, "%s: %s is %llu; there are %zu tokens", s->path, key, (unsigned long long)id,
                           s->n);
        t->role[i] = (int32_t)id;
    }
    gguf_get_bool(s->g, KEY("add_bos_token"), &t->add_bos);
    return 0;
}

static void load_context_length(tokenizer_t *t, const gguf_t *g) {
    gguf_str_t arch;
    uint64_t n;
    if (!gguf_get_str(g, "general.architecture", &arch)) return;
    char *key = xasprintf("%.*s.context_length", arch.len > 100 ? 100 : (int)arch.len, arch.p);
    if (gguf_get_uint(g, key, &n)) t->context_length = (size_t)n;
    free(key);
}

static const struct {
    const char *model;
    int (*load)(tokenizer_t *, source_t *, err_t *);
} kinds[] = {{"gpt2", load_bpe}, {"llama", load_spm}};

static int load(tokenizer_t *t, source_t *s, err_t *err) {
    gguf_str_t model, tmpl;
    if (!gguf_get_str(s->g, KEY("model"), &model))
        return err_set(err, ERR_USAGE, "%s: " KEY("model") " is missing: the file has no tokenizer", s->path);
    size_t k = 0, n = sizeof kinds / sizeof *kinds;
    while (k < n && (strlen(kinds[k].model) != model.len || memcmp(kinds[k].model, model.p, model.len) != 0)) k++;
    if (k == n)
        return err_set(err, ERR_USAGE, "%s: " KEY("model") " is \"%.*s\"; expected gpt2 or llama", s->path,
                       model.len > 100 ? 100 : (int)model.len, model.p);
    if (get_tokens(s, err) || kinds[k].load(t, s, err) || load_roles(t, s, err)) return err->code;
    if (gguf_get_str(s->g, "tokenizer.chat_template", &tmpl)) {
        if (utf8_valid(tmpl.p, tmpl.len) != tmpl.len)
            return err_set(err, ERR_USAGE, "%s: tokenizer.chat_template: not valid UTF-8", s->path);
        t->chat_template = xstrndup(tmpl.p, tmpl.len);
    }
    load_context_length(t, s->g);
    return 0;
}

int tokenizer_load_gguf(tokenizer_t *t, const char *path, err_t *err) {
    gguf_t *g;
    if (gguf_open(path, &g, err)) return err->code;
    source_t s = {.g = g, .path = path};
    int rc = load(t, &s, err);
    gguf_close(g);
    return rc;
}
