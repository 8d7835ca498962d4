/* `qlora-train inspect PATH`: what is in a model, an adapter, a checkpoint or a data file. Nothing is loaded beyond
 * what is printed, and nothing is written. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "data/dataset.h"
#include "data/dataset_formats.h"
#include "model/adapter.h"
#include "model/source.h"
#include "trainer/commands/command.h"
#include "trainer/run/checkpoint.h"
#include "trainer/run/progress.h"

static const char help[] =
    "usage: qlora-train inspect PATH [--model MODEL] [--max-length N]\n"
    "\n"
    "PATH          a model (Hugging Face directory, GGUF), an adapter, a checkpoint, or a data file\n"
    "--model       for a data file: the model whose tokenizer and chat template render its first row; what is\n"
    "              trained is printed between [[ and ]]\n"
    "--max-length  for a data file: tokens of a row at most (1024)\n";

typedef struct {
    const char *path, *model;
    size_t max_length;
} inspect_t;

/* ---- model ---- */

/* One line a class and type in the file: "linear  Q4_1  210 tensors  66.4 MiB". */
static void print_tensors(const model_source_t *src) {
    static const char *const names[TENSOR_ROLES] = {"embedding", "head", "norm", "linear", "bias"};
    size_t n = model_source_count(src);
    bool *done = xcalloc(n, sizeof *done);
    for (int role = 0; role < TENSOR_ROLES; role++) {
        for (size_t i = 0; i < n; i++) {
            const source_tensor_t *first = model_source_at(src, i);
            if (done[i] || (int)first->role != role) continue;
            size_t count = 0, values = 0, bytes = 0;
            for (size_t k = i; k < n; k++) {
                const source_tensor_t *t = model_source_at(src, k);
                if (done[k] || (int)t->role != role || strcmp(t->file_type, first->file_type)) continue;
                done[k] = true;
                count++;
                values += t->rows * t->cols;
                bytes += t->file_bytes;
            }
            char size[16];
            format_bytes(bytes, size);
            log_info("  %-10s %-9s %4zu tensors  %13zu values  %s", names[role], first->file_type, count, values, size);
        }
    }
    free(done);
}

/* Bytes of the weights in memory with the linear layers of the blocks in NF4 and double quantization, all else BF16. */
static size_t nf4_bytes(const model_config_t *c) {
    model_params_t p = model_count_params(c);
    size_t bytes = 2 * (p.embedding + p.head + p.rest);
    for (unsigned k = 0; k < LINEAR_SLOTS; k++) {
        size_t n = linear_rows(c, (linear_slot_t)k) * linear_cols(c, (linear_slot_t)k);
        bytes += c->layers * (quant_code_bytes(QUANT_NF4, n) + quant_constant_bytes(QUANT_NF4, true, n));
    }
    return bytes;
}

/* A model without a tokenizer, or with a template that is not known, is still a model: said, not refused. */
static void print_tokenizer(const char *path) {
    tokenizer_t *tok;
    chat_template_t chat;
    err_t err = {0};
    if (tokenizer_open(path, &tok, &err)) {
        log_info("tokenizer   none (%s)", err.msg);
        return;
    }
    log_info("tokenizer   %s, %zu tokens, BOS %d%s, EOS %d", tokenizer_is_spm(tok) ? "SentencePiece" : "byte-level BPE",
             tokenizer_vocab(tok), (int)tokenizer_bos(tok), tokenizer_add_bos(tok) ? " (put first)" : "",
             (int)tokenizer_eos(tok));
    if (chat_template_resolve(tok, CHAT_AUTO, &chat, &err) == 0) {
        log_info("template    %s%s", chat_format_name(chat.format),
                 chat.default_system ? ", with a system message of its own" : "");
        chat_template_free(&chat);
    } else {
        log_info("template    none (%s)", err.msg);
    }
    tokenizer_close(tok);
}

