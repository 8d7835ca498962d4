/* What lies beside a tokenizer: roles, added tokens, chat templates, which are rendered. */
#include "fuzz.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "data/chat/chat.h"

/* Bytes alone, and a few tokens that settings may name. */
static const char tokenizer[] =
    "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 1, \"c\": 2, \"ab\": 3, \"<s>\": 4, \"</s>\": 5, "
    "\"<|im_start|>\": 6, \"<|im_end|>\": 7, \"\xc4\xa0\": 8, \"\xc4\x8a\": 9, \"e\": 10, \"r\": 11, \"s\": 12}, "
    "\"merges\": [\"a b\"]}, \"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": false}, "
    "\"added_tokens\": [{\"id\": 4, \"content\": \"<s>\", \"special\": true}, {\"id\": 5, \"content\": \"</s>\", "
    "\"special\": true}, {\"id\": 6, \"content\": \"<|im_start|>\", \"special\": true}, {\"id\": 7, \"content\": "
    "\"<|im_end|>\", \"special\": true}]}";

static const char messages[] =
    "[{\"role\": \"user\", \"content\": \"a b\"}, {\"role\": \"assistant\", \"content\": \"ab\", \"tool_calls\": [{"
    "\"type\": \"function\", \"function\": {\"name\": \"a\", \"arguments\": {\"b\": [1, 2.5, null]}}}]}, {\"role\": "
    "\"tool\", \"content\": \"c\", \"name\": \"a\"}, {\"role\": \"assistant\", \"content\": \"c\"}]";

static void use_template(const tokenizer_t *tok) {
    chat_template_t *chat = NULL;
    err_t err = {0};
    int rc = chat_template_open(tok, &(chat_spec_t){.choice = "auto", .date = "2024-02-29"}, &chat, &err);
    if (!fuzz_outcome(rc, &err)) return;
    train_mark_t marks[8] = {TRAIN_BY_RULE};
    for (size_t n = 2; n <= 4; n += 2) {
        conversation_t c = {.messages = json_loads(messages, 0, NULL), .marks = marks};
        ids_t ids = {0}, labels = {0};
        row_notes_t notes = {0};
        int32_t stops[8];
        while (json_array_size(c.messages) > n) json_array_remove(c.messages, n);
        if (n == 2) json_object_del(json_array_get(c.messages, 1), "tool_calls");
        err = (err_t){0};
        rc = chat_encode(chat, &c, TRAIN_ON_COMPLETION, NULL, &ids, &labels, &notes, &err);
        FUZZ_CHECK(rc == 0 || (rc == ERR_USAGE && err.msg[0]));
        FUZZ_CHECK(rc != 0 || ids.len == labels.len);
        ids.len = 0;
        err = (err_t){0};
        rc = chat_prompt(chat, &c, &ids, &err);
        FUZZ_CHECK(rc == 0 || (rc == ERR_USAGE && err.msg[0]));
        (void)chat_stop_ids(chat, stops, 8);
        free(ids.ids);
        free(labels.ids);
        json_decref(c.messages);
    }
    chat_template_close(chat);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const names[] = {"t/tokenizer_config.json",
                                        "t/special_tokens_map.json",
                                        "t/generation_config.json",
                                        "t/config.json",
                                        "t/added_tokens.json",
                                        "t/chat_template.jinja",
                                        "t/additional_chat_templates/tool_use.jinja"};
    enum { FILES = sizeof names / sizeof *names };
    static const char *dir, *paths[FILES];
    if (!dir) {
        dir = fuzz_path("t");
        for (size_t i = 0; i < FILES; i++) paths[i] = fuzz_path(names[i]);
        fuzz_file(fuzz_path("t/tokenizer.json"), tokenizer, strlen(tokenizer));
    }
    tokenizer_t *tok = NULL;
    err_t err = {0};
    part_t rest = {data, size};
    for (size_t i = 0; i < FILES; i++) {
        part_t part = fuzz_part(&rest);
        fuzz_file(paths[i], part.n ? part.p : NULL, part.n);
    }
    if (!fuzz_outcome(tokenizer_open(dir, &tok, &err), &err)) return 0;
    size_t n;
    (void)tokenizer_ends(tok, &n);
    (void)tokenizer_named_tokens(tok);
    use_template(tok);
    tokenizer_close(tok);
    return 0;
}
