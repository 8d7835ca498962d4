/* Tokenizers inside a GGUF (ggml docs/gguf.md, "Tokenizer"): the arrays tokens, token_type, and merges or scores. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "data/tokenizer/tokenizer_parts.h"
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
    if (bpe_init(&t->bpe, &t->vocab, BPE_BYTES, s->path, err)) return err->code;
    for (size_t i = 0; i < s->n; i++) {
        if (get_token(s, i, &text, &type, err)) return err->code;
        if (type != SPM_CONTROL && type != SPM_USER_DEFINED) continue;
        t->vocab.tokens[i].special = type == SPM_CONTROL;
        vocab_set_bytes(&t->vocab, (int32_t)i, text.p, text.len);
        if (tokenizer_add_added(t, (added_token_t){.id = (int32_t)i, .special = type == SPM_CONTROL}, err))
            return err->code;
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
    if (!gguf_get_str(s->g, KEY("pre"), &name))
        return err_set(err, ERR_USAGE, "%s: " KEY("pre") " is missing; without it words are unknown", s->path);
    if (pretokenizer_preset(name.p, name.len, s->path, &preset, err)) return err->code;
    json_t *norm = preset->nfc ? json_pack("{s:s}", "type", "NFC") : NULL, *pre = pretokenizer_preset_json(preset);
    int rc = tokenizer_set_steps(t, norm, pre, s->path, err);
    json_decref(norm);
    json_decref(pre);
    if (rc || load_bpe_tokens(t, s, err) || load_merges(t, s, err)) return err->code;
    t->bpe.ignore_merges = preset->ignore_merges;
    t->add_bos = preset->add_bos;
    return 0;
}

/* ---- SentencePiece ---- */

/* In the order of spm_pieces_t.id; the roles follow the first. */
static const char *const id_keys[4] = {KEY("unknown_token_id"), KEY("bos_token_id"), KEY("eos_token_id"),
                                       KEY("padding_token_id")};
#define NO_TOKEN UINT32_MAX /* how writers that store every id say "none" */

static int get_id(const source_t *s, const char *key, int32_t *id, err_t *err) {
    uint64_t v;
    *id = -1;
    if (!gguf_get_uint(s->g, key, &v) || v == NO_TOKEN) return 0;
    if (v >= s->n)
        return err_set(err, ERR_USAGE, "%s: %s is %llu; there are %zu tokens", s->path, key, (unsigned long long)v,
                       s->n);
    *id = (int32_t)v;
    return 0;
}

/* llama.cpp's converter writes a user-defined piece with its spaces as such, where the model has their marks. */
static int add_piece(tokenizer_t *t, const source_t *s, size_t i, gguf_str_t text, err_t *err) {
    bool spaced = t->pieces.type[i] == SPM_USER_DEFINED && memchr(text.p, ' ', text.len);
    if (!spaced || t->pieces.add_dummy_prefix) return vocab_add(&t->vocab, (int64_t)i, text.p, text.len, s->path, err);
    strbuf_t b = {0};
    for (size_t k = 0; k < text.len; k++) {
        if (text.p[k] == ' ') strbuf_adds(&b, SPACE_MARK);
        else strbuf_add(&b, text.p + k, 1);
    }
    int rc = vocab_add(&t->vocab, (int64_t)i, b.p, b.len, s->path, err);
    free(b.p);
    return rc;
}

static int load_pieces(tokenizer_t *t, const source_t *s, err_t *err) {
    spm_pieces_t *p = &t->pieces;
    if (gguf_array_len(s->g, KEY("scores")) != (long)s->n)
        return err_set(err, ERR_USAGE, "%s: " KEY("scores") ": expected one for each of %zu tokens", s->path, s->n);
    p->n = s->n;
    p->score = xcalloc(s->n, sizeof *p->score);
    p->type = xcalloc(s->n, sizeof *p->type);
    for (int i = 0; i < 4; i++) {
        if (get_id(s, id_keys[i], &p->id[i], err)) return err->code;
    }
    p->add_dummy_prefix = true;
    gguf_get_bool(s->g, KEY("add_space_prefix"), &p->add_dummy_prefix);
    gguf_get_bool(s->g, KEY("remove_extra_whitespaces"), &p->remove_extra_whitespaces);
    for (size_t i = 0; i < s->n; i++) {
        gguf_str_t text;
        spm_type_t type = SPM_NORMAL;
        double score;
        if (get_token(s, i, &text, &type, err)) return err->code;
        if (!gguf_array_float(s->g, KEY("scores"), i, &score))
            return err_set(err, ERR_USAGE, "%s: " KEY("scores") ": expected numbers", s->path);
        p->score[i] = (float)score;
        p->type[i] = (uint8_t)type;
        if (type == SPM_UNKNOWN && p->id[0] < 0) p->id[0] = (int32_t)i;
        if (add_piece(t, s, i, text, err)) return err->code;
    }
    return 0;
}

static json_t *replace(const char *kind, const char *from, const char *to) {
    return json_pack("{s:s, s:{s:s}, s:s}", "type", "Replace", "pattern", kind, from, "content", to);
}

