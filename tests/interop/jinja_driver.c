/* Renders templates for tests/interop/jinja_random.py: a line of JSON in, {"template", "vars", "date"}, and one out,
 * {"text"} or {"error"}. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/jinja/jinja.h"

static json_t *render(const json_t *request) {
    const char *text = json_string_value(json_object_get(request, "template"));
    const json_t *vars = json_object_get(request, "vars");
    jinja_var_t list[64];
    jinja_input_t in = {.vars = list, .date = json_string_value(json_object_get(request, "date"))};
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)vars, name, value) {
        bool traced = strcmp(name, "ld") == 0; /* a list of objects */
        if (in.n_vars < 64) list[in.n_vars++] = (jinja_var_t){name, value, traced, SIZE_MAX};
    }
    err_t err = {0};
    jinja_t *t = NULL;
    jinja_output_t out = {0};
    json_t *answer = NULL;
    if (jinja_parse("t", text, strlen(text), &t, &err) == 0 && jinja_render(t, &in, &out, &err) == 0) {
        answer = json_pack("{s:s%}", "text", out.text.p ? out.text.p : "", out.text.len);
    } else {
        answer = json_pack("{s:s}", "error", err.msg);
    }
    size_t end = out.n_runs > 0 ? out.runs[out.n_runs - 1].end : 0;
    if (err.code == 0) CHECK(end == out.text.len); /* the runs cover the text */
    jinja_output_free(&out);
    jinja_free(t);
    return answer ? answer : json_pack("{s:s}", "error", "(not UTF-8)");
}

int main(void) {
    char *line = NULL;
    size_t cap = 0;
    while (getline(&line, &cap, stdin) > 0) {
        json_error_t error;
        json_t *request = json_loads(line, JSON_ALLOW_NUL, &error);
        json_t *answer = render(request);
        char *text = json_dumps(answer, JSON_COMPACT | JSON_ENSURE_ASCII);
        puts(text);
        fflush(stdout);
        free(text);
        json_decref(answer);
        json_decref(request);
    }
    free(line);
    return 0;
}
