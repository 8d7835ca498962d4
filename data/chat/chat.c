#include "data/chat/chat.h"

#include <stdlib.h>
#include <string.h>

#include "data/chat/chat_table.h"
#include "data/chat/chat_text.h"
#include "data/dataset.h"

static const char *const role_names[CHAT_ROLES] = {"system", "user", "assistant", "tool", "tool call"};

static bool by_assistant(chat_role_t role) { return role == ROLE_ASSISTANT || role == ROLE_CALL; }

/* What the turns of a conversation look like as a whole, before the first is written. */
static int check_turns(const chat_variant_t *v, const chat_turn_t *turns, size_t n, err_t *err) {
    size_t users = 0, answers = 0;
    for (size_t i = 0; i < n; i++) {
        chat_role_t role = turns[i].role;
        if (role == ROLE_SYSTEM && v->system_place != SYSTEM_OWN_TURN) {
            if (i > 0)
                return err_set(err, ERR_USAGE, "turn %zu: the %s template has a system message only at the start",
                               i + 1, v->name);
            continue;
        }
        if (!v->role[role].open)
            return err_set(err, ERR_USAGE,
                           "turn %zu: the %s template has no %s turns; expected a template with them "
                           "(data.chat_template: chatml or llama3)",
                           i + 1, v->name, role_names[role]);
        bool right = role == ROLE_USER ? users == answers : role != ROLE_ASSISTANT || users == answers + 1;
        if (v->alternate && !right)
            return err_set(err, ERR_USAGE,
                           "turn %zu: a second %s turn in a row; expected user and assistant in turns, "
                           "the user first, as the %s template needs",
                           i + 1, role_names[role], v->name);
        users += role == ROLE_USER;
        answers += role == ROLE_ASSISTANT;
    }
    if (users == 0 && n > 0 && turns[0].role == ROLE_SYSTEM && v->system_place != SYSTEM_OWN_TURN)
        return err_set(err, ERR_USAGE, "a system message without a user turn: the %s template has it inside one",
                       v->name);
    return 0;
}

/* Whether turn i is written into the turn before it. */
static bool joins(const chat_variant_t *v, const chat_turn_t *turns, size_t i, size_t n) {
    if (i == 0 || i >= n || !v->role[turns[i].role].join) return false;
    chat_role_t a = turns[i - 1].role, b = turns[i].role;
    return a == b || (a == ROLE_ASSISTANT && b == ROLE_CALL);
}

typedef struct {
    const chat_template_t *t;
    const chat_turn_t *turns;
    size_t n, last_user; /* last_user: n if there is none */
    text_out_t out;
} render_t;

static void strip_newlines(const char **s, size_t *n, bool left, bool right) {
    while (left && *n > 0 && **s == '\n') ++*s, --*n;
    while (right && *n > 0 && (*s)[*n - 1] == '\n') --*n;
}

/* The last place of `word` in [s, s+n), or NULL. */
static const char *find_last(const char *s, size_t n, const char *word) {
    size_t k = strlen(word);
    for (size_t i = n >= k ? n - k + 1 : 0; i-- > 0;)
        if (memcmp(s + i, word, k) == 0) return s + i;
    return NULL;
}

static const char *find_first(const char *s, size_t n, const char *word) {
    size_t k = strlen(word);
    for (size_t i = 0; i + k <= n; i++)
        if (memcmp(s + i, word, k) == 0) return s + i;
    return NULL;
}

/* Qwen 3: the reasoning of answers before the last question is dropped; the last answer always has a block,
 * an empty one (which is not trained) if the text has none. *s and *n become the text after the block. */
static int write_reasoning(render_t *r, size_t i, const char **s, size_t *n, err_t *err) {
    const char *reason = *s, *end = find_first(*s, *n, "</think>");
    size_t len = 0;
    if (end) {
        len = (size_t)(end - reason);
        const char *begin = find_last(reason, len, "<think>");
        if (begin) {
            len -= (size_t)(begin + 7 - reason);
            reason = begin + 7;
        }
        strip_newlines(&reason, &len, true, true);
        const char *rest = find_last(*s, *n, "</think>") + 8;
        *n -= (size_t)(rest - *s);
        *s = rest;
        strip_newlines(s, n, true, false);
    }
    bool current = r->last_user == r->n || i > r->last_user;
    if (!current || (i + 1 < r->n && len == 0)) return 0;
    strip_newlines(s, n, true, false);
    bool trained = len > 0;
    if (text_literal(&r->out, "<think>\n", trained, err)) return err->code;
    text_plain(&r->out, reason, len, trained);
    return text_literal(&r->out, "\n</think>\n\n", trained, err);
}

static bool system_goes_here(const render_t *r, size_t i) {
    const chat_variant_t *v = r->t->variant;
    if (r->turns[0].role != ROLE_SYSTEM || r->turns[i].role != ROLE_USER) return false;
    return (v->system_place == SYSTEM_IN_FIRST_USER && i == 1) ||
           (v->system_place == SYSTEM_IN_LAST_USER && i == r->last_user);
}

