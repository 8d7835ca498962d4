/* What is trained of a conversation: marks of rows, train_on, forms of messages, what is refused and what is counted. */
#include "chat_rig.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"

#define CHATML \
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>{{ '\\n' }}{% endfor %}" \
    "{% if add_generation_prompt %}<|im_start|>assistant{{ '\\n' }}{% endif %}"
#define TWO(first, second, marks) \
    "{'messages': [{'role': 'user', 'content': 'A'}, {'role': 'assistant', 'content': '" first \
    "'}, {'role': 'user', 'content': 'C'}, {'role': 'assistant', 'content': '" second "'}], 'marks': " marks "}"
#define TALK(b, d) \
    "<|im_start|>user\nA<|im_end|>\n<|im_start|>assistant\n" b \
    "\n<|im_start|>user\nC<|im_end|>\n<|im_start|>assistant\n" d "\n"
#define CALL \
    "'tool_calls': [{'type': 'function', 'function': {'name': 'add', 'arguments': {'a': 1.0, 'b': [true, null]}}}]"

static void check(const char *template, const char *row, train_on_t train_on, const char *want) {
    tokenizer_t *tok = rig_model(false, NULL, template);
    chat_template_t *t = rig_template(tok, "auto");
    assert_string_equal(rig_render(t, row, train_on, NULL), want);
    chat_template_close(t);
    tokenizer_close(tok);
}

/* The template does not take the row; the message has `want`. */
static void check_refused(const char *template, const char *row, const char *want) {
    tokenizer_t *tok = rig_model(false, NULL, template);
    chat_template_t *t = rig_template(tok, "auto");
    const char *got = rig_render(t, row, TRAIN_ON_COMPLETION, NULL);
    if (!strstr(got, want)) fail_msg("got: %s\nexpected: %s", got, want);
    chat_template_close(t);
    tokenizer_close(tok);
}

static void test_train_on(void **state) {
    (void)state;
    check(CHATML, TWO("B", "D", "[]"), TRAIN_ON_COMPLETION, TALK("[[B<|im_end|>]]", "[[D<|im_end|>]]"));
    check(CHATML, TWO("B", "D", "[]"), TRAIN_ON_LAST, TALK("B<|im_end|>", "[[D<|im_end|>]]"));
    check(CHATML, TWO("B", "D", "[0,2]"), TRAIN_ON_LAST, TALK("[[B<|im_end|>]]", "[[D<|im_end|>]]"));
    check(CHATML, TWO("B", "D", "[0,1]"), TRAIN_ON_COMPLETION, TALK("B<|im_end|>", "[[D<|im_end|>]]"));
    check(CHATML, TWO("B", "D", "[0,1,0,1]"), TRAIN_ON_COMPLETION, "");
    check(CHATML, TWO("B", "D", "[]"), TRAIN_ON_ALL, "[[" TALK("B<|im_end|>", "D<|im_end|>") "]]");
    check(CHATML, TWO("B", "D", "[0,1]"), TRAIN_ON_ALL,
          "[[<|im_start|>user\nA<|im_end|>\n<|im_start|>assistant\n]]B<|im_end|>[[\n<|im_start|>user\nC<|im_end|>\n"
          "<|im_start|>assistant\nD<|im_end|>\n]]");
    check(CHATML, TWO("B", "D", "[1]"), TRAIN_ON_ALL,
          "[[<|im_start|>user\n]]A[[<|im_end|>\n<|im_start|>assistant\nB<|im_end|>\n<|im_start|>user\nC<|im_end|>\n"
          "<|im_start|>assistant\nD<|im_end|>\n]]");
    check_refused(CHATML, TWO("B", "D", "[2]"), "messages[0]: it is marked as trained and is of the role user");
}

/* Blocks in a template are what is trained, of the messages that are to be. */
static void test_blocks(void **state) {
    (void)state;
    static const char marked[] =
        "{% for m in messages %}{% if m.role == 'assistant' %}<{% generation %}{{ m.content }}>{% "
        "endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}";
    check(marked, TWO("B", "D", "[]"), TRAIN_ON_COMPLETION, "A<[[B>]]C<[[D>]]");
    check(marked, TWO("B", "D", "[]"), TRAIN_ON_LAST, "A<B>C<[[D>]]");
    check(marked, TWO("B", "D", "[0,0,0,1]"), TRAIN_ON_COMPLETION, "A<[[B>]]C<D>");
}

