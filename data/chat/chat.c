/* Conversations to ids and labels. */
#include "data/chat/chat.h"

#include <stdlib.h>
#include <string.h>

#include "data/chat/template.h"
#include "data/chat/trace.h"
#include "data/chat/written.h"
#include "data/dataset.h"

/* The label of each token by the span in which it begins. */
static size_t add_labels(const trace_t *x, bool without_bos, ids_t *labels) {
    size_t span = 0, trained = 0;
    for (size_t i = 0; i < x->ids.len; i++) {
        while (span < x->n_spans && x->spans[span].to <= x->starts.at[i]) span++;
        bool in = span < x->n_spans && x->spans[span].from <= x->starts.at[i] && !(i == 0 && without_bos);
        ids_add(labels, in ? x->ids.ids[i] : LABEL_NONE);
        trained += in;
    }
    return trained;
}

int chat_encode(const chat_template_t *t, const conversation_t *c, train_on_t train_on, strbuf_t *text, ids_t *ids,
                ids_t *labels, row_notes_t *notes, err_t *err) {
    trace_t x = {0};
    int rc = chat_trace(t, c, train_on, &x, notes, err);
    if (rc == 0 && x.ids.len) {
        bool without_bos = train_on == TRAIN_ON_ALL && x.ids.ids[0] == tokenizer_bos(t->tok);
        if (add_labels(&x, without_bos, labels) == 0)
            rc = err_set(err, ERR_USAGE, "the chat template writes nothing of it that could be trained");
        for (size_t i = 0; rc == 0 && i < x.ids.len; i++) ids_add(ids, x.ids.ids[i]);
        if (rc == 0 && text) strbuf_add(text, x.whole.text.p, x.whole.text.len);
    }
    trace_free(&x);
    return rc;
}

/* In the form of the messages of which all is written, as a conversation that is trained. */
static int render_prompt(const chat_template_t *t, const conversation_t *c, form_t form, jinja_output_t *out,
                         err_t *err) {
    json_t *messages = chat_messages(c->messages, form);
    if (!messages) return -1;
    size_t n = json_array_size(messages);
    int rc = chat_render(t, c, messages, n, true, out, err);
    if (rc == 0) {
        written_t *written = written_find(messages, n, out);
        rc = written_check(messages, n, written, err);
        free(written);
    }
    json_decref(messages);
    return rc;
}

int chat_prompt(const chat_template_t *t, const conversation_t *c, ids_t *ids, err_t *err) {
    jinja_output_t out = {0};
    int rc = render_prompt(t, c, FORM_AS_IS, &out, err);
    for (form_t form = 1; rc != 0 && form < FORM_COUNT; form++) {
        err_t ignored = {0};
        rc = render_prompt(t, c, form, &out, &ignored);
    }
    if (rc == 0) *err = (err_t){0};
    rc = err->code ? err->code : tokenizer_encode(t->tok, out.text.p, out.text.len, true, ids, err);
    jinja_output_free(&out);
    return rc;
}

static size_t add_stop(int32_t *ids, size_t n, size_t max, int32_t id) {
    for (size_t i = 0; i < n; i++)
        if (ids[i] == id) return n;
    if (n < max) ids[n++] = id;
    return n;
}

/* The token that ends an answer which the template is tried with; -1: none. */
static int32_t end_of_answer(const chat_template_t *t) {
    train_mark_t marks[2] = {TRAIN_BY_RULE, TRAIN_BY_RULE};
    conversation_t c = {.marks = marks};
    row_notes_t notes = {0};
    err_t ignored = {0};
    trace_t x = {0};
    int32_t id = -1;
    c.messages = json_pack("[{s:s, s:s}, {s:s, s:s}]", "role", "user", "content", "Hi", "role", "assistant", "content",
                           "Hello");
    if (chat_trace(t, &c, TRAIN_ON_COMPLETION, &x, &notes, &ignored) == 0 && x.n_spans) {
        for (size_t i = 0; i < x.ids.len && x.starts.at[i] < x.spans[0].to; i++) id = x.ids.ids[i];
        if (!tokenizer_is_special(t->tok, id)) id = -1;
    }
    trace_free(&x);
    json_decref(c.messages);
    return id;
}

size_t chat_stop_ids(const chat_template_t *t, int32_t *ids, size_t max) {
    size_t n = 0, n_ends;
    int32_t end = end_of_answer(t);
    const int32_t *ends = tokenizer_ends(t->tok, &n_ends);
    if (end >= 0) n = add_stop(ids, n, max, end);
    for (size_t i = 0; i < n_ends; i++) n = add_stop(ids, n, max, ends[i]);
    return n;
}
