#define _XOPEN_SOURCE 700 /* realpath */
#include "trainer/export/modelfile.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "data/tokenizer/tokenizer.h"

static const char *last_part(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* An adapter needs the base that it was trained on, which is a GGUF or has yet to be made one. */
static void put_base(strbuf_t *text, const model_source_t *src) {
    const char *path = model_source_path(src);
    char *whole = realpath(path, NULL);
    if (model_source_is_gguf(src)) strbuf_addf(text, "FROM %s\n", whole ? whole : path);
    else
        strbuf_addf(text,
                    "# The adapter needs the model that it was trained on as a GGUF: convert %s,\n"
                    "# put the path of the result here, and remove the #:\n"
                    "# FROM ./base.gguf\n",
                    whole ? whole : path);
    free(whole);
}

/* Ollama takes the chat template from the GGUF; where a turn ends it is told here. */
static int put_stops(strbuf_t *text, const model_source_t *src, err_t *err) {
    const model_config_t *c = model_source_config(src);
    tokenizer_t *tok = NULL;
    err_t none = {0};
    if (tokenizer_open(model_source_path(src), &tok, &none)) {
        if (none.code != ERR_FAILED) return 0; /* a model of token ids */
        *err = none;
        return err->code;
    }
    for (size_t i = 0; i < c->n_eos; i++) {
        size_t len = 0;
        const char *stop = tokenizer_piece(tok, (int32_t)c->eos[i], true, &len);
        if (len && !memchr(stop, '"', len) && !memchr(stop, '\n', len))
            strbuf_addf(text, "PARAMETER stop \"%.*s\"\n", (int)len, stop);
    }
    tokenizer_close(tok);
    return 0;
}

/* Under a temporary name first: it is there whole or not at all. */
static int write_whole(const char *path, const strbuf_t *text, err_t *err) {
    char *tmp = xasprintf("%s.tmp", path);
    int rc = file_replace(tmp, path, file_write(tmp, text->p, text->len, err), err);
    free(tmp);
    return rc;
}

int modelfile_write(const char *file, const model_source_t *src, bool adapter, err_t *err) {
    char *dir = path_dirname(file), *path = path_join(dir, "Modelfile");
    strbuf_t text = {0};
    int rc = 0;
    if (path_exists(path)) {
        log_info("%s: exists already, and stays as it is", path);
    } else {
        if (adapter) put_base(&text, src);
        strbuf_addf(&text, "%s ./%s\n", adapter ? "ADAPTER" : "FROM", last_part(file));
        rc = put_stops(&text, src, err);
        if (rc == 0) rc = write_whole(path, &text, err);
        if (rc == 0) log_info("%s: for ollama create NAME -f %s", path, path);
    }
    free(text.p);
    free(path);
    free(dir);
    return rc;
}