/* Templates that want contents in parts, or arguments as text, get them so. */
static void test_forms(void **state) {
    (void)state;
    check("{% for m in messages %}<|im_start|>{{ m.role }}{% for p in m.content %}{% if p.type == 'text' %}:{{ p.text "
          "}}{% "
          "endif %}{% endfor %}<|im_end|>{% endfor %}",
          TWO("B", "D", "[]"), TRAIN_ON_COMPLETION,
          "<|im_start|>user:A<|im_end|>[[<|im_start|>assistant:B<|im_end|>]]<|im_start|>user:C<|im_end|>"
          "[[<|im_start|>assistant:D<|im_end|>]]");
    check("{% for m in messages %}[{{ m.content }}{% for c in m.tool_calls or [] %}{{ c.function.name + ' ' + "
          "c.function.arguments }}{% endfor %}{{ eos_token if m.role == 'assistant' }}{% endfor %}",
          "{'messages': [{'role': 'user', 'content': 'A'}, {'role': 'assistant', 'content': '', " CALL "}]}",
          TRAIN_ON_COMPLETION, "[A[[[add {\"a\": 1.0, \"b\": [true, null]}<|im_end|>]]");
}

/* A prompt too. */
static void test_prompt_form(void **state) {
    (void)state;
    err_t err = {0};
    ids_t ids = {0};
    tokenizer_t *tok = rig_model(
        false, NULL,
        "{% for m in messages %}{% for p in m.content %}{% if p.type == 'text' %}{{ p.text }}{% "
        "endif %}{% endfor %}{% endfor %}{% if add_generation_prompt %}<|im_start|>{% endif %}");
    chat_template_t *t = rig_template(tok, "auto");
    train_mark_t marks[1] = {TRAIN_BY_RULE};
    conversation_t c = {.messages = json_pack("[{s:s, s:s}]", "role", "user", "content", "A"), .marks = marks};
    assert_ok(chat_prompt(t, &c, &ids, &err), err);
    assert_int_equal(ids.len, 2);
    assert_int_equal(ids.ids[0], tokenizer_find(tok, "A"));
    assert_int_equal(ids.ids[1], tokenizer_find(tok, "<|im_start|>"));
    json_decref(c.messages);
    chat_template_close(t);
    tokenizer_close(tok);
    tok = rig_model(false, NULL, "{{ messages | length }}");
    t = rig_template(tok, "auto");
    c.messages = json_pack("[{s:s, s:s}]", "role", "user", "content", "A");
    assert_error(chat_prompt(t, &c, &ids, &err), err, ERR_USAGE,
                 "messages[0]: the chat template writes none of its content");
    json_decref(c.messages);
    chat_template_close(t);
    tokenizer_close(tok);
    free(ids.ids);
}

/* What a template leaves out, or mixes, is not trained in silence. */
static void test_refused(void **state) {
    (void)state;
    static const char answers[] =
        "{% for m in messages %}{% if m.role == 'assistant' %}{{ m.content }}{{ eos_token }}{% "
        "elif m.role == 'user' %}{{ m.content }}{% endif %}{% endfor %}";
    static const char merged[] =
        "{% for m in messages %}{% if not loop.first and loop.previtem.role == m.role %} {% else %}"
        "<|im_start|>{% endif %}{{ m.content }}{% if loop.last or loop.nextitem.role != m.role %}"
        "<|im_end|>{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>{% endif %}";
    static const char call[] =
        "{'messages': [{'role': 'user', 'content': 'A'}, {'role': 'assistant', 'content': '', " CALL "}]}";
    check_refused(answers,
                  "{'messages': [{'role': 'system', 'content': 'S'}, {'role': 'user', 'content': 'A'}, {'role': "
                  "'assistant', 'content': 'B'}]}",
                  "messages[0]: the chat template writes none of its content");
    check_refused(answers, call, "messages[1]: the chat template writes none of its tool_calls");
    check_refused(answers,
                  "{'messages': [{'role': 'user', 'content': 'A'}, {'role': 'tool', 'content': '3'}, {'role': "
                  "'assistant', 'content': 'B'}]}",
                  "messages[1]: the chat template writes none of its content");
    check_refused(answers,
                  "{'messages': [{'role': 'user', 'content': 'A'}, {'role': 'assistant', 'content': 'B'}], 'tools': "
                  "[{'type': 'function'}]}",
                  "tools: the chat template has no place for a list of tools");
    check_refused(merged,
                  "{'messages': [{'role': 'user', 'content': 'A'}, {'role': 'assistant', 'content': 'B'}, {'role': "
                  "'assistant', 'content': 'C'}]}",
                  "messages[2]: the chat template writes it into the answer before it");
    check_refused("{% for m in messages %}{{ m.content }}{% endfor %}", TWO("", "D", "[]"),
                  "messages[1]: it is empty, and the chat template writes no token that ends it");
    check_refused(CHATML "{{ raise_exception('never') }}", TWO("B", "D", "[]"), "never");
    check_refused(CHATML "{{ strftime_now('%Y') }}", TWO("B", "D", "[]"), "data.chat_template_date");
    check_refused(CHATML, "{'messages': [{'role': 'assistant', 'content': 'B'}], 'kwargs': {'messages': []}}",
                  "chat_template_kwargs: messages comes from the row");
    check_refused(answers,
                  "{'messages': [{'role': 'user', 'content': 'A'}, {'role': 'assistant', 'content': 'B', "
                  "'tool_calls': [{'function': {'name': 'f', 'arguments': {}}}]}]}",
                  "none of its tool_calls");
    check_refused(
        "{% for m in messages %}{{ m.content }}{% if m.tool_calls %}{{ m.tool_calls[0].function.name }}{% endif %}{{ "
        "eos_token }}{% endfor %}",
        "{'messages': [{'role': 'user', 'content': 'A'}, {'role': 'assistant', 'content': '', 'tool_calls': "
        "[{'function': {'name': 'f', 'arguments': {}}}, {'function': {'name': 'g', 'arguments': {}}}]}]}",
        "messages[1]: the chat template does not write the call of \"g\"");
}

