#include "trainer/export/gguf_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rng.h"
#include "data/tokenizer/tokenizer_gguf_write.h"
#include "model/gguf_config_write.h"

/* One tensor of the file. */
typedef struct {
    char name[96];
    uint32_t type;
    size_t rows, cols; /* rows 0: one dimension */
    bool merged;       /* to be merged and rounded, as: */
    merge_job_t job;
    const void *raw; /* otherwise bytes as they are */
    size_t raw_bytes;
} item_t;

typedef struct {
    item_t *v;
    size_t n, cap;
    gguf_rope_tensor_t rope[2];
    size_t narrow; /* tensors whose rows Q8_0 cannot have */
} plan_t;

uint32_t gguf_model_type(const model_source_t *src) {
    for (size_t i = 0; i < model_source_count(src); i++) {
        const source_tensor_t *t = model_source_at(src, i);
        if (t->role == TENSOR_LINEAR && !t->quantized) return t->type == DT_F16 ? GGML_F16 : GGML_BF16;
    }
    return GGML_BF16;
}

static bool has_tokenizer(const model_source_t *src) {
    static const char *const files[] = {"tokenizer.json", "tokenizer.model"};
    gguf_str_t s;
    bool found = false;
    if (model_source_is_gguf(src)) {
        if (!gguf_get_str(model_source_gguf(src), "tokenizer.ggml.model", &s)) return false;
        return !(s.len == 4 && !memcmp(s.p, "none", 4)) && s.len > 0;
    }
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char *path = path_join(model_source_dir(src), files[i]);
        found |= path_exists(path);
        free(path);
    }
    return found;
}

/* ---- which tensors ------------------------------------------------------------------------------------------ */

static item_t *add_item(plan_t *p, uint32_t type, size_t rows, size_t cols) {
    VEC_GROW(p->v, p->n, p->cap);
    item_t *t = &p->v[p->n++];
    *t = (item_t){.type = type, .rows = rows, .cols = cols};
    return t;
}

static void add_raw(plan_t *p, const gguf_tensor_t *t) {
    item_t *item = add_item(p, t->type, t->rows > 1 ? t->rows : 0, t->cols);
    snprintf(item->name, sizeof item->name, "%.*s", (int)t->name.len, t->name.p);
    item->raw = t->data;
    item->raw_bytes = t->bytes;
}

static bool is_named(const gguf_tensor_t *t, const char *end) {
    size_t n = strlen(end);
    return t->name.len >= n && !memcmp(t->name.p + t->name.len - n, end, n);
}

/* What a GGUF has beyond the architecture's tensors: factors of RoPE. Joined queries, keys and values are not: they are
 * written apart. */
static void add_others(plan_t *p, const model_source_t *src) {
    const gguf_t *g = model_source_gguf(src);
    for (size_t i = 0; i < gguf_tensor_count(g); i++) {
        const gguf_tensor_t *t = gguf_tensor_at(g, i);
        bool rope = (is_named(t, "rope_freqs.weight") || is_named(t, "rope_factors_long.weight") ||
                     is_named(t, "rope_factors_short.weight"));
        if (rope && t->data) add_raw(p, t);
    }
}

static void add_rope(plan_t *p, const model_config_t *c) {
    size_t n = gguf_rope_tensors(c, p->rope);
    for (size_t i = 0; i < n; i++) {
        item_t *t = add_item(p, GGML_F32, 0, p->rope[i].n);
        snprintf(t->name, sizeof t->name, "%s", p->rope[i].name);
        t->raw = p->rope[i].factor;
        t->raw_bytes = p->rope[i].n * sizeof(float);
    }
}

static bool is_plain(uint32_t type) { return type == GGML_F32 || type == GGML_F16 || type == GGML_BF16; }

/* What lies in a GGUF as it will lie in the result stays to the bit. */
static bool stays(const gguf_model_t *m, const merge_job_t *job, const gguf_tensor_t *stored) {
    const source_tensor_t *t = job->from;
    if (!stored || !stored->data || stored->rows != t->rows || stored->cols != t->cols || job->delta.A) return false;
    if (t->role == TENSOR_LINEAR) return stored->type == m->type && !m->merge->dequantized;
    return is_plain(stored->type) || stored->type == m->type;
}

static void add_tensor(plan_t *p, const gguf_model_t *m, const merge_job_t *job) {
    const source_tensor_t *t = job->from;
    const gguf_t *g = model_source_gguf(m->merge->src);
    bool vector = tensor_is_vector(t->role), narrow = m->type == GGML_Q8_0 && t->cols % gguf_block_len(GGML_Q8_0);
    char name[96];
    model_tensor_gguf_name(&(model_tensor_t){.role = job->role, .spec = t->spec, .layer = t->layer}, name, sizeof name);
    const gguf_tensor_t *stored = g ? gguf_find(g, name) : NULL;
    if (stays(m, job, stored)) {
        add_raw(p, stored);
        return;
    }
    uint32_t type = vector ? GGML_F32 : narrow ? GGML_F16 : m->type;
    if (!vector && narrow) p->narrow++;
    item_t *item = add_item(p, type, vector ? 0 : t->rows, t->cols);
    memcpy(item->name, name, sizeof item->name);
    item->merged = true;
    item->job = *job;
}

