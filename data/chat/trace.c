/* What is trained of a conversation, whatever its template. T is its text; the own text of a message is what its values
 * but role, names and ids gave (written.h). P is what the template writes for the messages before an answer with the
 * generation prompt, N what it writes up to the answer.
 *
 * 1. Where the template has {% generation %} blocks, these are what is trained, of the messages that are to be.
 * 2. An answer begins where T and P part, both read from behind the last text of an earlier message. If they part amid
 *    words of the template, it begins behind the last special token or white space before that. And where what
 *    add_generation_prompt adds (to P, or else to a single user's message) stands whole before the answer's text, it
 *    begins behind that; which is all that counts where the template refuses P.
 * 3. It ends behind the first token that ends a text (those of tokenizer, generation_config and config) behind its own
 *    text and in the iteration that wrote it, or up to where N ends if no iteration is the answer's or another
 *    message's text came between; else behind such a token directly after that and no white space (GLM's next
 *    <|user|>); else behind the last special token there, if only white space follows; else behind a token that ends a
 *    text after white space;
 *    else it has no end that could be learned, which is counted.
 * 4. An error: an answer without a beginning, with another message's text in it, within another answer, or with nothing
 *    in it to train; a text, call or tool's result that is not in T. Then other forms of the messages are tried
 *    (template.h). Reasoning that is not in T is counted.
 *
 * A token belongs to an answer if its first byte does. */
#include "data/chat/trace.h"

#include <stdlib.h>
#include <string.h>

#include "data/chat/template.h"
#include "data/chat/written.h"

typedef struct {
    const chat_template_t *t;
    const conversation_t *c;
    const json_t *messages; /* in the form that worked */
    size_t n;
    trace_t *trace;
    written_t *written;
    row_notes_t notes; /* of this row */
    err_t *err;
} tracer_t;

static const char *text_of(const tracer_t *r) { return r->trace->whole.text.p; }
static size_t text_len(const tracer_t *r) { return r->trace->whole.text.len; }

static const char *role_of(const json_t *messages, size_t k) {
    const char *role = json_string_value(json_object_get(json_array_get(messages, k), "role"));
    return role ? role : "";
}

static bool is_answer(const json_t *messages, size_t k) { return !strcmp(role_of(messages, k), "assistant"); }

/* ---- tokens ---- */

static size_t token_end(const trace_t *x, size_t i) {
    return i + 1 < x->starts.len ? x->starts.at[i + 1] : x->whole.text.len;
}

static bool ends_text(const tracer_t *r, int32_t id) {
    size_t n;
    const int32_t *ends = tokenizer_ends(r->t->tok, &n);
    for (size_t i = 0; i < n; i++)
        if (ends[i] == id) return true;
    return false;
}

/* The first token that is not over at `at`. */
static size_t token_at(const trace_t *x, size_t at) {
    size_t low = 0, high = x->starts.len;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (token_end(x, middle) > at) high = middle;
        else low = middle + 1;
    }
    return low;
}

static bool is_white(char c) { return c == ' ' || (c >= 9 && c <= 13); }

static bool all_white(const char *s, size_t from, size_t to) {
    while (from < to && is_white(s[from])) from++;
    return from >= to;
}

static void add_span(trace_t *x, size_t from, size_t to) {
    VEC_GROW(x->spans, x->n_spans, x->cap_spans);
    x->spans[x->n_spans++] = (span_t){from, to};
}

/* ---- 1: blocks ---- */

/* Whose a stretch of blocks is that begins with run i: its writer's, or that of the first text in it. -1: nobody's. */
static long block_owner(const jinja_output_t *out, size_t i) {
    for (; i < out->n_runs && out->runs[i].origin & JINJA_GENERATION; i++) {
        if (out->runs[i].writer >= 0) return out->runs[i].writer;
        if (jinja_traced(out->runs[i].origin)) return (long)jinja_item(out->runs[i].origin);
    }
    return -1;
}

