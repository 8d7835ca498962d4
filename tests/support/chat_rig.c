#include "chat_rig.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "data/chat/trace.h"

static void write_text(const char *dir, const char *name, const char *text) {
    err_t err = {0};
    char *path = path_join(dir, name);
    assert_ok(file_write(path, text, strlen(text), &err), err);
    free(path);
}

tokenizer_t *rig_model(bool spm, const json_t *files, const char *template) {
    err_t err = {0};
    const char *dir = test_tmpdir(), *name;
    const char *from = test_path(spm ? "golden/tokenizer/llama2-tokenizer.model" : "golden/tokenizer/tokenizer.json");
    char *to = path_join(dir, spm ? "tokenizer.model" : "tokenizer.json");
    json_t *usual = json_pack("{s:{s:s, s:s, s:s}}", "tokenizer_config.json", "tokenizer_class",
                              "PreTrainedTokenizerFast", "bos_token", "<|endoftext|>", "eos_token", "<|im_end|>");
    json_t *v;
    tokenizer_t *tok;
    assert_ok(file_copy(from, to, &err), err);
    json_object_foreach(files ? (json_t *)files : usual, name, v) {
        char *text = json_dumps(v, 0);
        write_text(dir, name, text);
        free(text);
    }
    if (template) write_text(dir, "chat_template.jinja", template);
    assert_ok(tokenizer_open(dir, &tok, &err), err);
    json_decref(usual);
    free(to);
    return tok;
}

chat_template_t *rig_template(const tokenizer_t *tok, const char *choice) {
    err_t err = {0};
    chat_template_t *t = NULL;
    chat_spec_t spec = {.choice = choice};
    assert_ok(chat_template_open(tok, &spec, &t, &err), err);
    return t;
}

static json_t *member(const json_t *row, const char *key) {
    json_t *v = json_object_get(row, key);
    return v && !json_is_null(v) ? json_incref(v) : NULL;
}

conversation_t rig_conversation(const json_t *row) {
    conversation_t c = {
        .messages = member(row, "messages"), .tools = member(row, "tools"), .kwargs = member(row, "kwargs")};
    size_t n = json_array_size(c.messages);
    c.marks = xcalloc(n + 1, sizeof *c.marks);
    for (size_t i = 0; i < n; i++)
        c.marks[i] = (train_mark_t)json_integer_value(json_array_get(json_object_get(row, "marks"), i));
    return c;
}

void rig_conversation_free(conversation_t *c) {
    json_decref(c->messages);
    json_decref(c->tools);
    json_decref(c->kwargs);
    free(c->marks);
}

const char *rig_render(const chat_template_t *t, const char *row, train_on_t train_on, row_notes_t *notes) {
    row_notes_t ignored = {0};
    err_t err = {0};
    trace_t x = {0};
    strbuf_t b = {0};
    char *text = xstrdup(row);
    json_error_t e;
    for (char *p = text; *p; p++)
        if (*p == '\'') *p = '"';
    json_t *json = json_loads(text, 0, &e);
    if (!json) fail_msg("%s: %s", e.text, text);
    conversation_t c = rig_conversation(json);
    if (chat_trace(t, &c, train_on, &x, notes ? notes : &ignored, &err)) {
        strbuf_adds(&b, err.msg);
    } else {
        size_t at = 0;
        strbuf_adds(&b, "");
        for (size_t i = 0; i < x.n_spans; i++) {
            strbuf_add(&b, x.whole.text.p + at, x.spans[i].from - at);
            strbuf_adds(&b, "[[");
            strbuf_add(&b, x.whole.text.p + x.spans[i].from, x.spans[i].to - x.spans[i].from);
            strbuf_adds(&b, "]]");
            at = x.spans[i].to;
        }
        if (x.whole.text.p) strbuf_add(&b, x.whole.text.p + at, x.whole.text.len - at);
    }
    trace_free(&x);
    rig_conversation_free(&c);
    json_decref(json);
    free(text);
    return test_keep(b.p);
}