/* What is not as in a plain llama: windows, RoPE. */
static void print_layers(const model_config_t *c) {
    strbuf_t b = {0};
    for (size_t k = 0; k < MODEL_KINDS; k++) {
        size_t n = 0;
        for (size_t l = 0; l < c->layers; l++) n += c->kind[l] == k;
        const layer_kind_t *kind = &c->kinds[k];
        if (n == 0 || (n == c->layers && !kind->window && c->rope[0].type == ROPE_DEFAULT)) continue;
        strbuf_addf(&b, "%s%zu layers ", b.len ? "; " : "", n);
        if (kind->window) strbuf_addf(&b, "with a window of %zu, ", kind->window);
        if (kind->rope < 0) strbuf_adds(&b, "without RoPE");
        else strbuf_addf(&b, "RoPE %s, theta %g", rope_type_names[c->rope[kind->rope].type], c->rope[kind->rope].theta);
    }
    if (b.len) log_info("attention   %s", b.p);
    free(b.p);
}

static int inspect_model(const inspect_t *in, err_t *err) {
    model_source_t *src;
    char size[16];
    if (model_source_open(in->path, &src, err)) return err->code;
    const model_config_t *c = model_source_config(src);
    model_params_t p = model_count_params(c);
    size_t total = p.linear + p.embedding + p.head + p.rest;
    log_info("%s: model, %s, %s", in->path, c->arch->model_type, model_source_is_gguf(src) ? "GGUF" : "Hugging Face");
    log_info("sizes       %zu layers, hidden %zu, FFN %zu, heads %zu/%zu of %zu, vocabulary %zu, positions %zu%s",
             c->layers, c->hidden, c->ffn, c->heads, c->kv_heads, c->head_dim, c->vocab, c->max_positions,
             c->tied ? ", head tied to the embedding" : "");
    log_info("parameters  %zu: linear %zu, embedding %zu, head %zu, norms and biases %zu", total, p.linear, p.embedding,
             p.head, p.rest);
    print_layers(c);
    log_info("tensors");
    print_tensors(src);
    if (model_source_others(src))
        log_info("  %zu tensors of other parts (%s, ...), which are not used", model_source_others(src),
                 model_source_other(src, 0)->name);
    format_bytes(nf4_bytes(c), size);
    log_info("in memory   %s as nf4 with double quantization (all but the linear layers in BF16)", size);
    print_tokenizer(in->path);
    model_source_close(src);
    return 0;
}

/* ---- adapter, checkpoint ---- */

static double tensor_sumsq(const st_tensor_t *t) {
    double sum = 0;
    for (size_t i = 0; i < t->bytes / dtype_size(t->dtype); i++) {
        float v = 0;
        st_value(t, i, &v);
        sum += (double)v * v;
    }
    return sum;
}

static int print_adapter_tensors(const char *path, err_t *err) {
    safetensors_t *st;
    size_t values = 0;
    double sumsq[2] = {0, 0}; /* A, B */
    if (safetensors_open(path, &st, err)) return err->code;
    for (size_t i = 0; i < st->n_tensors; i++) {
        const st_tensor_t *t = &st->tensors[i];
        if (t->dtype != DT_F32 && t->dtype != DT_F16 && t->dtype != DT_BF16) {
            err_set(err, ERR_USAGE, "%s: %s: not F32, F16 or BF16; expected adapter weights", path, t->name);
            break;
        }
        values += t->bytes / dtype_size(t->dtype);
        sumsq[strstr(t->name, ".lora_B.") != NULL] += tensor_sumsq(t);
    }
    if (!err->code) {
        log_info("tensors     %zu, %zu values", st->n_tensors, values);
        log_info("norms       A %.6g, B %.6g%s", sqrt(sumsq[0]), sqrt(sumsq[1]), sumsq[1] > 0 ? "" : " (untrained)");
    }
    safetensors_close(st);
    return err->code;
}

