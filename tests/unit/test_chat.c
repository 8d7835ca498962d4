/* Chat templates: texts, ids and labels against transformers (golden/chat/cases.json, made by golden/gen_chat.py). What
 * the program does by itself is in test_chat_rules.c and test_chat_shipped.c. */
#include "chat_rig.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"

static json_t *families;

static int setup(void **state) {
    (void)state;
    err_t err = {0};
    return json_file(test_path("golden/chat/cases.json"), &families, &err);
}

static int teardown(void **state) {
    (void)state;
    json_decref(families);
    return 0;
}

static bool same_ids(const ids_t *got, const json_t *want) {
    bool same = got->len == json_array_size(want);
    for (size_t i = 0; same && i < got->len; i++) same = got->ids[i] == json_integer_value(json_array_get(want, i));
    return same;
}

static void print_ids(const char *what, const ids_t *got, const json_t *want) {
    strbuf_t b = {0};
    for (size_t i = 0; i < got->len; i++) strbuf_addf(&b, "%d,", got->ids[i]);
    char *w = json_dumps(want, JSON_COMPACT);
    print_error("%s\n  got [%s]\n  expected %s\n", what, b.p ? b.p : "", w);
    free(w);
    free(b.p);
}

static void check_case(const chat_template_t *t, const char *name, const json_t *want) {
    err_t err = {0};
    row_notes_t notes = {0};
    strbuf_t text = {0};
    ids_t ids = {0}, labels = {0}, prompt = {0};
    conversation_t c = rig_conversation(want), before;
    assert_ok(chat_encode(t, &c, TRAIN_ON_COMPLETION, &text, &ids, &labels, &notes, &err), err);
    assert_string_equal(text.p, json_string_value(json_object_get(want, "text")));
    bool same = same_ids(&ids, json_object_get(want, "ids")) && same_ids(&labels, json_object_get(want, "labels"));
    if (!same) {
        print_ids(text.p, &ids, json_object_get(want, "ids"));
        print_ids(name, &labels, json_object_get(want, "labels"));
    }
    assert_true(same);
    before = c;
    before.messages = json_copy(c.messages);
    if (json_array_size(before.messages) > 1) json_array_remove(before.messages, json_array_size(before.messages) - 1);
    assert_ok(chat_prompt(t, &before, &prompt, &err), err);
    if (!same_ids(&prompt, json_object_get(want, "prompt"))) {
        print_ids(name, &prompt, json_object_get(want, "prompt"));
        fail();
    }
    json_decref(before.messages);
    rig_conversation_free(&c);
    free(text.p);
    free(ids.ids);
    free(labels.ids);
    free(prompt.ids);
}

static void check_family(const json_t *family, const char *which) {
    const json_t *cases = json_object_get(family, "cases"), *c;
    const char *template = json_string_value(json_object_get(family, which));
    const char *name = json_string_value(json_object_get(family, "name"));
    size_t i;
    if (!template) return;
    tokenizer_t *tok = rig_model(json_is_true(json_object_get(family, "spm")), json_object_get(family, "files"),
                                 template);
    chat_template_t *t = rig_template(tok, "auto");
    json_array_foreach(cases, i, c) check_case(t, name, c);
    print_message("%s, %s: %zu\n", name, which, json_array_size(cases));
    chat_template_close(t);
    tokenizer_close(tok);
}

/* Labels are found without marks. */
static void test_traced(void **state) {
    (void)state;
    const json_t *f;
    size_t i;
    assert_true(json_array_size(families) >= 25);
    json_array_foreach(families, i, f) check_family(f, "template");
}

/* And those of {% generation %} where a template has it. */
static void test_marked(void **state) {
    (void)state;
    const json_t *f;
    size_t i;
    json_array_foreach(families, i, f) check_family(f, "marked");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_traced),
        cmocka_unit_test(test_marked),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