static void trace_blocks(tracer_t *r, const bool *wanted) {
    const jinja_output_t *out = &r->trace->whole;
    long owner = -1;
    for (size_t i = 0, from = 0; i < out->n_runs; from = out->runs[i++].end) {
        const jinja_run_t *run = &out->runs[i];
        if (!(run->origin & JINJA_GENERATION)) continue;
        bool first = i == 0 || !(run[-1].origin & JINJA_GENERATION);
        if (first || run->writer >= 0) owner = block_owner(out, i);
        if (owner >= 0 && (size_t)owner < r->n && !wanted[owner]) continue;
        span_t *last = r->trace->n_spans ? &r->trace->spans[r->trace->n_spans - 1] : NULL;
        if (last && last->to == from) last->to = run->end;
        else add_span(r->trace, from, run->end);
    }
}

/* ---- 2: where an answer begins ---- */

/* An answer whose place is sought. */
typedef struct {
    size_t k;
    bool any;           /* it has own text ... */
    size_t first, last; /* ... from here to there */
    size_t limit;       /* the answer begins no later */
    size_t before;      /* the end of the last text of an earlier message */
} answer_t;

/* The place of `s` in the text between two others; SIZE_MAX: it is not there. */
static size_t find_between(const char *text, size_t from, size_t to, const char *s, size_t n) {
    for (size_t i = from; n > 0 && i + n <= to; i++)
        if (memcmp(text + i, s, n) == 0) return i;
    return SIZE_MAX;
}

static size_t common(const char *a, size_t na, const char *b, size_t nb) {
    size_t i = 0;
    while (i < na && i < nb && a[i] == b[i]) i++;
    return i;
}

/* What the generation prompt adds to `prompt`, the first n messages with it; x->bare is overwritten. */
static size_t added_by_prompt(tracer_t *r, const conversation_t *c, const json_t *messages, size_t n,
                              const jinja_output_t *prompt, const char **added) {
    err_t ignored = {0};
    jinja_output_t *bare = &r->trace->bare;
    if (chat_render(r->t, c, messages, n, false, bare, &ignored)) return 0;
    size_t same = common(prompt->text.p, prompt->text.len, bare->text.p, bare->text.len);
    *added = prompt->text.p + same;
    return prompt->text.len - same;
}

/* Behind what the generation prompt adds, where that stands whole before the answer's text; else 0. */
static size_t behind_added(tracer_t *r, const answer_t *a, const char *added, size_t n) {
    size_t at = find_between(text_of(r), a->before, a->limit, added, n);
    return at == SIZE_MAX ? 0 : at + n;
}

/* The same with what is added to a single user's message, as in most conversations to the first. */
static size_t behind_first_added(tracer_t *r, const answer_t *a) {
    err_t ignored = {0};
    const char *added = "";
    jinja_output_t *prompt = &r->trace->part;
    conversation_t alone = {.messages = json_pack("[{s:s, s:s}]", "role", "user", "content", "Hi"),
                            .kwargs = r->c->kwargs};
    size_t end = 0;
    if (chat_render(r->t, &alone, alone.messages, 1, true, prompt, &ignored) == 0) {
        size_t n = added_by_prompt(r, &alone, alone.messages, 1, prompt, &added);
        end = behind_added(r, a, added, n);
    }
    json_decref(alone.messages);
    return end;
}

/* Back from amid words: behind the last special token or white space, at `lowest` at most. */
static size_t back_off(const tracer_t *r, size_t at, size_t lowest) {
    const trace_t *x = r->trace;
    for (; at > lowest; at--) {
        size_t i = token_at(x, at - 1);
        if (is_white(text_of(r)[at - 1])) break;
        if (token_end(x, i) == at && tokenizer_is_special(r->t->tok, x->ids.ids[i])) break;
    }
    return at;
}

/* Compares T with P; false: they cannot be. *parted: P did not go on to its end. */
static bool compare_prompt(const tracer_t *r, answer_t *a, size_t *begin, bool *parted) {
    const trace_t *x = r->trace;
    const jinja_output_t *prompt = &x->prompt;
    size_t in_prompt = 0, whose = 0, whose_here = 0;
    bool earlier = written_before(r->messages, prompt, a->k, SIZE_MAX, -1, &in_prompt, &whose);
    if (earlier && !written_before(r->messages, &x->whole, a->k, a->limit, (long)whose, &a->before, &whose_here))
        return false;
    if (!earlier && a->before > 0) return false;
    size_t same = common(prompt->text.p + in_prompt, prompt->text.len - in_prompt, text_of(r) + a->before,
                         text_len(r) - a->before);
    *begin = a->before + same;
    *parted = in_prompt + same < prompt->text.len;
    return true;
}