static int print_adapter(const char *dir, err_t *err) {
    lora_spec_t spec;
    char *targets = NULL;
    if (adapter_read_spec(dir, NULL, &spec, err) || adapter_target_text(dir, &targets, err)) return err->code;
    log_info("lora        r %zu, alpha %g, dropout %g%s, %s", spec.r, spec.alpha, spec.dropout,
             spec.rslora ? ", rank-stabilised" : "", spec.f32 ? "F32" : "16 bits");
    log_info("targets     %s", targets);
    free(targets);
    char *path = path_join(dir, "adapter_model.safetensors");
    int rc = print_adapter_tensors(path, err);
    free(path);
    return rc;
}

static int inspect_adapter(const inspect_t *in, err_t *err) {
    log_info("%s: LoRA adapter (PEFT)", in->path);
    return print_adapter(in->path, err);
}

static int inspect_checkpoint(const inspect_t *in, err_t *err) {
    train_state_t s;
    char elapsed[16];
    if (checkpoint_read_state(in->path, &s, err)) return err->code;
    format_duration(s.elapsed_seconds, elapsed);
    log_info("%s: checkpoint", in->path);
    log_info("state       step %zu, epoch %.4g, %zu skipped, %s of training", s.step, s.epoch, s.skipped, elapsed);
    if (checkpoint_verify(in->path, err)) return err->code;
    log_info("files       all there, checksums hold");
    return print_adapter(in->path, err);
}

/* ---- data ---- */

static void print_keys(const json_t *row) {
    strbuf_t b = {0};
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)row, key, value) strbuf_addf(&b, "%s%s", b.len ? ", " : "", key);
    log_info("first row   keys %s", b.p ? b.p : "none");
    free(b.p);
}

/* The roles of a conversation in the order of its turns. */
static void print_roles(const json_t *row) {
    const json_t *turns = json_object_get(row, "messages"), *turn;
    if (!turns) turns = json_object_get(row, "conversations");
    strbuf_t b = {0};
    size_t i;
    json_array_foreach(turns, i, turn) {
        const char *role = json_string_value(json_object_get(turn, "role"));
        if (!role) role = json_string_value(json_object_get(turn, "from"));
        strbuf_addf(&b, "%s%s", b.len ? ", " : "", role ? role : "?");
    }
    if (b.p) log_info("turns       %s", b.p);
    free(b.p);
}

/* Reads every row, so that a broken one is found; describes the first. */
static int inspect_rows(const inspect_t *in, data_format_t format, err_t *err) {
    rows_t rows;
    size_t n = 0;
    bool more = true;
    if (rows_open(in->path, &rows, err)) return err->code;
    int rc = 0;
    while (rc == 0 && more) {
        file_row_t row = {0};
        rc = rows_next(&rows, &row, &more, err);
        if (row.json) json_decref(row.json);
        n += rc == 0 && more;
    }
    rows_close(&rows);
    if (rc) return rc;
    log_info("%s: data, %s, %zu row%s", in->path, data_format_name(format), n, n == 1 ? "" : "s");
    return 0;
}

static int describe_first_row(const inspect_t *in, err_t *err) {
    rows_t rows;
    file_row_t row = {0};
    bool more;
    if (rows_open(in->path, &rows, err)) return err->code;
    int rc = rows_next(&rows, &row, &more, err);
    if (rc == 0 && more && row.json) {
        print_keys(row.json);
        print_roles(row.json);
    }
    if (row.json) json_decref(row.json);
    rows_close(&rows);
    return rc;
}

static void print_dataset(const dataset_t *ds, const tokenizer_t *tok) {
    log_info("samples     %zu from %zu rows, %zu tokens, %zu trained, longest %zu", ds->n_samples, ds->rows_read,
             ds->n_tokens, ds->label_tokens, ds->longest);
    if (ds->truncated_rows) log_info("cut         %zu rows, %zu tokens lost", ds->truncated_rows, ds->truncated_tokens);
    if (ds->unlabelled_rows) log_info("left out    %zu rows without a trained token", ds->unlabelled_rows);
    char *text = dataset_sample_text(ds, 0, tok, "[[", "]]");
    log_info("first sample (trained between [[ and ]]):\n%s", text);
    free(text);
}

