#include "trainer/commands/completion.h"

#include <stdlib.h>
#include <string.h>

#include "trainer/commands/help.h"

/* A backslash between single quotes means different things to the shells: no text of the tables has one. */
void completion_add_quoted(strbuf_t *b, const char *text) {
    CHECK(!strchr(text, '\\'));
    strbuf_adds(b, "'");
    for (const char *p = text; *p; p++) {
        if (*p == '\'') strbuf_adds(b, "'\\''");
        else strbuf_add(b, p, 1);
    }
    strbuf_adds(b, "'");
}

/* ---- offers --------------------------------------------------------------------------------------------- */

static void add_word(strbuf_t *b, const char *word) {
    if (b->len) strbuf_adds(b, " ");
    if (strpbrk(word, "[]{},* ")) completion_add_quoted(b, word);
    else strbuf_adds(b, word);
}

static char *join(const char *const *words) {
    strbuf_t b = {0};
    strbuf_adds(&b, "");
    for (size_t i = 0; words && words[i]; i++) add_word(&b, words[i]);
    return b.p;
}

/* The two lists that such a key may be. */
static char *join_lists(const char *const *words) {
    strbuf_t b = {0};
    char *one = xasprintf("[%s]", words[0]), *both = xasprintf("[%s,%s]", words[0], words[1]);
    add_word(&b, one);
    add_word(&b, both);
    free(one);
    free(both);
    return b.p;
}

offer_t offer_of_key(const config_key_t *k) {
    switch (k->kind) {
    case KEY_BOOL: return (offer_t){xstrdup("true false"), "", false};
    case KEY_CHOICE:
    case KEY_FLAG:
    case KEY_WORD:
    case KEY_NAMES:
    case KEY_INDICES: return (offer_t){join(k->words), "", false};
    case KEY_PATH: return (offer_t){xstrdup(""), "path", false};
    case KEY_FILES: return (offer_t){xstrdup(""), "file", false};
    case KEY_WORD_PATH:
    case KEY_NONE_PATH: return (offer_t){join(k->words), "path", false};
    case KEY_TEMPLATE: return (offer_t){join(config_template_words()), "file", false};
    case KEY_DATE: return (offer_t){xstrdup("null"), "", false};
    case KEY_ALSO: return (offer_t){join_lists(k->words), "", false};
    case KEY_AUTO_BYTES:
    case KEY_AUTO_WHOLE: return (offer_t){xstrdup("auto"), "", false};
    case KEY_STEPS: return (offer_t){xstrdup("-1"), "", false};
    case KEY_WHOLE:
    case KEY_SEED:
    case KEY_REAL:
    case KEY_JSON: break;
    }
    return (offer_t){xstrdup(""), "", false};
}

static const char *paths_of(arg_kind_t kind) {
    switch (kind) {
    case ARG_CONFIG: return "config";
    case ARG_FILE: return "file";
    case ARG_DIR: return "dir";
    case ARG_PATH: return "path";
    case ARG_FLAG:
    case ARG_TEXT:
    case ARG_CHOICE:
    case ARG_WORDS:
    case ARG_WHOLE:
    case ARG_REAL:
    case ARG_KEY: break;
    }
    return "";
}

offer_t offer_of_option(const option_t *o) {
    const config_key_t *key = option_key(o);
    return key ? offer_of_key(key) : (offer_t){join(o->words), paths_of(o->kind), o->kind == ARG_WORDS};
}

offer_t offer_of_positional(const positional_t *p) { return (offer_t){join(p->words), paths_of(p->kind), false}; }

void offer_free(offer_t *offer) { free(offer->words); }

/* ---- texts ---------------------------------------------------------------------------------------------- */

size_t completion_first_override(const command_t *c) {
    size_t n = 1;
    for (size_t i = 0; i < c->n_positionals; i++) n += !c->positionals[i].optional;
    return n;
}

char *completion_help(const option_t *o) {
    char *help = help_of_option(o);
    help[strcspn(help, ";")] = 0;
    char *end = strstr(help, ". ");
    if (end) *end = 0;
    return help;
}
