/* qlora-train tokenize: texts in, ids out, a line each. Other programs read the output, so nothing else is
 * ever printed there. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "data/tokenizer/tokenizer.h"
#include "trainer/commands/command.h"

static void print_ids(const ids_t *ids, strbuf_t *line) {
    line->len = 0;
    strbuf_adds(line, "{\"input_ids\":[");
    for (size_t i = 0; i < ids->len; i++) {
        char number[16];
        strbuf_add(line, number, (size_t)sprintf(number, i ? ",%d" : "%d", ids->ids[i]));
    }
    strbuf_adds(line, "]}\n");
    fwrite(line->p, 1, line->len, stdout);
}

/* One line of input; `where` is "file:line". */
static int encode_line(const tokenizer_t *tok, bool plain, const char *text, size_t len, const char *where, ids_t *ids,
                       err_t *err) {
    json_error_t e;
    json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &e);
    if (!root) return err_set(err, ERR_USAGE, "%s:%d: not valid JSON: %s", where, e.column, e.text);
    const json_t *v = json_object_get(root, "text");
    int rc = 0;
    ids->len = 0;
    if (!json_is_string(v)) rc = err_set(err, ERR_USAGE, "%s: expected an object {\"text\": \"...\"}", where);
    else if (tokenizer_encode(tok, json_string_value(v), json_string_length(v), !plain, ids, err))
        rc = err_prefix(err, "%s", where);
    json_decref(root);
    return rc;
}

static bool is_blank(const char *line, size_t len) { return strspn(line, " \t\r\n") >= len; }

static int encode_stream(const tokenizer_t *tok, bool plain, FILE *in, const char *name, err_t *err) {
    char *line = NULL;
    size_t cap = 0, number = 0;
    ssize_t n;
    ids_t ids = {0};
    strbuf_t out = {0};
    int rc = 0;
    while (rc == 0 && (n = getline(&line, &cap, in)) >= 0) {
        number++;
        if (is_blank(line, (size_t)n)) continue;
        char *where = xasprintf("%s:%zu", name, number);
        rc = encode_line(tok, plain, line, (size_t)n, where, &ids, err);
        if (rc == 0) print_ids(&ids, &out);
        if (rc == 0 && ferror(stdout)) rc = err_set(err, ERR_FAILED, "standard output: %s", strerror(errno));
        free(where);
    }
    if (rc == 0 && !feof(in)) rc = err_set(err, ERR_FAILED, "%s: cannot read: %s", name, strerror(errno));
    if (fflush(stdout) != 0 && rc == 0) rc = err_set(err, ERR_FAILED, "standard output: %s", strerror(errno));
    free(line);
    free(ids.ids);
    free(out.p);
    return rc;
}

static int tokenize(const char *model, bool plain, const char *file, err_t *err) {
    tokenizer_t *tok;
    if (file && path_is_dir(file)) return err_set(err, ERR_USAGE, "%s: a directory; expected a file", file);
    if (tokenizer_open(model, &tok, err)) return err->code;
    FILE *in = file ? fopen(file, "r") : stdin;
    int rc = in ? encode_stream(tok, plain, in, file ? file : "standard input", err) : file_cannot_open(file, err);
    if (in && file) fclose(in);
    tokenizer_close(tok);
    return rc;
}

typedef struct {
    bool plain;
} given_t;

static int run_tokenize(int argc, char **argv) {
    given_t given = {0};
    args_t args;
    err_t err = {0};
    int rc = command_parse(&command_tokenize, argc, argv, &given, &args, &err);
    if (rc == 0 && args.helped) return 0;
    if (rc == 0 && args.n == 0) rc = err_set(&err, ERR_USAGE, "tokenize: no MODEL given; see --help");
    if (rc == 0) rc = tokenize(args.pos[0], given.plain, args.n > 1 ? args.pos[1] : NULL, &err);
    if (rc) log_error("%s", err.msg);
    return rc;
}

static const positional_t positionals[] = {
    {"MODEL", ARG_PATH, .help = "a Hugging Face directory, a GGUF file, a tokenizer.json or a tokenizer.model"},
    {"FILE.jsonl", ARG_FILE, .optional = true,
     .help = "an object {\"text\": ...} a line; without it standard input is read"},
};
static const option_t options[] = {
    {"plain", ARG_FLAG, offsetof(given_t, plain), .help = "all of the text is plain text"},
};

const command_t command_tokenize = {
    .name = "tokenize",
    .synopsis = "[--plain] MODEL [FILE.jsonl]",
    .what = "JSONL of {\"text\"} in, {\"input_ids\"} out",
    .about = "Reads a JSON object {\"text\": ...} a line and prints {\"input_ids\":[...]} a line. No BOS is added. "
             "Added and special tokens in the text are recognised. Blank lines are skipped.",
    COMMAND_POSITIONALS(positionals),
    COMMAND_OPTIONS(options),
    .run = run_tokenize,
};