static void test_notes(void **state) {
    (void)state;
    row_notes_t notes = {0};
    tokenizer_t *tok = rig_model(false, NULL, CHATML);
    chat_template_t *t = rig_template(tok, "auto");
    rig_render(t, TWO("B", "D", "[]"), TRAIN_ON_COMPLETION, &notes);
    assert_int_equal(notes.no_reasoning + notes.open_ends + notes.empty_turns + notes.spelled_tokens, 0);
    rig_render(
        t,
        "{'messages': [{'role': 'user', 'content': 'A'}, {'role': 'assistant', 'content': 'B', 'reasoning_content': "
        "'R'}, {'role': 'user', 'content': 'A'}, {'role': 'assistant', 'content': 'B', 'thinking': 'R'}]}",
        TRAIN_ON_COMPLETION, &notes);
    assert_int_equal(notes.no_reasoning, 1);
    assert_string_equal(rig_render(t, TWO("", "D", "[]"), TRAIN_ON_COMPLETION, &notes),
                        TALK("[[<|im_end|>]]", "[[D<|im_end|>]]"));
    assert_int_equal(notes.empty_turns, 1);
    rig_render(t, TWO("B", "<|im_end|>", "[]"), TRAIN_ON_COMPLETION, &notes);
    assert_int_equal(notes.spelled_tokens, 1);
    assert_int_equal(notes.open_ends, 0);
    chat_template_close(t);
    tokenizer_close(tok);
    tok = rig_model(false, NULL,
                    "{% for m in messages %}{{ m.role }}: {{ m.content }}{{ '\\n' }}{% endfor %}{% if "
                    "add_generation_prompt %}assistant: {% endif %}");
    t = rig_template(tok, "auto");
    assert_string_equal(rig_render(t, TWO("B", "D", "[]"), TRAIN_ON_COMPLETION, &notes),
                        "user: A\nassistant: [[B]]\nuser: C\nassistant: [[D]]\n");
    assert_int_equal(notes.open_ends, 1);
    assert_int_equal(notes.headers, 0);
    chat_template_close(t);
    tokenizer_close(tok);
    /* Who has no prompt for an answer begins it with its header. */
    tok = rig_model(false, NULL,
                    "{% for m in messages %}<|im_start|>{{ m.role }}: {{ m.content }}<|im_end|>{% endfor %}");
    t = rig_template(tok, "auto");
    assert_string_equal(rig_render(t,
                                   "{'messages': [{'role': 'user', 'content': 'A'}, {'role': 'assistant', "
                                   "'content': 'B'}]}",
                                   TRAIN_ON_COMPLETION, &notes),
                        "<|im_start|>user: A<|im_end|>[[<|im_start|>assistant: B<|im_end|>]]");
    assert_int_equal(notes.headers, 1);
    chat_template_close(t);
    tokenizer_close(tok);
}

/* What one message says that the template repeats with the next is none of the answer. */
static void test_repeated(void **state) {
    (void)state;
    check("{% for m in messages %}{% if m.role != 'tool' %}<|im_start|>{{ m.content }}{% for c in m.tool_calls or [] "
          "%}<{{ "
          "c.function.name }}>{% if loop.last %}<repo_name>{% if messages[1:] | length > 1 %}{% for i in "
          "range(messages | length) %}{% if "
          "messages[i].role == 'tool' %}{{ c.function.name }}={{ messages[i].content }}{% endif %}{% endfor %}{% endif "
          "%}{% "
          "endif %}{% endfor %}{% if not m.tool_calls %}<|im_end|>{% endif %}{% endif %}{% endfor %}",
          "{'messages': [{'role': 'user', 'content': 'A'}, {'role': 'assistant', 'content': '', " CALL
          "}, {'role': 'tool', "
          "'content': '3'}, {'role': 'assistant', 'content': 'D'}]}",
          TRAIN_ON_COMPLETION,
          "<|im_start|>A<|im_end|>[[<|im_start|><add><repo_name>]]add=3[[<|im_start|>D<|im_end|>]]");
}