static void make_plan(plan_t *p, const gguf_model_t *m) {
    const model_source_t *src = m->merge->src;
    if (model_source_is_gguf(src)) add_others(p, src);
    else add_rope(p, model_source_config(src));
    for (size_t i = 0; i < merge_job_count(m->merge); i++) {
        const merge_job_t job = merge_job_at(m->merge, i);
        add_tensor(p, m, &job);
    }
    if (p->narrow)
        log_info("%zu tensors have rows of no multiple of 32 values, which Q8_0 cannot have: F16 instead", p->narrow);
}

/* ---- metadata ----------------------------------------------------------------------------------------------- */

static bool begins(gguf_str_t key, const char *start) {
    size_t n = strlen(start);
    return key.len >= n && !memcmp(key.p, start, n);
}

static bool is_key(gguf_str_t key, const char *name) { return begins(key, name) && key.len == strlen(name); }

/* What is said of the file rather than of the model. */
static bool keeps(gguf_str_t key) {
    return !is_key(key, "general.file_type") && !is_key(key, "general.quantization_version") &&
           !is_key(key, "general.alignment") && !begins(key, "split.") && !begins(key, "quantize.");
}

static bool keeps_but_template(gguf_str_t key) { return keeps(key) && !is_key(key, "tokenizer.chat_template"); }

static void put_file_type(gguf_writer_t *w, uint32_t type) {
    enum { MOSTLY_F16 = 1, MOSTLY_Q8_0 = 7, MOSTLY_BF16 = 32 }; /* llama.cpp's numbers of kinds of files */
    gguf_put_u32(w, "general.file_type", type == GGML_F16 ? MOSTLY_F16 : type == GGML_Q8_0 ? MOSTLY_Q8_0 : MOSTLY_BF16);
    gguf_put_u32(w, "general.quantization_version", 2);
}

static int put_tokenizer(gguf_writer_t *w, const merge_t *c, err_t *err) {
    const model_config_t *config = model_source_config(c->src);
    tokenizer_t *tok = NULL;
    if (!has_tokenizer(c->src)) {
        log_warn("%s: has no tokenizer, and so the GGUF has none: it takes token ids only", model_source_path(c->src));
        gguf_put_str(w, "tokenizer.ggml.model", "none");
        return 0;
    }
    int rc = tokenizer_open(model_source_path(c->src), &tok, err);
    if (rc == 0)
        rc = tokenizer_put_gguf(tok, config->vocab, config->eos, config->n_eos, c->chat_template, w,
                                model_source_path(c->src), err);
    tokenizer_close(tok);
    return rc;
}

/* The last part of a path. */
static char *name_of(const char *path) {
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/') n--;
    size_t start = n;
    while (start > 0 && path[start - 1] != '/') start--;
    return xstrndup(path + start, n - start);
}

static int put_metadata(gguf_writer_t *w, const gguf_model_t *m, err_t *err) {
    const merge_t *c = m->merge;
    const gguf_t *g = model_source_gguf(c->src);
    if (g) {
        gguf_put_all(w, g, c->chat_template ? keeps_but_template : keeps);
        if (c->chat_template) gguf_put_str(w, "tokenizer.chat_template", c->chat_template);
        put_file_type(w, m->type);
        return 0;
    }
    const model_config_t *config = model_source_config(c->src);
    char *name = name_of(model_source_dir(c->src));
    gguf_put_str(w, "general.architecture", config->arch->gguf_name);
    gguf_put_str(w, "general.type", "model");
    gguf_put_str(w, "general.name", name);
    free(name);
    gguf_put_config(w, config);
    put_file_type(w, m->type);
    return put_tokenizer(w, c, err);
}

/* ---- data --------------------------------------------------------------------------------------------------- */

/* Which row of Hugging Face's order is row `row` of the file: GGUF's llama layout has the two rows of a rotary pair,
 * there half a head apart, next to each other. d: rows of a head, 0 where nothing is permuted. */
static size_t row_from(size_t row, size_t d) {
    if (!d) return row;
    size_t in_head = row % d;
    return row - in_head + in_head / 2 + in_head % 2 * (d / 2);
}

/* Rows of a head, of a permuted tensor. */
static size_t permuted_head(const model_config_t *c, const source_tensor_t *t) {
    bool linear = t->role == TENSOR_LINEAR || t->role == TENSOR_BIAS;
    bool permuted = linear && c->arch->gguf_permuted_qk && (t->spec->slot == LIN_Q || t->spec->slot == LIN_K);
    return permuted ? c->head_dim : 0;
}

