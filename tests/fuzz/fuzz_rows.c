/* Files of rows, of any format, compressed or not: what is read is tokenised. The first letter of an input says what kind
 * of file it is; of a capital one the rest is compressed first, so that mutations reach the rows. */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "base/mem.h"
#include "data/dataset.h"

static const char tokenizer[] =
    "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"e\": 1, \"i\": 2, \"o\": 3, \"<s>\": 4, \"</s>\": 5, "
    "\"<|im_start|>\": 6, \"<|im_end|>\": 7, \"\xc4\xa0\": 8, \"\xc4\x8a\": 9, \"s\": 10, \"r\": 11, \"t\": 12}, "
    "\"merges\": []}, \"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": false}, "
    "\"added_tokens\": [{\"id\": 5, \"content\": \"</s>\", \"special\": true}, {\"id\": 6, \"content\": "
    "\"<|im_start|>\", \"special\": true}, {\"id\": 7, \"content\": \"<|im_end|>\", \"special\": true}]}";
static const char settings[] = "{\"eos_token\": \"</s>\"}";

enum { KINDS = 7 };
static const char *const suffixes[KINDS] = {"jsonl", "json", "txt", "jsonl.gz", "json.zst", "json.gz", "txt.zst"};

static tokenizer_t *tok;
static chat_template_t *chat;
static const char *paths[KINDS];

static void open_all(void) {
    err_t err = {0};
    fuzz_file(fuzz_path("tokenizer.json"), tokenizer, strlen(tokenizer));
    fuzz_file(fuzz_path("tokenizer_config.json"), settings, strlen(settings));
    FUZZ_CHECK(tokenizer_open(fuzz_path("."), &tok, &err) == 0);
    FUZZ_CHECK(chat_template_open(tok, &(chat_spec_t){.choice = "chatml"}, &chat, &err) == 0);
    for (int i = 0; i < KINDS; i++) {
        char *name = xasprintf("rows.%s", suffixes[i]);
        paths[i] = fuzz_path(name);
        free(name);
    }
}

static void write_gzip(const char *path, const uint8_t *data, size_t n) {
    size_t cap = compressBound(n) + 64;
    uint8_t *out = xmalloc(cap);
    z_stream z = {.next_in = (uint8_t *)(uintptr_t)data, .avail_in = (uInt)n, .next_out = out, .avail_out = (uInt)cap};
    FUZZ_CHECK(deflateInit2(&z, 1, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK);
    FUZZ_CHECK(deflate(&z, Z_FINISH) == Z_STREAM_END);
    deflateEnd(&z);
    fuzz_file(path, out, cap - z.avail_out);
    free(out);
}

static void write_zstd(const char *path, const uint8_t *data, size_t n) {
    size_t cap = ZSTD_compressBound(n);
    uint8_t *out = xmalloc(cap);
    size_t len = ZSTD_compress(out, cap, data, n, 1);
    FUZZ_CHECK(!ZSTD_isError(len));
    fuzz_file(path, out, len);
    free(out);
}

static void use_dataset(const dataset_t *ds) {
    size_t end = 0;
    for (size_t i = 0; i < ds->n_samples; i++) {
        const sample_t *s = &ds->samples[i];
        size_t labels = 0;
        FUZZ_CHECK(s->start == end && s->len > 0 && s->len <= ds->longest);
        for (size_t t = s->start + 1; t < s->start + s->len; t++) labels += dataset_label(ds, t) != LABEL_NONE;
        FUZZ_CHECK(labels == s->labels);
        end += s->len;
        free(dataset_sample_text(ds, i, tok, "[", "]"));
    }
    FUZZ_CHECK(end == ds->n_tokens);
}

static void load(const char *path, size_t max_length, train_on_t train_on) {
    const char *const files[] = {path};
    dataset_spec_t spec = {.files = files,
                           .n_files = 1,
                           .format = DATA_AUTO,
                           .max_length = max_length,
                           .train_on = train_on,
                           .tok = tok,
                           .chat = chat,
                           .vocab = tokenizer_vocab(tok)};
    dataset_t ds, part;
    err_t err = {0};
    if (!fuzz_outcome(dataset_load(&spec, &ds, &err), &err)) return;
    use_dataset(&ds);
    if (dataset_split(&ds, 0.5, 1, &part, &err) == 0) {
        use_dataset(&ds);
        use_dataset(&part);
        dataset_free(&part);
    }
    dataset_free(&ds);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!tok) open_all();
    if (size < 2) return 0;
    bool pack = data[0] >= 'A' && data[0] <= 'Z';
    size_t kind = (size_t)((data[0] | 0x20) - 'a') % KINDS, settings_of = data[1];
    const char *path = paths[kind], *suffix = suffixes[kind];
    data += 2, size -= 2;
    if (pack && strstr(suffix, ".gz")) write_gzip(path, data, size);
    else if (pack && strstr(suffix, ".zst")) write_zstd(path, data, size);
    else fuzz_file(path, data, size);
    load(path, settings_of % 2 ? 8 : 512, (train_on_t)(settings_of / 2 % 3));
    return 0;
}
