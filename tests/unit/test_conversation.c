/* Rows of every format as conversations: what is handed on to templates, what is trained, what is refused. */
#include "testing.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "data/conversation_formats.h"

typedef enum { MESSAGES, SHAREGPT, ALPACA, ALPACA_PROMPT, PROMPT, PROMPT_ALL } form_t;

/* JSON with ' for ". */
static json_t *json_of(const char *text) {
    char *copy = strdup(text);
    for (char *p = copy; *p; p++)
        if (*p == '\'') *p = '"';
    json_error_t e;
    json_t *v = json_loads(copy, JSON_DECODE_ANY, &e);
    if (!v) fail_msg("%s: %s", copy, e.text);
    free(copy);
    return v;
}

static int convert(form_t form, const json_t *row, conversation_t *c, row_notes_t *notes, err_t *err) {
    *c = (conversation_t){0};
    switch (form) {
    case MESSAGES: return conversation_from_messages(row, "messages", c, notes, err);
    case SHAREGPT: return conversation_from_messages(row, "conversations", c, notes, err);
    case ALPACA: return conversation_from_alpaca(row, false, c, err);
    case ALPACA_PROMPT: return conversation_from_alpaca(row, true, c, err);
    case PROMPT: return conversation_from_prompt(row, false, c, notes, err);
    case PROMPT_ALL: return conversation_from_prompt(row, true, c, notes, err);
    }
    return -1;
}

static void assert_json(const char *row, const char *what, const json_t *got, const char *want) {
    if (!want && !got) return;
    if (!want) fail_msg("%s: has %s", row, what);
    json_t *expected = json_of(want);
    if (!json_equal(got, expected)) {
        char *text = got ? json_dumps(got, JSON_ENCODE_ANY) : NULL;
        fail_msg("%s: %s is %s, expected %s", row, what, text ? text : "absent", want);
    }
    json_decref(expected);
}

typedef struct {
    form_t form;
    const char *row, *messages;
    const char *marks; /* of each message: . by rule, 0 no, 1 yes; NULL: by rule all */
    const char *tools;
} case_t;

static void assert_case(const case_t *k) {
    json_t *row = json_of(k->row);
    conversation_t c;
    row_notes_t notes = {0};
    err_t err = {0};
    if (convert(k->form, row, &c, &notes, &err)) fail_msg("%s: %s", k->row, err.msg);
    assert_json(k->row, "messages", c.messages, k->messages);
    assert_json(k->row, "tools", c.tools, k->tools);
    for (size_t i = 0; i < json_array_size(c.messages); i++) {
        char mark = ".01"[c.marks[i]];
        if (mark != (k->marks ? k->marks[i] : '.')) fail_msg("%s: message %zu is marked %c", k->row, i, mark);
    }
    assert_int_equal(notes.unknown_keys, 0);
    conversation_free(&c);
    json_decref(row);
}

#define U "{'role': 'user', 'content': 'Q'}"
#define A "{'role': 'assistant', 'content': 'A'}"
#define CALL "{'type': 'function', 'function': {'name': 'f', 'arguments': {'x': 1}}}"
#define FUNCTION "{'name': 'f', 'description': 'D', 'parameters': {}}"
#define TOOL "{'type': 'function', 'function': " FUNCTION "}"

