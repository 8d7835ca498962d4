#include <stdlib.h>

#include "base/json.h"
#include "base/mem.h"
#include "data/chat/chat_table.h"

#define TOOLS_HEAD \
    "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n" \
    "You are provided with function signatures within <tools></tools> XML tags:\n<tools>"
#define CALL_HEAD "\n</tools>\n\nFor each function call, return a json object with function name and arguments"
#define PLAIN_CALL ":\n" CALL_JSON
#define TAGGED_CALL " within <tool_call></tool_call> XML tags:\n<tool_call>\n" CALL_JSON "\n</tool_call>"
#define CALL_JSON "{\"name\": <function-name>, \"arguments\": <args-json-object>}"

static char *tools_text(const chat_template_t *t, const json_t *tools) {
    strbuf_t b = {0};
    strbuf_adds(&b, TOOLS_HEAD);
    for (size_t i = 0; i < json_array_size(tools); i++) {
        /* 15 digits print 0.1 as 0.1; jansson's 17 would not. */
        char *one = json_dumps(json_array_get(tools, i), JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
        CHECK(one != NULL);
        strbuf_adds(&b, "\n");
        strbuf_adds(&b, one);
        free(one);
    }
    strbuf_adds(&b, CALL_HEAD);
    strbuf_adds(&b, t->variant && t->variant->tagged_calls ? TAGGED_CALL : PLAIN_CALL);
    return b.p;
}

int chat_tools_text(const chat_template_t *t, const json_t *tools, char **text, err_t *err) {
    *text = NULL;
    json_t *parsed = NULL;
    if (json_is_string(tools)) {
        size_t len = json_string_length(tools);
        if (len == 0) return 0;
        if (json_text(json_string_value(tools), len, "tools", &parsed, err)) return err->code;
        tools = parsed;
    }
    int rc = 0;
    if (!json_is_array(tools)) rc = err_set(err, ERR_USAGE, "tools: expected an array of functions");
    else if (json_array_size(tools) > 0) *text = tools_text(t, tools);
    json_decref(parsed);
    return rc;
}