/* The template's own words after a turn's text of n bytes. */
static int write_extra(render_t *r, const chat_turn_t *turn, size_t n, bool trained, err_t *err) {
    if (!turn->extra) return 0;
    if (n > 0 && text_literal(&r->out, "\n\n", trained, err)) return err->code;
    return text_literal(&r->out, turn->extra, trained, err);
}

static void strip_turn(const render_t *r, const chat_turn_t *turn, bool left, const char **s, size_t *n) {
    *s = turn->text;
    *n = turn->len;
    if (r->t->trim >> turn->role & 1) text_strip(s, n, left, true);
}

static int write_turn(render_t *r, size_t i, err_t *err) {
    const chat_variant_t *v = r->t->variant;
    const chat_turn_t *turn = &r->turns[i];
    if (turn->role == ROLE_SYSTEM && v->system_place != SYSTEM_OWN_TURN) return 0;
    const turn_pieces_t *p = &v->role[turn->role];
    bool trained = by_assistant(turn->role), joined = joins(v, r->turns, i, r->n);
    const char *s;
    size_t n;
    if (text_literal(&r->out, joined ? p->join : p->open, joined && trained, err)) return err->code;
    if (text_literal(&r->out, p->lead, trained, err)) return err->code;
    if (i == 0 && turn->role == ROLE_SYSTEM && v->system_lead && text_literal(&r->out, v->system_lead, false, err))
        return err->code;
    bool with_system = system_goes_here(r, i);
    if (with_system) {
        if (text_literal(&r->out, v->system_open, false, err)) return err->code;
        strip_turn(r, &r->turns[0], true, &s, &n);
        text_plain(&r->out, s, n, false);
        if (write_extra(r, &r->turns[0], n, false, err)) return err->code;
        if (text_literal(&r->out, v->system_close, false, err)) return err->code;
    }
    /* The templates strip a user's text together with the system text before it. */
    strip_turn(r, turn, !with_system, &s, &n);
    if (v->think && turn->role == ROLE_ASSISTANT && write_reasoning(r, i, &s, &n, err)) return err->code;
    text_plain(&r->out, s, n, trained);
    if (write_extra(r, turn, n, trained, err)) return err->code;
    if (text_literal(&r->out, p->tail, trained, err)) return err->code;
    if (joins(v, r->turns, i + 1, r->n)) return 0;
    if (text_literal(&r->out, p->close, trained, err)) return err->code;
    return text_literal(&r->out, p->after, false, err);
}

static int write_all(render_t *r, bool generation, err_t *err) {
    const chat_variant_t *v = r->t->variant;
    if (check_turns(v, r->turns, r->n, err)) return err->code;
    r->last_user = r->n;
    for (size_t i = 0; i < r->n; i++)
        if (r->turns[i].role == ROLE_USER) r->last_user = i;
    for (size_t i = 0; i < r->n; i++)
        if (write_turn(r, i, err)) return err->code;
    if (generation && text_literal(&r->out, v->generation, false, err)) return err->code;
    return text_flush(&r->out, err);
}

int chat_render(const tokenizer_t *tok, const chat_template_t *t, const chat_turn_t *turns, size_t n_turns,
                bool train_all, bool generation, ids_t *ids, ids_t *labels, err_t *err) {
    if (!t->variant)
        return err_set(err, ERR_USAGE,
                       "a conversation needs a chat template; expected data.chat_template other than "
                       "none");
    chat_turn_t *all = NULL;
    if (t->default_system && (n_turns == 0 || turns[0].role != ROLE_SYSTEM)) {
        all = xmalloc((n_turns + 1) * sizeof *all);
        all[0] = (chat_turn_t){ROLE_SYSTEM, t->default_system, strlen(t->default_system), NULL};
        if (n_turns > 0) memcpy(all + 1, turns, n_turns * sizeof *all);
        turns = all;
        n_turns++;
    }
    /* Llama 2 writes BOS before every question by itself. */
    if (t->bos >= 0 && t->variant->role[ROLE_USER].open[0] != CHAT_BOS[0]) {
        ids_add(ids, t->bos);
        ids_add(labels, LABEL_NONE);
    }
    size_t start = labels->len;
    render_t r = {.t = t,
                  .turns = turns,
                  .n = n_turns,
                  .out = {.tok = tok, .ids = ids, .labels = labels, .train_all = train_all, .inside = ids->len > 0}};
    int rc = write_all(&r, generation, err);
    if (train_all && labels->len > start && ids->ids[start] == tokenizer_bos(tok)) labels->ids[start] = LABEL_NONE;
    text_free(&r.out);
    free(all);
    return rc;
}

size_t chat_stop_ids(const tokenizer_t *tok, const chat_template_t *t, int32_t out[4]) {
    size_t n = 0;
    if (tokenizer_eos(tok) >= 0) out[n++] = tokenizer_eos(tok);
    for (size_t i = 0; t->variant && i < 3 && t->variant->stops[i]; i++) {
        int32_t id = tokenizer_find(tok, t->variant->stops[i]);
        if (id >= 0 && (n == 0 || id != out[0])) out[n++] = id;
    }
    return n;
}