static void names_of_the_formats(void **state) {
    (void)state;
    static const case_t cases[] = {
        {MESSAGES, "{'messages': [" U ", " A "]}", "[" U ", " A "]", NULL, NULL},
        /* ShareGPT, with OpenAI's names inside too. */
        {SHAREGPT, "{'system': 'S', 'conversations': [{'from': 'human', 'value': 'Q'}, {'from': 'gpt', 'value': 'A'}]}",
         "[{'role': 'system', 'content': 'S'}, " U ", " A "]", NULL, NULL},
        {SHAREGPT, "{'conversations': [" U ", " A "]}", "[" U ", " A "]", NULL, NULL},
        {SHAREGPT,
         "{'conversations': [{'from': 'human', 'value': 'Q'}, {'from': 'function_call', 'value': '{\\'name\\': "
         "\\'f\\', "
         "\\'arguments\\': {\\'x\\': 1}}'}, {'from': 'observation', 'value': '7'}, {'from': 'gpt', 'value': 'A'}], "
         "'tools': '["
         "{\\'name\\': \\'f\\', \\'description\\': \\'D\\', \\'parameters\\': {}}"
         "]'}",
         "[" U ", {'role': 'assistant', 'tool_calls': [" CALL "]}, {'role': 'tool', 'content': '7'}, " A "]", NULL,
         "[" TOOL "]"},
        {SHAREGPT, "{'system': '', 'tools': '', 'conversations': [{'from': 'human', 'value': 'Q'}]}", "[" U "]", NULL,
         NULL},
        /* Several calls in a turn. */
        {SHAREGPT,
         "{'conversations': [{'from': 'function_call', 'value': '[{\\'name\\': \\'f\\', \\'arguments\\': {\\'x\\': "
         "1}}, "
         "{\\'name\\': \\'f\\', \\'arguments\\': {\\'x\\': 1}}]'}]}",
         "[{'role': 'assistant', 'tool_calls': [" CALL ", " CALL "]}]", NULL, NULL},
        /* Keys that are kept, and nulls that are not. */
        {MESSAGES,
         "{'messages': [{'role': 'user', 'content': 'Q', 'name': 'N', 'tool_calls': null}, {'role': 'tool', 'content': "
         "'7', 'tool_call_id': 'c1', 'name': 'f'}, {'role': 'ipython', 'content': '8'}, {'role': 'developer', "
         "'content': 'D'}]}",
         "[{'role': 'user', 'content': 'Q', 'name': 'N'}, {'role': 'tool', 'content': '7', 'tool_call_id': 'c1', "
         "'name': "
         "'f'}, {'role': 'tool', 'content': '8'}, {'role': 'developer', 'content': 'D'}]",
         NULL, NULL},
        /* The names of both formats, as columns that are null where they say nothing. */
        {SHAREGPT,
         "{'conversations': [{'role': 'user', 'from': null, 'content': null, 'value': 'Q'}, {'role': null, 'from': "
         "'gpt', 'content': 'A', 'value': null}]}",
         "[" U ", " A "]", NULL, NULL},
        /* Parts of a text. */
        {MESSAGES,
         "{'messages': [{'role': 'user', 'content': [{'type': 'text', 'text': 'Q1 '}, {'type': 'text', 'text': "
         "'Q2'}]}]}",
         "[{'role': 'user', 'content': 'Q1 Q2'}]", NULL, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) assert_case(&cases[i]);
}

static void calls_and_tools(void **state) {
    (void)state;
    static const case_t cases[] = {
        {MESSAGES,
         "{'messages': [{'role': 'assistant', 'content': null, 'tool_calls': [" CALL "]}], 'tools': [" TOOL "]}",
         "[{'role': 'assistant', 'tool_calls': [" CALL "]}]", NULL, "[" TOOL "]"},
        /* Arguments as text; an id and what else a call has stays. */
        {MESSAGES,
         "{'messages': [{'role': 'assistant', 'content': '', 'tool_calls': [{'id': 'c1', 'type': 'function', "
         "'function': {'name': 'f', 'arguments': '{\\'x\\': 1}'}}]}]}",
         "[{'role': 'assistant', 'content': '', 'tool_calls': [{'id': 'c1', 'type': 'function', 'function': {'name': "
         "'f', 'arguments': {'x': 1}}}]}]",
         NULL, NULL},
        /* Bare calls, and a function without arguments. */
        {MESSAGES,
         "{'messages': [{'role': 'assistant', 'content': 'C', 'tool_calls': [{'name': 'f', 'arguments': {'x': 1}}, "
         "{'function': {'name': 'g'}}]}]}",
         "[{'role': 'assistant', 'content': 'C', 'tool_calls': [" CALL
         ", {'type': 'function', 'function': {'name': 'g', 'arguments': {}}}]}]",
         NULL, NULL},
        /* What OpenAI had before tools. */
        {MESSAGES,
         "{'messages': [{'role': 'assistant', 'content': null, 'function_call': {'name': 'f', 'arguments': '{\\'x\\': "
         "1}'}}, {'role': 'function', 'name': 'f', 'content': '7'}], 'functions': [" FUNCTION "]}",
         "[{'role': 'assistant', 'tool_calls': [" CALL "]}, {'role': 'tool', 'name': 'f', 'content': '7'}]", NULL,
         "[" TOOL "]"},
        {MESSAGES,
         "{'messages': [{'role': 'assistant', 'content': 'A', 'tool_calls': [], 'function_call': null}], "
         "'tools': [], 'functions': null, 'parallel_tool_calls': false}",
         "[" A "]", NULL, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) assert_case(&cases[i]);
}

/* Templates read one of three names each. */
static void reasoning(void **state) {
    (void)state;
    static const char all[] = "[{'role': 'assistant', 'content': 'A', 'reasoning_content': 'R', 'reasoning': 'R', "
                              "'thinking': 'R'}]";
    static const case_t cases[] = {
        {MESSAGES, "{'messages': [{'role': 'assistant', 'reasoning_content': 'R', 'content': 'A'}]}", all, NULL, NULL},
        {MESSAGES, "{'messages': [{'role': 'assistant', 'reasoning': 'R', 'content': 'A'}]}", all, NULL, NULL},
        {MESSAGES, "{'messages': [{'role': 'assistant', 'thinking': 'R', 'reasoning': 'R', 'content': 'A'}]}", all,
         NULL, NULL},
        {MESSAGES, "{'messages': [{'role': 'assistant', 'thinking': null, 'reasoning_content': '', 'content': 'A'}]}",
         "[{'role': 'assistant', 'content': 'A', 'reasoning_content': ''}]", NULL, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) assert_case(&cases[i]);
}

/* OpenAI's and Mistral's weight, Axolotl's train. */
static void marks(void **state) {
    (void)state;
    static const case_t cases[] = {
        {MESSAGES,
         "{'messages': [" U ", {'role': 'assistant', 'content': 'A', 'weight': 0}, {'role': 'user', 'content': 'Q', "
         "'weight': 0}, {'role': 'assistant', 'content': 'A', 'weight': 1}, {'role': 'assistant', 'content': 'A', "
         "'weight': 1.0}, {'role': 'assistant', 'content': 'A', 'weight': null}]}",
         "[" U ", " A ", " U ", " A ", " A ", " A "]", ".0011.", NULL},
        {SHAREGPT,
         "{'conversations': [{'from': 'gpt', 'value': 'A', 'train': false}, {'from': 'gpt', 'value': 'A', 'train': "
         "true}, {'from': 'gpt', 'value': 'A', 'train': true, 'weight': 1}]}",
         "[" A ", " A ", " A "]", "011", NULL},
        {PROMPT, "{'prompt': [" A ", " U "], 'completion': [" A ", " U ", " A "]}",
         "[" A ", " U ", " A ", " U ", " A "]", "00...", NULL},
        {PROMPT, "{'prompt': [{'role': 'assistant', 'content': 'A', 'weight': 1}], 'completion': [" A "]}",
         "[" A ", " A "]", "1.", NULL},
        {PROMPT_ALL, "{'prompt': [" U "], 'completion': [" A "], 'tools': [" TOOL "]}", "[" U ", " A "]", "..",
         "[" TOOL "]"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) assert_case(&cases[i]);
}

#define PREAMBLE_INPUT \
    "Below is an instruction that describes a task, paired with an input that provides further context. Write a " \
    "response that appropriately completes the request."

static void alpaca(void **state) {
    (void)state;
    static const case_t cases[] = {
        {ALPACA, "{'instruction': 'I', 'input': 'X', 'output': 'A'}",
         "[{'role': 'user', 'content': 'I\\n\\nX'}, " A "]", NULL, NULL},
        {ALPACA, "{'instruction': 'Q', 'input': '', 'output': 'A', 'history': [], 'system': ''}", "[" U ", " A "]",
         NULL, NULL},
        {ALPACA, "{'instruction': '', 'input': 'Q', 'output': 'A'}", "[" U ", " A "]", NULL, NULL},
        /* Earlier turns come first, and are answers like the last. */
        {ALPACA, "{'instruction': 'Q', 'output': 'A', 'system': 'S', 'history': [['q1', 'a1'], ['q2', 'a2']]}",
         "[{'role': 'system', 'content': 'S'}, {'role': 'user', 'content': 'q1'}, {'role': 'assistant', 'content': "
         "'a1'}, "
         "{'role': 'user', 'content': 'q2'}, {'role': 'assistant', 'content': 'a2'}, " U ", " A "]",
         NULL, NULL},
        {ALPACA_PROMPT, "{'instruction': 'Q', 'input': null, 'output': 'A'}", "[" U ", " A "]", NULL, NULL},
        {ALPACA_PROMPT, "{'instruction': 'I', 'input': 'X', 'output': 'A'}",
         "[{'role': 'system', 'content': '" PREAMBLE_INPUT
         "'}, {'role': 'user', 'content': 'I\\n\\n### Input:\\nX'}, " A "]",
         NULL, NULL},
        {ALPACA, "{'instruction': 'Q', 'output': ''}", NULL, NULL, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) assert_case(&cases[i]);
}

/* Of the names of both formats one is read; what the other says is not lost. */
static void both_names(void **state) {
    (void)state;
    json_t *row = json_of("{'conversations': [{'role': 'user', 'from': 'gpt', 'content': 'Q', 'value': 'V'}]}");
    conversation_t c;
    row_notes_t notes = {0};
    err_t err = {0};
    assert_ok(convert(SHAREGPT, row, &c, &notes, &err), err);
    assert_json("both", "messages", c.messages, "[{'role': 'user', 'content': 'Q', 'from': 'gpt', 'value': 'V'}]");
    assert_int_equal(notes.unknown_keys, 1);
    conversation_free(&c);
    json_decref(row);
}

static void extras_and_notes(void **state) {
    (void)state;
    json_t *row = json_of(
        "{'messages': [{'role': 'user', 'content': 'Q', 'mood': 'good', 'colour': null}], 'documents': "
        "[{'text': 'D'}], 'chat_template_kwargs': {'enable_thinking': false}, 'images': [], 'audio': "
        "null, 'id': 3}");
    conversation_t c;
    row_notes_t notes = {0};
    err_t err = {0};
    assert_ok(convert(MESSAGES, row, &c, &notes, &err), err);
    assert_json("extras", "messages", c.messages, "[{'role': 'user', 'content': 'Q', 'mood': 'good'}]");
    assert_json("extras", "documents", c.documents, "[{'text': 'D'}]");
    assert_json("extras", "kwargs", c.kwargs, "{'enable_thinking': false}");
    assert_int_equal(notes.unknown_keys, 1);
    assert_string_equal(notes.unknown_key, "mood");
    conversation_free(&c);
    row_notes_t sum = {0};
    row_notes_add(&sum, &(row_notes_t){.no_reasoning = 2});
    row_notes_add(&sum, &notes);
    row_notes_add(&sum, &(row_notes_t){.unknown_keys = 4, .unknown_key = "late", .open_ends = 1});
    assert_true(sum.unknown_keys == 5 && sum.no_reasoning == 2 && sum.open_ends == 1);
    assert_string_equal(sum.unknown_key, "mood");
    json_decref(row);
}

static void refused(void **state) {
    (void)state;
    static const struct {
        form_t form;
        const char *row, *error;
    } bad[] = {
        {MESSAGES, "{'messages': {}}", "messages: expected a list of messages"},
        {MESSAGES, "{'messages': [1]}", "messages[0]: expected an object"},
        {MESSAGES, "{'messages': [" U ", {'content': 'A'}]}", "messages[1]: role is missing; expected a string"},
        {MESSAGES, "{'messages': [{'role': 3, 'content': 'A'}]}", "messages[0]: role: expected a string"},
        {MESSAGES, "{'messages': [{'role': 'asistant', 'content': 'A'}]}",
         "messages[0]: unknown role \"asistant\"; expected system, developer, user, assistant or tool"},
        {MESSAGES, "{'messages': [{'role': 'user'}]}", "messages[0]: content is missing; expected a string"},
        {MESSAGES, "{'messages': [{'role': 'assistant', 'content': null}]}", "messages[0]: content is missing"},
        {SHAREGPT, "{'conversations': [{'from': 'human', 'value': 1}]}", "conversations[0]: value: expected a string"},
        {SHAREGPT, "{'conversations': [{'from': 'human'}]}", "conversations[0]: value is missing"},
        {MESSAGES,
         "{'messages': [{'role': 'user', 'content': [{'type': 'text', 'text': 'a'}, {'type': 'image_url', "
         "'image_url': 'u'}]}]}",
         "messages[0]: content: part 2 is image_url, not text"},
        {MESSAGES, "{'messages': [{'role': 'user', 'content': 'a', 'images': ['p.png']}]}",
         "messages[0]: images: only text is trained"},
        {MESSAGES, "{'messages': [" U "], 'videos': ['v']}", "videos: only text is trained"},
        {ALPACA, "{'instruction': 'a', 'output': 'b', 'audios': ['v']}", "audios: only text is trained"},
        /* Calls. */
        {MESSAGES, "{'messages': [{'role': 'assistant', 'tool_calls': [{}]}]}",
         "messages[0]: tool_calls[0]: function.name is missing"},
        {MESSAGES, "{'messages': [{'role': 'assistant', 'tool_calls': [{'name': 'f', 'arguments': '{x'}]}]}",
         "messages[0]: tool_calls[0]: arguments: not valid JSON: "},
        {MESSAGES, "{'messages': [{'role': 'assistant', 'tool_calls': [{'name': 'f', 'arguments': ''}]}]}",
         "tool_calls[0]: arguments: not valid JSON: "},
        {MESSAGES, "{'messages': [{'role': 'assistant', 'tool_calls': [{'name': 'f', 'arguments': '[3]'}]}]}",
         "tool_calls[0]: arguments: expected an object, or an object as JSON text"},
        {MESSAGES, "{'messages': [{'role': 'assistant', 'tool_calls': [{'name': 'f', 'arguments': [3]}]}]}",
         "tool_calls[0]: arguments: expected an object, or an object as JSON text"},
        {MESSAGES, "{'messages': [{'role': 'assistant', 'tool_calls': {'name': 'f'}}]}",
         "messages[0]: tool_calls: expected a list"},
        {MESSAGES, "{'messages': [{'role': 'assistant', 'tool_calls': [" CALL "], 'function_call': {'name': 'f'}}]}",
         "messages[0]: both tool_calls and function_call"},
        {SHAREGPT,
         "{'conversations': [{'from': 'function_call', 'value': '{\\'name\\': \\'f\\'}', 'tool_calls': [" CALL "]}]}",
         "conversations[0]: a message of the role function_call is a call; expected no tool_calls"},
        {SHAREGPT, "{'conversations': [{'from': 'function_call', 'value': 'f(1)'}]}",
         "conversations[0]: value: not valid JSON: "},
        {SHAREGPT, "{'conversations': [{'from': 'function_call', 'value': '[]'}]}",
         "conversations[0]: value: an empty list"},
        {SHAREGPT, "{'conversations': [" U "], 'tools': '['}", "tools: not valid JSON: "},
        {MESSAGES, "{'messages': [" U "], 'tools': 3}", "tools: expected a list of functions"},
        {MESSAGES, "{'messages': [" U "], 'tools': ['f']}", "tools: [0]: expected an object"},
        {MESSAGES, "{'messages': [" U "], 'tools': [" TOOL "], 'functions': [" FUNCTION "]}",
         "both tools and functions"},
        /* What is trained. */
        {MESSAGES, "{'messages': [{'role': 'assistant', 'content': 'A', 'weight': 0.5}]}",
         "messages[0]: weight: only whole messages are trained or not; expected 0, 1, true or false"},
        {MESSAGES, "{'messages': [{'role': 'assistant', 'content': 'A', 'train': 'no'}]}", "messages[0]: train: only"},
        {MESSAGES, "{'messages': [{'role': 'assistant', 'content': 'A', 'train': true, 'weight': 0}]}",
         "messages[0]: train and weight differ"},
        {MESSAGES, "{'messages': [{'role': 'user', 'content': 'A', 'weight': 1}]}",
         "messages[0]: a message of the role user is not trained"},
        {MESSAGES, "{'messages': [{'role': 'assistant', 'content': 'A', 'train_detail': [{'begin_offset': 0}]}]}",
         "messages[0]: train_detail: only whole messages"},
        {MESSAGES, "{'messages': [{'role': 'assistant', 'content': 'A', 'thinking': 'a', 'reasoning': 'b'}]}",
         "messages[0]: reasoning and thinking differ"},
        {MESSAGES, "{'messages': [{'role': 'assistant', 'content': 'A', 'thinking': ['a']}]}",
         "messages[0]: thinking: expected a string"},
        /* Beside the messages. */
        {MESSAGES, "{'messages': [{'role': 'system', 'content': 'A'}], 'system': 'B'}",
         "system: the messages begin with a system message too"},
        {MESSAGES, "{'messages': [" U "], 'documents': 'd'}", "documents: expected a list"},
        {MESSAGES, "{'messages': [" U "], 'chat_template_kwargs': []}", "chat_template_kwargs: expected an object"},
        {ALPACA, "{'instruction': 'a', 'output': 'b', 'history': 'c'}", "history: expected a list of pairs"},
        {ALPACA, "{'instruction': 'a', 'output': 'b', 'history': [['c']]}", "history[0]: expected two texts"},
        {PROMPT, "{'prompt': 'a', 'completion': [" A "]}", "prompt: expected a list of messages"},
        {PROMPT, "{'prompt': [" U "], 'completion': [{'role': 'x', 'content': ''}]}", "completion[0]: unknown role"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        json_t *row = json_of(bad[i].row);
        conversation_t c;
        row_notes_t notes = {0};
        err_t err = {0};
        assert_error(convert(bad[i].form, row, &c, &notes, &err), err, ERR_USAGE, bad[i].error);
        conversation_free(&c);
        json_decref(row);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_of_the_formats),
        cmocka_unit_test(calls_and_tools),
        cmocka_unit_test(reasoning),
        cmocka_unit_test(marks),
        cmocka_unit_test(alpaca),
        cmocka_unit_test(both_names),
        cmocka_unit_test(extras_and_notes),
        cmocka_unit_test(refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