static int render(const inspect_t *in, data_format_t format, err_t *err) {
    tokenizer_t *tok = NULL;
    chat_template_t chat;
    dataset_t ds;
    bool has_chat = false;
    int rc = 0;
    if (format_needs_tokenizer(format)) rc = tokenizer_open(in->model, &tok, err);
    if (rc == 0 && data_format_uses_template(format)) {
        rc = chat_template_resolve(tok, CHAT_AUTO, &chat, err);
        has_chat = rc == 0;
    }
    if (rc == 0) {
        dataset_spec_t spec = {.files = &in->path,
                               .n_files = 1,
                               .format = format,
                               .max_length = in->max_length,
                               .tok = tok,
                               .chat = has_chat ? &chat : NULL};
        rc = dataset_load(&spec, &ds, err);
    }
    if (rc == 0) {
        print_dataset(&ds, tok);
        dataset_free(&ds);
    }
    if (has_chat) chat_template_free(&chat);
    tokenizer_close(tok);
    return rc;
}

static int inspect_data(const inspect_t *in, err_t *err) {
    data_format_t format;
    if (dataset_detect(in->path, &format, err) || inspect_rows(in, format, err)) return err->code;
    if (in->model || !format_needs_tokenizer(format)) return render(in, format, err);
    if (describe_first_row(in, err)) return err->code;
    log_info("(--model MODEL shows the row as it is trained)");
    return 0;
}

/* ---- the command ---- */

static bool has_file(const char *dir, const char *name) {
    char *path = path_join(dir, name);
    bool there = path_exists(path);
    free(path);
    return there;
}

static int inspect(const inspect_t *in, err_t *err) {
    const char *path = in->path;
    if (!path_exists(path)) return err_set(err, ERR_USAGE, "%s: no such file or directory", path);
    if (path_is_dir(path)) {
        if (has_file(path, "trainer_state.json")) return inspect_checkpoint(in, err);
        if (has_file(path, "adapter_config.json")) return inspect_adapter(in, err);
        if (has_file(path, "config.json")) return inspect_model(in, err);
        return err_set(err, ERR_USAGE,
                       "%s: no model, adapter or checkpoint; expected config.json, adapter_config.json "
                       "or trainer_state.json in it",
                       path);
    }
    static const char *const data[] = {".jsonl", ".json", ".txt"};
    for (size_t i = 0; i < sizeof data / sizeof *data; i++)
        if (path_has_suffix(path, data[i])) return inspect_data(in, err);
    if (path_has_suffix(path, ".gguf")) return inspect_model(in, err);
    return err_set(err, ERR_USAGE, "%s: a file of an unknown kind; expected .gguf, .jsonl, .json or .txt", path);
}

int command_inspect(int argc, char **argv) {
    inspect_t in = {0};
    const char *length = "1024";
    uint64_t max_length = 0;
    bool want_help = false;
    const option_t options[] = {{"model", &in.model, NULL}, {"max-length", &length, NULL}, {"help", NULL, &want_help}};
    size_t n;
    err_t err = {0};
    int rc = options_parse(argc, argv, options, 3, &in.path, 1, &n, &err);
    if (rc == 0 && want_help) {
        fputs(help, stdout);
        return 0;
    }
    if (rc == 0 && n == 0) rc = err_set(&err, ERR_USAGE, "inspect: expected PATH (see --help)");
    if (rc == 0) rc = option_whole("max-length", length, 2, 1048576, &max_length, &err);
    in.max_length = (size_t)max_length;
    if (rc == 0) rc = inspect(&in, &err);
    if (rc) log_error("%s", err.msg);
    return rc;
}
