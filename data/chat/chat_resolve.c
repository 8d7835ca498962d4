/* Which template a model has: names, recognition of its Jinja text, and the default system prompt in there. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "data/chat/chat_table.h"

static const char *const names[] = {
    [CHAT_CHATML] = "chatml", [CHAT_LLAMA2] = "llama2", [CHAT_LLAMA3] = "llama3", [CHAT_MISTRAL] = "mistral",
    [CHAT_ZEPHYR] = "zephyr", [CHAT_ALPACA] = "alpaca", [CHAT_NONE] = "none",     [CHAT_AUTO] = "auto"};
#define CHOICES "chatml, llama2, llama3, mistral, zephyr, alpaca or none"

const char *chat_format_name(chat_format_t f) { return names[f]; }

static bool has_token(const tokenizer_t *tok, const chat_variant_t *v) {
    return !v->token || tokenizer_find(tok, v->token) >= 0;
}

static bool describes(const char *jinja, const chat_variant_t *v) {
    for (size_t i = 0; i < 3 && v->has[i]; i++)
        if (!strstr(jinja, v->has[i])) return false;
    for (size_t i = 0; i < 3 && v->lacks[i]; i++)
        if (strstr(jinja, v->lacks[i])) return false;
    return true;
}

/* The variant that the model's own template is, or NULL. */
static const chat_variant_t *recognise(const tokenizer_t *tok, const char *jinja) {
    for (size_t i = 0; jinja && i < chat_n_variants; i++)
        if (describes(jinja, &chat_variants[i]) && has_token(tok, &chat_variants[i])) return &chat_variants[i];
    return NULL;
}

/* The variant for a format that is named although the model's template is another or none: of those whose marker
 * the vocabulary has, the last, which is the plainest; but one with a marker before one without. */
static const chat_variant_t *plainest(const tokenizer_t *tok, chat_format_t f) {
    const chat_variant_t *best = NULL;
    for (size_t i = 0; i < chat_n_variants; i++) {
        const chat_variant_t *v = &chat_variants[i];
        if (v->format == f && has_token(tok, v) && !(best && best->token && !v->token)) best = v;
    }
    return best;
}

/* The next character of a Jinja string literal, escapes undone; NULL at its end or where the text is no longer
 * a plain literal. */
static const char *literal_char(const char *s, char quote, char *c) {
    static const char escapes[] = "n\nt\tr\r\\\\'\'\"\"";
    if (*s == 0 || *s == quote || (quote == 0 && *s == '{')) return NULL;
    *c = *s;
    if (*s != '\\' || quote == 0) return s + 1;
    for (size_t i = 0; i + 1 < sizeof escapes; i += 2) {
        if (s[1] != escapes[i]) continue;
        *c = escapes[i + 1];
        return s + 2;
    }
    return NULL;
}

/* The system prompt that a ChatML template writes when a conversation brings none: what stands between the opening
 * and the end of a system turn in one literal of it. Where an expression stands in between it is another case of
 * the template, and skipped. NULL: none. */
static char *own_system(const char *jinja) {
    static const char open[] = "<|im_start|>system", end[] = "<|im_end|>";
    for (const char *at = jinja; (at = strstr(at, open)); at += sizeof open - 1) {
        char quote = at > jinja && (at[-1] == '\'' || at[-1] == '"') ? at[-1] : 0, c = 0;
        const char *s = literal_char(at + sizeof open - 1, quote, &c);
        if (!s || c != '\n') continue;
        strbuf_t b = {0};
        while (s && strncmp(s, end, sizeof end - 1) != 0) {
            s = literal_char(s, quote, &c);
            if (s) strbuf_add(&b, &c, 1);
        }
        if (s && b.len > 0) return b.p;
        free(b.p);
    }
    return NULL;
}

/* Whether the template strips white space around contents. */
static bool says_trim(const char *jinja) {
    static const char *const forms[] = {"['content'] | trim",  "['content']|trim", "[\"content\"] | trim",
                                        "[\"content\"]|trim",  ".content | trim",  ".content|trim",
                                        "['content'].strip()", ".content.strip()"};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
        if (strstr(jinja, forms[i])) return true;
    return false;
}

/* Whether the template writes BOS itself, as a variable or spelled out. */
static bool writes_bos(const tokenizer_t *tok, const char *jinja) {
    if (strstr(jinja, "bos_token")) return true;
    size_t len = 0;
    const char *text = tokenizer_bos(tok) >= 0 ? tokenizer_piece(tok, tokenizer_bos(tok), true, &len) : "";
    char *bos = xstrndup(text, len);
    /* SmolLM2's BOS is its <|im_start|>, which is no BOS where it opens turns. */
    bool found = len > 0 && strcmp(bos, "<|im_start|>") != 0 && strstr(jinja, bos);
    free(bos);
    return found;
}

int chat_template_resolve(const tokenizer_t *tok, chat_format_t wanted, chat_template_t *t, err_t *err) {
    *t = (chat_template_t){.format = wanted, .bos = -1};
    const char *jinja = tokenizer_chat_template(tok);
    const chat_variant_t *own = recognise(tok, jinja), *v = own;
    if (wanted == CHAT_AUTO && !own)
        return err_set(err, ERR_USAGE, "data.chat_template: %s; expected one of " CHOICES,
                       jinja ? "the model's own chat template is not one of those known here"
                             : "the model has no chat template, so auto finds none");
    if (wanted == CHAT_NONE) {
        if (tokenizer_add_bos(tok)) t->bos = tokenizer_bos(tok);
        return 0;
    }
    if (wanted != CHAT_AUTO && (!own || own->format != wanted)) {
        v = plainest(tok, wanted);
        own = NULL;
    }
    if (!v) {
        const char *token = "";
        for (size_t i = 0; i < chat_n_variants; i++)
            if (chat_variants[i].format == wanted) token = chat_variants[i].token;
        return err_set(err, ERR_USAGE,
                       "data.chat_template: %s needs the token %s, which the model's vocabulary does not "
                       "have; expected another template or auto",
                       names[wanted], token);
    }
    if (strchr(v->role[ROLE_ASSISTANT].close, CHAT_EOS[0]) && tokenizer_eos(tok) < 0)
        return err_set(err, ERR_USAGE,
                       "data.chat_template: %s ends answers with EOS, which the tokenizer does not name; "
                       "expected eos_token in tokenizer_config.json",
                       names[v->format]);
    t->format = v->format;
    t->variant = v;
    t->trim = v->trim;
    if (own && says_trim(jinja)) t->trim |= v->may_trim;
    if (own ? writes_bos(tok, jinja) : tokenizer_add_bos(tok)) t->bos = tokenizer_bos(tok);
    if (own && v->format == CHAT_CHATML) t->default_system = own_system(jinja);
    if (!t->default_system && v->default_system) t->default_system = xstrdup(v->default_system);
    return 0;
}

void chat_template_free(chat_template_t *t) {
    free(t->default_system);
    t->default_system = NULL;
}