/* Behind what the generation prompt adds, here or to a first question; 0: that is not before the answer. */
static size_t behind_prompt(tracer_t *r, const answer_t *a, bool rendered) {
    const char *added = "";
    size_t n = rendered ? added_by_prompt(r, r->c, r->messages, a->k, &r->trace->prompt, &added) : 0;
    size_t behind = behind_added(r, a, added, n);
    return behind ? behind : behind_first_added(r, a);
}

static int find_begin(tracer_t *r, answer_t *a, size_t *begin) {
    err_t refused = {0};
    size_t whose = 0;
    bool parted = true, found = false;
    a->before = 0;
    written_before(r->messages, &r->trace->whole, a->k, a->limit, -1, &a->before, &whose);
    bool rendered = chat_render(r->t, r->c, r->messages, a->k, true, &r->trace->prompt, &refused) == 0;
    if (rendered) found = compare_prompt(r, a, begin, &parted);
    if (found && !parted && a->any && *begin >= a->first) return 0;
    if (found && parted && !(a->any && *begin == a->first))
        *begin = back_off(r, *begin, a->any && *begin > a->first ? a->first : a->before);
    size_t behind = behind_prompt(r, a, rendered);
    if (!found && !behind)
        return err_set(r->err, ERR_USAGE, "where the answer begins cannot be told from the chat template");
    if (!found || behind > *begin) *begin = behind;
    bool after_answer = a->before > 0 && is_answer(r->messages, whose) && whose + 1 == a->k;
    if (after_answer && parted && !behind && all_white(text_of(r), a->before, *begin))
        return err_set(r->err, ERR_USAGE, "the chat template writes it into the answer before it");
    return 0;
}

/* ---- 3: where it ends ---- */

/* Renders N; whether T begins with it. */
static bool begins_with_part(tracer_t *r, size_t k) {
    err_t ignored = {0};
    const jinja_output_t *part = &r->trace->part;
    return chat_render(r->t, r->c, r->messages, k + 1, false, &r->trace->part, &ignored) == 0 &&
           part->text.len <= text_len(r) && memcmp(part->text.p, text_of(r), part->text.len) == 0;
}

/* How far what the template writes of an answer reaches: *bound. Where N is needed for that, own text behind it (the name
 * of a call that is repeated with its result) is none of the answer. */
static void find_bound(tracer_t *r, answer_t *a, size_t *bound) {
    trace_t *x = r->trace;
    const written_t *w = &r->written[a->k];
    bool known = a->any ? w->in_iteration : w->iteration < w->iteration_end;
    size_t from = a->any ? a->first : w->iteration, whose;
    if (a->any)
        *bound = known ? written_iteration_end(&x->whole, a->last)
                       : written_next(r->messages, &x->whole, a->k, a->last);
    else *bound = known ? w->iteration_end : text_len(r);
    if (known && written_foreign(r->messages, &x->whole, a->k, from, *bound) < 0) return;
    if (!begins_with_part(r, a->k) || x->part.text.len < from || (known && x->part.text.len > *bound)) return;
    *bound = x->part.text.len;
    if (a->any) written_before(r->messages, &x->whole, a->k + 1, *bound, (long)a->k, &a->last, &whose);
}

/* Behind the last special token in [from, bound), if only white space follows there; 0: there is none. */
static size_t behind_special(const tracer_t *r, size_t from, size_t bound) {
    const trace_t *x = r->trace;
    size_t end = 0;
    for (size_t i = token_at(x, from); i < x->ids.len && x->starts.at[i] < bound; i++)
        if (tokenizer_is_special(r->t->tok, x->ids.ids[i])) end = token_end(x, i);
    return end && all_white(text_of(r), end, bound) ? end : 0;
}