static int write_vector(gguf_writer_t *w, const merge_t *c, const source_tensor_t *t, err_t *err) {
    const model_config_t *config = model_source_config(c->src);
    float *x = xmalloc(t->cols * sizeof *x), *y = xmalloc(t->cols * sizeof *y);
    size_t d = permuted_head(config, t);
    int rc = source_read(c->src, t, 0, t->cols, DT_F32, x, err);
    float plus = t->role == TENSOR_NORM && config->arch->norm_plus_one ? 1 : 0;
    for (size_t i = 0; rc == 0 && i < t->cols; i++) y[i] = x[row_from(i, d)] + plus;
    if (rc == 0) rc = gguf_writer_data(w, y, t->cols * sizeof *y, err);
    free(x);
    free(y);
    return rc;
}

/* A row, whose elements have numbers from `element` on. draw: room for a row. */
static void round_row(const float *x, size_t n, uint32_t type, bool coarse, uint64_t key, size_t element, float *draw,
                      uint8_t *out) {
    if (type == GGML_Q8_0) {
        for (size_t i = 0; coarse && i < n; i++) draw[i] = (float)(rng_fold(key, element + i) >> 48) / 65536;
        gguf_encode_q8_0(x, n, coarse ? draw : NULL, out);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        float v = merge_round(x[i], type == GGML_F16 ? DT_F16 : DT_BF16, key, element + i);
        uint16_t half = type == GGML_F16 ? f16_from_f32(v) : bf16_from_f32(v);
        memcpy(out + 2 * i, &half, 2);
    }
}

static int write_matrix(gguf_writer_t *w, const merge_t *c, const item_t *item, err_t *err) {
    const source_tensor_t *t = item->job.from;
    size_t d = permuted_head(model_source_config(c->src), t), in = t->cols, rows = merge_piece_rows(t);
    size_t row_bytes = in / gguf_block_len(item->type) * gguf_block_bytes(item->type);
    if (d) rows = (rows + d - 1) / d * d; /* whole heads: rows move within one */
    float *x = xmalloc(rows * in * sizeof *x), *draws = xmalloc(rows * in * sizeof *draws);
    uint8_t *out = xmalloc(rows * row_bytes);
    bool coarse = merge_is_coarse(c, &item->job);
    uint64_t key = merge_key(&item->job);
    int rc = 0;
    for (size_t row = 0; rc == 0 && row < t->rows; row += rows) {
        size_t n = t->rows - row < rows ? t->rows - row : rows;
        rc = merge_rows(c, &item->job, row, n, x, err);
        if (rc) break;
#pragma omp parallel for schedule(static) num_threads(c->cpu->threads)
        for (size_t i = 0; i < n; i++) {
            size_t from = row_from(i, d);
            round_row(x + from * in, in, item->type, coarse, key, (row + from) * in, draws + i * in,
                      out + i * row_bytes);
        }
        rc = gguf_writer_data(w, out, n * row_bytes, err);
    }
    free(x);
    free(draws);
    free(out);
    source_release(c->src, t);
    return rc;
}

static int write_item(gguf_writer_t *w, const merge_t *c, const item_t *item, err_t *err) {
    if (!item->merged) {
        int rc = gguf_writer_data(w, item->raw, item->raw_bytes, err);
        if (model_source_is_gguf(c->src)) mapping_release(item->raw, item->raw_bytes);
        return rc;
    }
    return tensor_is_vector(item->job.role) ? write_vector(w, c, item->job.from, err) : write_matrix(w, c, item, err);
}

/* Whether what is read from the file computes what the model does. */
static int compare_configs(const char *path, const merge_t *merge, err_t *err) {
    const model_source_t *src = merge->src;
    gguf_t *g = NULL;
    model_config_t c, want = *model_source_config(src);
    want.tied &= !merge_unties(merge);
    if (gguf_open(path, &g, err)) return err->code;
    int rc = model_config_from_gguf(g, &c, err);
    const char *what = rc == 0 ? model_config_difference(&want, &c) : NULL;
    gguf_close(g);
    if (!what) return rc;
    return err_set(err, ERR_USAGE, "%s: the metadata of a %s GGUF cannot say what this model has as %s",
                   model_source_path(src), model_source_config(src)->arch->gguf_name, what);
}

/* ---- tokens ------------------------------------------------------------------------------------------------- */

