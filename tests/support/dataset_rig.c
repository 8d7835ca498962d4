#include "dataset_rig.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"

tokenizer_t *bpe, *spm;
chat_template_t *chatml, *llama2;

/* SmolLM2's vocabulary, whose base model ends texts with <|endoftext|>. */
static int open_bpe(err_t *err) {
    static const char config[] = "{\"eos_token\": \"<|endoftext|>\"}";
    const char *dir = test_tmpdir();
    char *json = path_join(dir, "tokenizer.json"), *settings = path_join(dir, "tokenizer_config.json");
    int rc = file_copy(test_path("golden/tokenizer/tokenizer.json"), json, err);
    if (rc == 0) rc = file_write(settings, config, sizeof config - 1, err);
    if (rc == 0) rc = tokenizer_open(dir, &bpe, err);
    free(json);
    free(settings);
    return rc;
}

int dataset_setup(void **state) {
    (void)state;
    err_t err = {0};
    return open_bpe(&err) || tokenizer_open(test_path("golden/tokenizer/llama2-tokenizer.model"), &spm, &err) ||
           chat_template_open(bpe, &(chat_spec_t){.choice = "chatml"}, &chatml, &err) ||
           chat_template_open(spm, &(chat_spec_t){.choice = "llama2"}, &llama2, &err);
}

int dataset_teardown(void **state) {
    (void)state;
    chat_template_close(chatml);
    chat_template_close(llama2);
    tokenizer_close(bpe);
    tokenizer_close(spm);
    return 0;
}

const char *write_file(const char *name, const void *data, size_t n) {
    static char *paths[256];
    static size_t count;
    err_t err = {0};
    assert_true(count < sizeof paths / sizeof *paths);
    char *path = paths[count++] = path_join(test_tmpdir(), name);
    assert_ok(file_write(path, data, n, &err), err);
    return path;
}

dataset_spec_t spec_of(const char *const *files, size_t n, const tokenizer_t *tok, const chat_template_t *chat) {
    return (dataset_spec_t){.files = files,
                            .n_files = n,
                            .format = DATA_AUTO,
                            .max_length = 128,
                            .tok = tok,
                            .chat = chat,
                            .vocab = tok ? tokenizer_vocab(tok) : 100};
}

int load_rows(const char *name, const char *text, const dataset_spec_t *like, dataset_t *ds, err_t *err) {
    const char *files[] = {write_file(name, text, strlen(text))};
    dataset_spec_t spec = *like;
    spec.files = files;
    spec.n_files = 1;
    return dataset_load(&spec, ds, err);
}

void assert_sample(const dataset_t *ds, size_t i, const tokenizer_t *tok, const char *want) {
    assert_true(i < ds->n_samples);
    char *text = dataset_sample_text(ds, i, tok, "[[", "]]");
    assert_string_equal(text, want);
    free(text);
}

void check_first(const char *name, const char *text, data_format_t format, const char *want) {
    dataset_spec_t spec = spec_of(NULL, 0, bpe, chatml);
    dataset_t ds;
    err_t err = {0};
    assert_ok(load_rows(name, text, &spec, &ds, &err), err);
    assert_int_equal(ds.format, format);
    assert_sample(&ds, 0, bpe, want);
    dataset_free(&ds);
}
