#include "data/tokenizer/tokenizer_gguf_write.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "data/tokenizer/tokenizer_parts.h"
#include "data/tokenizer/utf8.h"

#define KEY(name) "tokenizer.ggml." name

typedef struct {
    const tokenizer_t *t;
    size_t n;      /* tokens: rows of the model */
    uint8_t *type; /* spm_type_t of each */
    float *score;
} tokens_t;

/* Byte-level BPE and SentencePiece have the same types; those that no token has are unused. */
static void find_types(tokens_t *v) {
    const tokenizer_t *t = v->t;
    for (size_t id = 0; id < v->n; id++) v->type[id] = vocab_has(&t->vocab, (int64_t)id) ? SPM_NORMAL : SPM_UNUSED;
    for (size_t i = 0; i < t->added.n; i++)
        v->type[t->added.v[i].id] = t->added.v[i].special ? SPM_CONTROL : SPM_USER_DEFINED;
}

static void warn_of_strips(const tokenizer_t *t, const char *where) {
    size_t n = 0;
    for (size_t i = 0; i < t->added.n; i++) n += t->added.v[i].lstrip || t->added.v[i].rstrip;
    if (n)
        log_warn("%s: %zu added tokens take white space beside them along, which a GGUF cannot say: there it is tokens "
                 "of its own",
                 where, n);
}

/* llama.cpp looks for user-defined pieces in the text as it is, in which a space is no mark. */
static void add_user_defined(gguf_writer_t *w, const char *text, size_t len) {
    const size_t mark = strlen(SPACE_MARK);
    strbuf_t b = {0};
    for (size_t i = 0; i < len;) {
        bool space = len - i >= mark && !memcmp(text + i, SPACE_MARK, mark);
        strbuf_add(&b, space ? " " : text + i, 1);
        i += space ? mark : 1;
    }
    gguf_add_str(w, b.p, b.len);
    free(b.p);
}

static void put_tokens(const tokens_t *v, bool spm, gguf_writer_t *w) {
    gguf_put_strs(w, KEY("tokens"), v->n);
    for (size_t id = 0; id < v->n; id++) {
        char none[32];
        size_t len = (size_t)snprintf(none, sizeof none, "[PAD%zu]", id);
        const char *text = none;
        if (vocab_has(&v->t->vocab, (int64_t)id)) text = vocab_text(&v->t->vocab, (int32_t)id, &len);
        if (spm && v->type[id] == SPM_USER_DEFINED) add_user_defined(w, text, len);
        else gguf_add_str(w, text, len);
    }
    if (spm) {
        gguf_put_f32s(w, KEY("scores"), v->n);
        for (size_t id = 0; id < v->n; id++) gguf_add_f32(w, v->score[id]);
    }
    gguf_put_i32s(w, KEY("token_type"), v->n);
    for (size_t id = 0; id < v->n; id++) gguf_add_i32(w, v->type[id]);
}

/* ---- byte-level BPE ---- */

static int put_bpe(const tokens_t *v, gguf_writer_t *w, const char *where, err_t *err) {
    const tokenizer_t *t = v->t;
    char *name;
    if (pretokenizer_preset_name(t->norm_desc, t->pre_desc, t->bpe.ignore_merges, where, &name, err)) return err->code;
    gguf_put_str(w, KEY("model"), "gpt2");
    gguf_put_str(w, KEY("pre"), name);
    free(name);
    put_tokens(v, false, w);
    gguf_put_strs(w, KEY("merges"), t->bpe.n_merges);
    strbuf_t b = {0};
    for (size_t i = 0; i < t->bpe.n_merges; i++) {
        size_t left, right;
        const char *l = vocab_text(&t->vocab, t->bpe.merges[i].left, &left);
        const char *r = vocab_text(&t->vocab, t->bpe.merges[i].right, &right);
        b.len = 0;
        strbuf_add(&b, l, left);
        strbuf_add(&b, " ", 1);
        strbuf_add(&b, r, right);
        gguf_add_str(w, b.p, b.len);
    }
    free(b.p);
    gguf_put_bool(w, KEY("add_space_prefix"), false);
    return 0;
}

/* ---- SentencePiece ---- */

/* Of pieces that no score is known of. */
#define LOW_SCORE (-1e6f)