static int compare_text(const tokenizer_t *a, const tokenizer_t *b, const char *text, size_t len, const char *where,
                        err_t *err) {
    ids_t x = {0}, y = {0};
    int rc = tokenizer_encode(a, text, len, true, &x, err);
    if (rc == 0) rc = tokenizer_encode(b, text, len, true, &y, err);
    if (rc == 0 && (x.len != y.len || (x.len && memcmp(x.ids, y.ids, x.len * sizeof *x.ids) != 0)))
        rc = err_set(err, ERR_USAGE, "%s: a GGUF cannot say this tokenizer: there \"%.*s\" has other ids", where,
                     len > 60 ? 60 : (int)len, text);
    free(x.ids);
    free(y.ids);
    return rc;
}

static const char many_scripts[] =
    "It's 12345.67 in 2024, isn't it?  Two spaces,\ttab.\n\n  def f(x):\n\treturn x**2  # ok\r\nDon't, WE'LL see; "
    "na\u00efve caf\u00e9 \u00dcbergr\u00f6\u00dfe \u4f60\u597d\uff0c\u4e16\u754c \u3053\u3093\u306b\u3061\u306f "
    "\ud55c\uad6d\uc5b4 \u041f\u0440\u0438\u0432\u0435\u0442 \u0645\u0631\u062d\u0628\u0627 \u0928\u092e\u0938\u094d"
    "\u0924\u0947 \u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35 \U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467 "
    "https://example.org/a?b=c&d=%20 !!! ... --- \u2026 \u201cquotes\u201d";

/* Every token's text, and a text of many scripts, give the ids that the model's own tokenizer gives. */
static int compare_tokens(const char *path, const model_source_t *src, err_t *err) {
    const char *where = model_source_path(src);
    tokenizer_t *own = NULL, *got = NULL;
    if (!has_tokenizer(src)) return 0;
    int rc = tokenizer_open(model_source_path(src), &own, err);
    if (rc == 0) rc = tokenizer_open(path, &got, err);
    if (rc == 0) rc = compare_text(own, got, many_scripts, sizeof many_scripts - 1, where, err);
    for (size_t id = 0; rc == 0 && id < tokenizer_vocab(own); id++) {
        size_t len;
        const char *text = tokenizer_piece(own, (int32_t)id, true, &len);
        err_t not_utf8 = {0};
        ids_t ids = {0};
        bool usable = len && tokenizer_encode(own, text, len, true, &ids, &not_utf8) == 0;
        free(ids.ids);
        if (usable) rc = compare_text(own, got, text, len, where, err);
    }
    if (rc == 0 && (tokenizer_bos(own) != tokenizer_bos(got) || tokenizer_add_bos(own) != tokenizer_add_bos(got)))
        rc = err_set(err, ERR_USAGE, "%s: a GGUF cannot say this tokenizer: there another token begins a text", where);
    if (rc == 0) log_info("tokenizer: the texts of %zu tokens give the same ids", tokenizer_vocab(own));
    tokenizer_close(own);
    tokenizer_close(got);
    return rc;
}

/* ---- the file ----------------------------------------------------------------------------------------------- */

int gguf_model_check(const model_source_t *src, err_t *err) {
    const model_config_t *c = model_source_config(src);
    if (model_source_is_gguf(src)) return 0; /* it is one */
    if (gguf_config_check(c, model_source_path(src), err)) return err->code;
    if (gguf_ignored_window(c))
        log_warn(
            "%s: attention has a window of %zu tokens, which llama.cpp does not have for %s: longer texts come out "
            "differently there",
            model_source_path(src), gguf_ignored_window(c), c->arch->model_type);
    if (model_source_others(src))
        log_info("%s: %zu tensors that are not of the language model are left out", model_source_path(src),
                 model_source_others(src));
    return 0;
}

int gguf_model_write(const char *path, const gguf_model_t *m, err_t *err) {
    const merge_t *c = m->merge;
    plan_t p = {0};
    gguf_writer_t *w = gguf_writer_new();
    make_plan(&p, m);
    int rc = put_metadata(w, m, err);
    for (size_t i = 0; rc == 0 && i < p.n; i++)
        gguf_writer_declare(w, p.v[i].name, p.v[i].type, p.v[i].rows, p.v[i].cols);
    if (rc == 0) rc = gguf_writer_begin(w, path, err);
    bool begun = rc == 0 && merge_begin(c, err) == 0;
    if (rc == 0 && !begun) rc = err->code;
    bool compared = false;
    for (size_t i = 0; rc == 0 && i < p.n; i++) {
        if (p.v[i].merged && !compared) { /* metadata and what RoPE reads are there; the rest takes its time */
            rc = gguf_writer_flush(w, err);
            if (rc == 0) rc = compare_configs(path, c, err);
            if (rc == 0) rc = compare_tokens(path, c->src, err);
            compared = true;
        }
        if (rc == 0) rc = write_item(w, c, &p.v[i], err);
    }
    if (begun) merge_end(c);
    free(p.v);
    if (rc == 0) return gguf_writer_finish(w, err);
    gguf_writer_abort(w);
    return rc;
}
