#define _GNU_SOURCE
#include "fuzz.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "data/tokenizer/tokenizer.h"
#include "model/source.h"

size_t fuzz_read, fuzz_refused;

/* QLORA_FUZZ_SHOW=1: why inputs are refused, for those who make seeds. */
static void show(const err_t *err) {
    static int wanted = -1;
    if (wanted < 0) wanted = getenv("QLORA_FUZZ_SHOW") != NULL;
    if (wanted) fprintf(stderr, "%s\n", err->code ? err->msg : "read");
}

bool fuzz_outcome(int rc, const err_t *err) {
    show(err);
    FUZZ_CHECK(rc == err->code);
    FUZZ_CHECK(rc == 0 || rc == ERR_USAGE);
    FUZZ_CHECK((rc == 0) == (err->msg[0] == 0));
    if (rc == 0) fuzz_read++;
    else fuzz_refused++;
    return rc == 0;
}

/* ---- files ---- */

static char *dir;
static pid_t owner; /* libFuzzer may fork */

static void remove_dir(void) {
    err_t err = {0};
    if (dir && getpid() == owner) dir_remove(dir, &err);
    free(dir);
    dir = NULL;
}

const char *fuzz_path(const char *name) {
    static char *paths[64];
    static size_t n;
    if (!dir) {
        const char *tmp = getenv("TMPDIR");
        log_errors_only();
        dir = xasprintf("%s/qlora-fuzz-XXXXXX", tmp ? tmp : path_is_dir("/dev/shm") ? "/dev/shm" : "/tmp");
        CHECK(mkdtemp(dir) != NULL);
        owner = getpid();
        atexit(remove_dir);
    }
    CHECK(n < sizeof paths / sizeof *paths);
    char *path = paths[n++] = path_join(dir, name), *parent = path_dirname(path);
    err_t err = {0};
    CHECK(dir_make(parent, &err) == 0);
    free(parent);
    return path;
}

void fuzz_file(const char *path, const void *data, size_t n) {
    if (!data) {
        unlink(path);
        return;
    }
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    CHECK(fd >= 0);
    CHECK(write(fd, data, n) == (ssize_t)n);
    close(fd);
}

part_t fuzz_part(part_t *rest) {
    part_t part = *rest;
    if (!part.p) return part;
    const uint8_t *mark = memmem(part.p, part.n, FUZZ_MARK, strlen(FUZZ_MARK));
    if (!mark) {
        *rest = (part_t){0};
        return part;
    }
    part.n = (size_t)(mark - part.p);
    rest->p += part.n + strlen(FUZZ_MARK);
    rest->n -= part.n + strlen(FUZZ_MARK);
    return part;
}

/* ---- safetensors ---- */

enum { MOST_DATA = 1 << 16 };

/* The highest end that a header names; 0: beyond what is worth writing. */
static size_t data_end(const char *header, size_t n) {
    static const char key[] = "\"data_offsets\"";
    size_t end = 0;
    for (const char *p = header; (p = memmem(p, n - (size_t)(p - header), key, strlen(key)));) {
        char number[64] = {0};
        p += strlen(key);
        size_t left = n - (size_t)(p - header);
        memcpy(number, p, left < sizeof number - 1 ? left : sizeof number - 1);
        char *comma = strchr(number, ',');
        unsigned long long v = comma ? strtoull(comma + 1, NULL, 10) : 0;
        if (v > MOST_DATA) return 0;
        if (v > end) end = (size_t)v;
    }
    return end;
}

void fuzz_safetensors_file(const char *path, part_t *rest) {
    part_t header = fuzz_part(rest), data = fuzz_part(rest);
    strbuf_t file = {0};
    uint8_t kind = header.n ? header.p[0] : 0;
    if (!header.p) {
        fuzz_file(path, NULL, 0);
        return;
    }
    if (header.n) header.p++, header.n--;
    uint64_t length = header.n;
    if (kind != 'r') strbuf_add(&file, (const char *)&length, sizeof length);
    strbuf_add(&file, (const char *)header.p, header.n);
    if (data.p) strbuf_add(&file, (const char *)data.p, data.n);
    for (size_t end = kind == 'z' ? data_end((const char *)header.p, header.n) : 0, i = data.n; i < end; i++)
        strbuf_add(&file, "", 1);
    fuzz_file(path, file.p, file.len);
    free(file.p);
}

/* ---- what is read is used ---- */

