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

static const char help[] =
    "usage: qlora-train tokenize [--plain] MODEL [FILE.jsonl]\n"
    "\n"
    "Reads a JSON object {\"text\": ...} a line from FILE.jsonl, or from standard input, and prints\n"
    "{\"input_ids\":[...]} a line. No BOS is added. Added and special tokens in the text are recognised.\n"
    "Blank lines are skipped.\n"
    "\n"
    "--plain  all of the text is plain text\n"
    "\n"
    "MODEL: a Hugging Face directory, a GGUF file, a tokenizer.json or a tokenizer.model\n";

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

int command_tokenize(int argc, char **argv) {
    bool wants_help = false, plain = false;
    const option_t options[] = {{"help", NULL, &wants_help}, {"plain", NULL, &plain}};
    const char *pos[2] = {NULL, NULL};
    size_t n;
    err_t err = {0};
    int rc = options_parse(argc, argv, options, 2, pos, 2, &n, &err);
    if (rc == 0 && wants_help) {
        fputs(help, stdout);
        return 0;
    }
    if (rc == 0 && n == 0) rc = err_set(&err, ERR_USAGE, "tokenize: no MODEL given; see --help");
    if (rc == 0) rc = tokenize(pos[0], plain, pos[1], &err);
    if (rc) log_error("%s", err.msg);
    return rc;
}