/* *open: nothing ends it. */
static size_t find_end(const tracer_t *r, size_t from, size_t bound, bool *open) {
    const trace_t *x = r->trace;
    size_t i = token_at(x, from);
    *open = false;
    for (; i < x->ids.len && x->starts.at[i] < bound; i++)
        if (ends_text(r, x->ids.ids[i])) return token_end(x, i);
    bool apart = bound > from && is_white(text_of(r)[bound - 1]);
    if (!apart && i < x->ids.len && x->starts.at[i] == bound && ends_text(r, x->ids.ids[i])) return token_end(x, i);
    size_t end = behind_special(r, from, bound);
    if (end) return end;
    for (; i < x->ids.len && all_white(text_of(r), bound, x->starts.at[i]); i++)
        if (ends_text(r, x->ids.ids[i])) return token_end(x, i);
    *open = true;
    while (bound > from && is_white(text_of(r)[bound - 1])) bound--;
    return bound;
}

/* ---- one answer ---- */

/* Where a template knows no generation prompt, an answer begins with what others have in theirs. */
static bool trains_header(const tracer_t *r, const answer_t *a, size_t begin) {
    return a->any && !jinja_reads(r->t->jinja, "add_generation_prompt") && !all_white(text_of(r), begin, a->first);
}

static int trace_answer(tracer_t *r, size_t k) {
    const written_t *w = &r->written[k];
    answer_t a = {.k = k, .any = w->any, .first = w->first, .last = w->last, .limit = w->first};
    size_t begin = 0, bound, behind;
    bool open;
    find_bound(r, &a, &bound);
    if (!a.any) a.limit = bound;
    if (find_begin(r, &a, &begin)) return r->err->code;
    behind = a.any && a.last > begin ? a.last : begin;
    size_t end = find_end(r, behind, bound > behind ? bound : behind, &open);
    r->notes.open_ends |= open;
    r->notes.empty_turns |= !a.any;
    r->notes.headers |= trains_header(r, &a, begin);
    if (end <= begin || (open && !a.any))
        return err_set(r->err, ERR_USAGE,
                       "it is empty, and the chat template writes no token that ends it; expected text");
    long foreign = written_foreign(r->messages, &r->trace->whole, k, begin, end);
    if (foreign >= 0)
        return err_set(r->err, ERR_USAGE, "the chat template writes the text of messages[%ld] into the answer",
                       foreign);
    if (r->trace->n_spans && begin < r->trace->spans[r->trace->n_spans - 1].to)
        return err_set(r->err, ERR_USAGE, "the chat template writes it into another answer");
    add_span(r->trace, begin, end);
    return 0;
}

/* ---- the whole text ---- */

static void note_reasoning(tracer_t *r, const bool *wanted) {
    for (size_t k = 0; k < r->n; k++) {
        const json_t *reasoning = json_object_get(json_array_get(r->messages, k), "reasoning_content");
        if (wanted[k] && !r->written[k].reasoning && written_says_something(reasoning)) r->notes.no_reasoning = 1;
    }
}

/* Gives back `messages`, in the form that was tried. */
static void drop_form(tracer_t *r) {
    json_decref((json_t *)r->messages);
    free(r->written);
    r->messages = NULL;
    r->written = NULL;
}

/* The first form of the messages of which all is written; the error is that of the messages as they are. */
static int render_whole(tracer_t *r) {
    err_t first = {0};
    for (form_t form = FORM_AS_IS; form < FORM_COUNT; form++) {
        jinja_output_t *out = &r->trace->whole;
        *r->err = (err_t){0};
        if (!(r->messages = chat_messages(r->c->messages, form))) continue;
        int rc = chat_render(r->t, r->c, r->messages, r->n, false, out, r->err);
        if (rc == 0) {
            r->written = written_find(r->messages, r->n, out);
            rc = written_check(r->messages, r->n, r->written, r->err);
        }
        if (rc == 0) return 0;
        if (form == FORM_AS_IS) first = *r->err;
        drop_form(r);
    }
    *r->err = first;
    return first.code;
}

static void note_spelled(tracer_t *r) {
    const trace_t *x = r->trace;
    size_t run = 0;
    for (size_t i = 0; i < x->ids.len; i++) {
        while (run < x->whole.n_runs && x->whole.runs[run].end <= x->starts.at[i]) run++;
        if (run < x->whole.n_runs && tokenizer_is_special(r->t->tok, x->ids.ids[i]) &&
            written_is_text(r->messages, x->whole.runs[run].origin))
            r->notes.spelled_tokens = 1;
    }
}