/* A call without a content, in a template that takes its content for a text. */
static void test_no_content(void **state) {
    (void)state;
    check("{% for m in messages %}<|im_start|>{{ m.content.strip() }}{% for c in m.tool_calls or [] %}{{ "
          "c.function.name }}={{ c.function.arguments.a }}{% endfor %}<|im_end|>{% endfor %}{% if "
          "add_generation_prompt %}<|im_start|>{% endif %}",
          "{'messages': [{'role': 'user', 'content': 'A'}, {'role': 'assistant', 'tool_calls': [{'type': 'function', "
          "'function': {'name': 'add', 'arguments': {'a': 1}}}]}]}",
          TRAIN_ON_COMPLETION, "<|im_start|>A<|im_end|><|im_start|>[[add=1<|im_end|>]]");
}

/* A model's several templates: tool_use for rows with tools. */
static void test_tool_use(void **state) {
    (void)state;
    json_t *files = json_pack(
        "{s:{s:s, s:s, s:[{s:s, s:s}, {s:s, s:s}]}}", "tokenizer_config.json", "eos_token", "<|im_end|>",
        "tokenizer_class", "PreTrainedTokenizerFast", "chat_template", "name", "tool_use", "template",
        "{{ tools | length }}{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}", "name", "default",
        "template", "{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}");
    tokenizer_t *tok = rig_model(false, files, NULL);
    chat_template_t *t = rig_template(tok, "auto");
    assert_string_equal(chat_template_origin(t), "the model's own (tokenizer_config.json)");
    assert_null(chat_template_foreign(t));
    assert_string_equal(
        rig_render(t, "{'messages': [{'role': 'user', 'content': 'A'}, {'role': 'assistant', 'content': 'B'}]}",
                   TRAIN_ON_COMPLETION, NULL),
        "A<|im_end|>[[B<|im_end|>]]");
    assert_string_equal(
        rig_render(t,
                   "{'messages': [{'role': 'user', 'content': 'A'}, {'role': 'assistant', 'content': 'B'}], "
                   "'tools': [{}]}",
                   TRAIN_ON_COMPLETION, NULL),
        "1A<|im_end|>[[B<|im_end|>]]");
    chat_template_close(t);
    tokenizer_close(tok);
    json_decref(files);
}

/* kwargs and the date of the config, those of the row over them. */
static void test_values(void **state) {
    (void)state;
    err_t err = {0};
    tokenizer_t *tok = rig_model(
        false, NULL,
        "{{ mode }} {{ strftime_now('%d %b %Y') }} {{ tools is none }}{{ unk_token is defined }}{{ "
        "bos_token }}{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}");
    json_t *kwargs = json_pack("{s:s}", "mode", "slow"), *wrong = json_pack("{s:b}", "add_generation_prompt", 1);
    chat_spec_t spec = {.choice = "auto", .kwargs = kwargs, .date = "2025-02-03"};
    chat_template_t *t = NULL;
    assert_ok(chat_template_open(tok, &spec, &t, &err), err);
    assert_string_equal(
        rig_render(t, "{'messages': [{'role': 'user', 'content': 'A'}, {'role': 'assistant', 'content': 'B'}]}",
                   TRAIN_ON_COMPLETION, NULL),
        "slow 03 Feb 2025 TrueFalse<|endoftext|>A<|im_end|>[[B<|im_end|>]]");
    assert_string_equal(
        rig_render(t,
                   "{'messages': [{'role': 'user', 'content': 'A'}, {'role': 'assistant', 'content': 'B'}], "
                   "'kwargs': {'mode': 'fast'}}",
                   TRAIN_ON_COMPLETION, NULL),
        "fast 03 Feb 2025 TrueFalse<|endoftext|>A<|im_end|>[[B<|im_end|>]]");
    chat_template_close(t);
    spec.kwargs = wrong;
    assert_error(chat_template_open(tok, &spec, &t, &err), err, ERR_USAGE, "add_generation_prompt comes from the row");
    tokenizer_close(tok);
    json_decref(kwargs);
    json_decref(wrong);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_train_on),    cmocka_unit_test(test_blocks),   cmocka_unit_test(test_forms),
        cmocka_unit_test(test_prompt_form), cmocka_unit_test(test_refused),  cmocka_unit_test(test_notes),
        cmocka_unit_test(test_repeated),    cmocka_unit_test(test_tool_use), cmocka_unit_test(test_no_content),
        cmocka_unit_test(test_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
