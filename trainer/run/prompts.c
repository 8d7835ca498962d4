#include "trainer/run/prompts.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "data/tokenizer/utf8.h"

static const prompt_t *find(const prompts_t *p, const char *line, size_t len) {
    for (size_t i = 0; i < p->n; i++)
        if (strlen(p->at[i].text) == len && memcmp(p->at[i].text, line, len) == 0) return &p->at[i];
    return NULL;
}

static int add_line(const char *path, const char *line, size_t len, size_t number, prompts_t *p, err_t *err) {
    if (len && line[len - 1] == '\r') len--;
    if (utf8_valid(line, len) < len || memchr(line, 0, len))
        return err_set(err, ERR_USAGE, "%s:%zu: not a text; expected prompts in UTF-8, one a line", path, number);
    size_t space = 0;
    while (space < len && (line[space] == ' ' || line[space] == '\t')) space++;
    if (space == len) return 0;
    const prompt_t *same = find(p, line, len);
    if (same)
        return err_set(err, ERR_USAGE, "%s:%zu: the prompt of line %zu again; expected each once", path, number,
                       same->line);
    if (p->n == PROMPTS_MOST)
        return err_set(err, ERR_USAGE,
                       "%s:%zu: more than %zu prompts; expected fewer, as each is answered at every "
                       "evaluation",
                       path, number, PROMPTS_MOST);
    p->at[p->n++] = (prompt_t){.text = xstrndup(line, len), .line = number};
    return 0;
}

static int add_lines(const char *path, const char *text, size_t len, prompts_t *p, err_t *err) {
    size_t at = len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0; /* byte order mark */
    for (size_t number = 1; at < len; number++) {
        const char *newline = memchr(text + at, '\n', len - at);
        size_t n = newline ? (size_t)(newline - text) - at : len - at;
        if (add_line(path, text + at, n, number, p, err)) return err->code;
        at += n + 1;
    }
    if (p->n) return 0;
    return err_set(err, ERR_USAGE, "%s: no prompt; expected one a line, or training.sample_prompts: none", path);
}

int prompts_read(const char *path, prompts_t *p, err_t *err) {
    static const char expected[] = "prompts, one a line, each answered at every evaluation, and at most 1 MiB of them";
    size_t len;
    char *text;
    *p = (prompts_t){0};
    if (file_read_small(path, PROMPTS_MOST_BYTES, expected, &text, &len, err)) return err->code;
    p->at = xcalloc(PROMPTS_MOST, sizeof *p->at);
    add_lines(path, text, len, p, err);
    free(text);
    return err->code;
}

void prompts_free(prompts_t *p) {
    for (size_t i = 0; i < p->n; i++) {
        free(p->at[i].text);
        free(p->at[i].ids.ids);
    }
    free(p->at);
    *p = (prompts_t){0};
}