static int trace_answers(tracer_t *r, const bool *wanted) {
    for (size_t k = 0; k < r->n; k++)
        if (wanted[k] && trace_answer(r, k)) return err_prefix(r->err, "messages[%zu]", k);
    return 0;
}

/* All but the messages that are marked: of an answer its span, of another message its text. */
static int trace_rest(tracer_t *r) {
    trace_t *x = r->trace;
    size_t at = 0;
    span_t *rest = NULL;
    size_t n = 0, cap = 0;
    for (size_t k = 0; k < r->n; k++) {
        if (r->c->marks[k] != TRAIN_NO) continue;
        span_t out = {r->written[k].first, r->written[k].last};
        x->n_spans = 0;
        if (is_answer(r->messages, k)) {
            if (trace_answer(r, k)) {
                free(rest);
                return err_prefix(r->err, "messages[%zu]", k);
            }
            out = x->spans[0];
        }
        if (out.from > at) {
            VEC_GROW(rest, n, cap);
            rest[n++] = (span_t){at, out.from};
        }
        if (out.to > at) at = out.to;
    }
    x->n_spans = 0;
    for (size_t i = 0; i < n; i++) add_span(x, rest[i].from, rest[i].to);
    if (at < text_len(r)) add_span(x, at, text_len(r));
    free(rest);
    return 0;
}

static int trace_text(tracer_t *r, train_on_t train_on, const bool *wanted) {
    trace_t *x = r->trace;
    x->ids.len = x->starts.len = x->n_spans = 0;
    if (tokenizer_encode_starts(r->t->tok, text_of(r), text_len(r), true, false, &x->ids, &x->starts, r->err))
        return r->err->code;
    note_spelled(r);
    note_reasoning(r, wanted);
    if (train_on == TRAIN_ON_ALL) return trace_rest(r);
    if (!jinja_marks_generation(r->t->with_tools && r->c->tools ? r->t->with_tools : r->t->jinja))
        return trace_answers(r, wanted);
    trace_blocks(r, wanted);
    return 0;
}

/* Which messages are to be trained; *any: whether one is. */
static int find_wanted(const conversation_t *c, train_on_t train_on, bool *wanted, bool *any, err_t *err) {
    size_t n = json_array_size(c->messages), last = n;
    for (size_t k = 0; k < n; k++)
        if (is_answer(c->messages, k)) last = k;
    *any = false;
    for (size_t k = 0; k < n; k++) {
        bool answer = is_answer(c->messages, k);
        if (c->marks[k] == TRAIN_YES && !answer)
            return err_set(err, ERR_USAGE,
                           "messages[%zu]: it is marked as trained and is of the role %.40s; expected that only of an "
                           "assistant's",
                           k, role_of(c->messages, k));
        bool by_rule = answer ? train_on != TRAIN_ON_LAST || k == last : train_on == TRAIN_ON_ALL;
        wanted[k] = c->marks[k] == TRAIN_YES || (c->marks[k] == TRAIN_BY_RULE && by_rule);
        *any |= wanted[k];
    }
    return 0;
}

int chat_trace(const chat_template_t *t, const conversation_t *c, train_on_t train_on, trace_t *trace,
               row_notes_t *notes, err_t *err) {
    tracer_t r = {.t = t, .c = c, .n = json_array_size(c->messages), .trace = trace, .err = err};
    bool *wanted = xcalloc(r.n + 1, sizeof *wanted), any;
    trace->n_spans = trace->ids.len = trace->starts.len = 0;
    int rc = find_wanted(c, train_on, wanted, &any, err);
    if (rc == 0 && any) {
        rc = render_whole(&r);
        if (rc == 0) rc = trace_text(&r, train_on, wanted);
        if (rc == 0) row_notes_add(notes, &r.notes);
    }
    drop_form(&r);
    free(wanted);
    return rc;
}

void trace_free(trace_t *x) {
    jinja_output_free(&x->whole);
    jinja_output_free(&x->prompt);
    jinja_output_free(&x->bare);
    jinja_output_free(&x->part);
    free(x->ids.ids);
    free(x->starts.at);
    free(x->spans);
    *x = (trace_t){0};
}