/* What the library does to text before it is cut into pieces. */
static json_t *spm_normalizer(const spm_pieces_t *p) {
    json_t *list = json_array();
    if (p->remove_extra_whitespaces) {
        json_array_append_new(list, replace("Regex", "\\A +| +\\z", ""));
        json_array_append_new(list, replace("Regex", " {2,}", " "));
    }
    if (p->add_dummy_prefix)
        json_array_append_new(list, json_pack("{s:s, s:s}", "type", "Prepend", "prepend", SPACE_MARK));
    json_array_append_new(list, replace("String", " ", SPACE_MARK));
    return json_pack("{s:s, s:o}", "type", "Sequence", "normalizers", list);
}

/* User-defined pieces are found in the normalised text, as the library has it; but a normaliser that puts a space
 * before every text would do so to the piece that is looked for too, so then they are found before. */
static int add_special_pieces(tokenizer_t *t, err_t *err) {
    const spm_pieces_t *p = &t->pieces;
    for (size_t i = 0; i < p->n; i++) {
        added_token_t a = {.id = (int32_t)i, .special = p->type[i] == SPM_CONTROL || p->type[i] == SPM_UNKNOWN};
        a.always = p->type[i] == SPM_USER_DEFINED;
        a.normalized = a.always && !p->add_dummy_prefix;
        if (!a.special && !a.always) continue;
        t->vocab.tokens[i].special = a.special;
        if (tokenizer_add_added(t, a, err)) return err->code;
    }
    return 0;
}

static int load_spm(tokenizer_t *t, source_t *s, err_t *err) {
    if (load_pieces(t, s, err)) return err->code;
    json_t *norm = spm_normalizer(&t->pieces);
    int rc = tokenizer_set_steps(t, norm, NULL, s->path, err);
    json_decref(norm);
    bpe_symbols_t symbols = memchr(t->pieces.type, SPM_BYTE, t->pieces.n) ? BPE_FALLBACK : BPE_CHARACTERS;
    if (rc || bpe_init(&t->bpe, &t->vocab, symbols, s->path, err) || spm_merges(&t->pieces, &t->bpe, s->path, err) ||
        add_special_pieces(t, err))
        return err->code;
    t->bpe.unk = t->pieces.id[0];
    t->bpe.fuse_unk = true;
    t->add_bos = true; /* the family's default, when add_bos_token does not say */
    return 0;
}

/* ---- both ---- */

static int load_roles(tokenizer_t *t, const source_t *s, err_t *err) {
    for (int i = 0; i < ROLE_TOKEN_COUNT; i++) {
        if (get_id(s, id_keys[i + 1], &t->role[i], err)) return err->code;
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

/* Ends of a turn and of a message that is a call, besides EOS. */
static void load_ends(tokenizer_t *t, const source_t *s) {
    static const char *const keys[] = {KEY("eos_token_id"), KEY("eot_token_id"), KEY("eom_token_id")};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        uint64_t id;
        if (!gguf_get_uint(s->g, keys[i], &id) || id >= s->n) continue;
        json_t *v = json_integer((json_int_t)id);
        tokenizer_add_ends(t, v);
        json_decref(v);
    }
}

/* tokenizer.chat_template is the default one, tokenizer.chat_templates has the names of others. */
static int load_templates(tokenizer_t *t, const source_t *s, err_t *err) {
    static const char key[] = "tokenizer.chat_template", from[] = "tokenizer.chat_template of the GGUF";
    gguf_str_t text, name;
    if (gguf_get_str(s->g, key, &text) && tokenizer_add_template(t, "default", text.p, text.len, key, from, err))
        return err_prefix(err, "%s", s->path);
    long n = gguf_array_len(s->g, "tokenizer.chat_templates");
    int rc = 0;
    for (long i = 0; i < n && rc == 0; i++) {
        if (!gguf_array_str(s->g, "tokenizer.chat_templates", (size_t)i, &name)) continue;
        char *only = xstrndup(name.p, name.len), *named = xasprintf("%s.%s", key, only);
        if (gguf_get_str(s->g, named, &text) && tokenizer_add_template(t, only, text.p, text.len, named, from, err))
            rc = err_prefix(err, "%s", s->path);
        free(named);
        free(only);
    }
    return rc;
}

static const struct {
    const char *model;
    int (*load)(tokenizer_t *, source_t *, err_t *);
} kinds[] = {{"gpt2", load_bpe}, {"llama", load_spm}};

static int load(tokenizer_t *t, source_t *s, err_t *err) {
    gguf_str_t model;
    if (!gguf_get_str(s->g, KEY("model"), &model))
        return err_set(err, ERR_USAGE, "%s: " KEY("model") " is missing: the file has no tokenizer", s->path);
    size_t k = 0, n = sizeof kinds / sizeof *kinds;
    while (k < n && (strlen(kinds[k].model) != model.len || memcmp(kinds[k].model, model.p, model.len) != 0)) k++;
    if (k == n)
        return err_set(err, ERR_USAGE, "%s: " KEY("model") " is \"%.*s\"; expected gpt2 or llama", s->path,
                       model.len > 100 ? 100 : (int)model.len, model.p);
    if (get_tokens(s, err) || kinds[k].load(t, s, err) || load_roles(t, s, err)) return err->code;
    tokenizer_name_tokens(t, NULL, NULL, true);
    load_ends(t, s);
    load_context_length(t, s->g);
    return load_templates(t, s, err);
}

int tokenizer_load_gguf(tokenizer_t *t, const char *path, err_t *err) {
    gguf_t *g;
    if (gguf_open(path, &g, err)) return err->code;
    source_t s = {.g = g, .path = path};
    int rc = load(t, &s, err);
    gguf_close(g);
    return rc;
}