static void scores_of_model(tokens_t *v) {
    size_t size = spm_model_size(v->t->spm), len;
    for (size_t id = 0; id < v->n; id++) {
        float score = LOW_SCORE;
        spm_type_t type = (spm_type_t)v->type[id];
        if (id < size) spm_model_piece(v->t->spm, (int32_t)id, &len, &score, &type);
        v->score[id] = score;
        if (id < size) v->type[id] = (uint8_t)type;
    }
}

static bool is_character(const vocab_t *vocab, int32_t id) {
    size_t len;
    uint32_t c;
    const char *text = vocab_text(vocab, id, &len);
    return len && utf8_next(text, len, &c) == len;
}

/* A tokenizer.json has the merges that scores stand for: a piece's is the rank of the first that gives it. What none
 * gives is in no text. */
static void scores_of_merges(tokens_t *v) {
    const tokenizer_t *t = v->t;
    for (size_t id = 0; id < v->n; id++) v->score[id] = LOW_SCORE;
    for (size_t i = t->bpe.n_merges; i-- > 0;) v->score[t->bpe.merges[i].result] = -(float)i;
    for (size_t id = 0; id < v->n; id++)
        if (v->type[id] == SPM_NORMAL && v->score[id] == LOW_SCORE && !is_character(&t->vocab, (int32_t)id))
            v->type[id] = SPM_UNUSED;
    for (int byte = 0; byte < 256; byte++)
        if (t->bpe.byte_id[byte] >= 0) v->type[t->bpe.byte_id[byte]] = SPM_BYTE;
    if (t->bpe.unk >= 0) v->type[t->bpe.unk] = SPM_UNKNOWN;
}

static int put_spm(tokens_t *v, gguf_writer_t *w) {
    const tokenizer_t *t = v->t;
    v->score = xcalloc(v->n, sizeof *v->score);
    if (t->spm) scores_of_model(v);
    else scores_of_merges(v);
    gguf_put_str(w, KEY("model"), "llama");
    gguf_put_str(w, KEY("pre"), "default");
    put_tokens(v, true, w);
    free(v->score);
    gguf_put_bool(w, KEY("add_space_prefix"), t->prefix != PREFIX_NEVER);
    for (size_t id = 0; id < v->n; id++)
        if (v->type[id] == SPM_UNKNOWN) {
            gguf_put_u32(w, KEY("unknown_token_id"), (uint32_t)id);
            break;
        }
    return 0;
}

/* ---- both ---- */

static void put_id(gguf_writer_t *w, const char *key, long id) {
    if (id >= 0) gguf_put_u32(w, key, (uint32_t)id);
}

static void put_roles(const tokenizer_t *t, const long *ends, size_t n_ends, gguf_writer_t *w) {
    long eos = t->role[ROLE_TOKEN_EOS], turn = -1;
    if (eos < 0 && n_ends) eos = ends[0];
    for (size_t i = n_ends; i-- > 0;)
        if (ends[i] != eos) turn = ends[i];
    put_id(w, KEY("bos_token_id"), t->role[ROLE_TOKEN_BOS]);
    put_id(w, KEY("eos_token_id"), eos);
    put_id(w, KEY("eot_token_id"), turn);
    put_id(w, KEY("padding_token_id"), t->role[ROLE_TOKEN_PAD]);
    gguf_put_bool(w, KEY("add_bos_token"), t->add_bos);
    gguf_put_bool(w, KEY("add_eos_token"), false);
}

int tokenizer_put_gguf(const tokenizer_t *t, size_t vocab, const long *ends, size_t n_ends, const char *chat_template,
                       gguf_writer_t *w, const char *where, err_t *err) {
    if (t->vocab.n > vocab)
        return err_set(err, ERR_USAGE, "%s: the tokenizer has %zu tokens and the model %zu rows; a GGUF has one each",
                       where, t->vocab.n, vocab);
    tokens_t v = {.t = t, .n = vocab, .type = xcalloc(vocab, 1)};
    find_types(&v);
    int rc = tokenizer_is_spm(t) ? put_spm(&v, w) : put_bpe(&v, w, where, err);
    free(v.type);
    if (rc) return rc;
    put_roles(t, ends, n_ends, w);
    if (!chat_template) chat_template = t->chat_template;
    if (chat_template) gguf_put_str(w, "tokenizer.chat_template", chat_template);
    warn_of_strips(t, where);
    return 0;
}