const char fuzz_config[] =
    "{\"model_type\": \"llama\", \"architectures\": [\"LlamaForCausalLM\"], \"vocab_size\": 16, \"hidden_size\": 8, "
    "\"intermediate_size\": 8, \"num_hidden_layers\": 1, \"num_attention_heads\": 2, \"num_key_value_heads\": 1, "
    "\"head_dim\": 4, \"max_position_embeddings\": 64, \"rms_norm_eps\": 1e-05, \"hidden_act\": \"silu\", "
    "\"tie_word_embeddings\": true, \"bos_token_id\": 1, \"eos_token_id\": 2, "
    "\"rope_parameters\": {\"rope_type\": \"default\", \"rope_theta\": 10000.0}}";

static const char *const texts[] = {
    "Hello, world!  2024-07 \n\n\t x = y_1;",
    " a<s>b</s> <|im_start|>user\nGr\xc3\xbc\xc3\x9f e\xcc\x81 \xe4\xbd\xa0\xe5\xa5\xbd \xf0\x9f\x98\x80\xe2\x80\x8d",
    "",
    "\xe2\x96\x81\xe2\x96\x81 don't   1234567 \xc2\xa0\xe3\x80\x80",
};

/* Every id is one of the vocabulary and begins in the text, not before the one before it. */
static void check_ids(const tokenizer_t *tok, const ids_t *ids, const places_t *starts, size_t len) {
    FUZZ_CHECK(starts->len == ids->len);
    for (size_t i = 0; i < ids->len; i++) {
        size_t n;
        FUZZ_CHECK(ids->ids[i] >= 0 && (size_t)ids->ids[i] < tokenizer_vocab(tok));
        FUZZ_CHECK(starts->at[i] < len && (i == 0 || starts->at[i] >= starts->at[i - 1]));
        FUZZ_CHECK(tokenizer_piece(tok, ids->ids[i], true, &n) != NULL);
    }
}

void fuzz_use_tokenizer(const tokenizer_t *tok) {
    for (size_t i = 0; i < 2 * (sizeof texts / sizeof *texts); i++) {
        const char *text = texts[i / 2];
        ids_t ids = {0}, same = {0};
        places_t starts = {0};
        err_t err = {0};
        size_t len;
        int rc = tokenizer_encode_starts(tok, text, strlen(text), i % 2, i % 3 == 0, &ids, &starts, &err);
        FUZZ_CHECK(rc == 0 || (rc == ERR_USAGE && err.msg[0]));
        if (rc == 0) {
            check_ids(tok, &ids, &starts, strlen(text));
            free(tokenizer_decode(tok, ids.ids, ids.len, i % 2, &len));
            if (i % 3) {
                FUZZ_CHECK(tokenizer_encode(tok, text, strlen(text), i % 2, &same, &err) == 0);
                FUZZ_CHECK(same.len == ids.len && (!ids.len || !memcmp(same.ids, ids.ids, ids.len * sizeof *ids.ids)));
            }
        }
        free(ids.ids);
        free(same.ids);
        free(starts.at);
    }
}

void fuzz_tokenizer_file(const char *path, const void *data, size_t n) {
    tokenizer_t *tok = NULL;
    err_t err = {0};
    fuzz_file(path, data, n);
    if (!fuzz_outcome(tokenizer_open(path, &tok, &err), &err)) return;
    fuzz_use_tokenizer(tok);
    tokenizer_close(tok);
}

/* The largest tensors are read in part: they are many only in number. */
enum { MOST_VALUES = 1 << 16 };

void fuzz_use_source(const model_source_t *src) {
    for (size_t i = 0; i < model_source_count(src); i++) {
        const source_tensor_t *t = model_source_at(src, i);
        size_t n = t->rows * t->cols;
        qweight_t w;
        err_t err = {0};
        if (n > MOST_VALUES) continue;
        float *x = xmalloc(n * sizeof *x);
        if (t->quantized) {
            /* Constants that are not finite are seen when a tensor is read, not when the model is opened. */
            int rc = source_quantized(src, t, &w, &err);
            FUZZ_CHECK(rc == err.code && (rc == 0 || rc == ERR_USAGE));
            if (rc == 0) quant_decode(&w, 0, n, x);
        } else {
            int rc = source_read(src, t, 0, n, DT_F32, x, &err);
            FUZZ_CHECK(rc == err.code && (rc == 0 || rc == ERR_USAGE));
            err = (err_t){0};
            source_read(src, t, 0, n, DT_BF16, x, &err);
        }
        free(x);
    }
    (void)model_source_fingerprint(src);
    for (size_t i = 0; i < model_source_others(src); i++) {
        const st_tensor_t *t = model_source_other(src, i);
        volatile uint8_t last = t->bytes ? t->data[t->bytes - 1] : 0;
        (void)last;
    }
}
