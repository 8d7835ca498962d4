/* `qlora-train inspect PATH`: what is in a model, an adapter, a checkpoint or a data file. Nothing is loaded beyond
 * what is printed, and nothing is written. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "data/rows.h"
#include "model/adapter.h"
#include "model/source.h"
#include "trainer/commands/command.h"
#include "trainer/commands/inspect_data.h"
#include "trainer/config/config_schema.h"
#include "trainer/run/checkpoint.h"
#include "trainer/run/progress.h"

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
    chat_template_t *chat;
    err_t err = {0};
    if (tokenizer_open(path, &tok, &err)) {
        log_info("tokenizer   none (%s)", err.msg);
        return;
    }
    log_info("tokenizer   %s, %zu tokens, BOS %d%s, EOS %d", tokenizer_is_spm(tok) ? "SentencePiece" : "byte-level BPE",
             tokenizer_vocab(tok), (int)tokenizer_bos(tok), tokenizer_add_bos(tok) ? " (put first)" : "",
             (int)tokenizer_eos(tok));
    if (chat_template_open(tok, &(chat_spec_t){.choice = "auto"}, &chat, &err) == 0) {
        log_info("template    %s", chat_template_origin(chat));
        chat_template_close(chat);
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

static int inspect_model(const inspect_data_t *in, err_t *err) {
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

static int inspect_adapter(const inspect_data_t *in, err_t *err) {
    log_info("%s: LoRA adapter (PEFT)", in->path);
    return print_adapter(in->path, err);
}

static int inspect_checkpoint(const inspect_data_t *in, err_t *err) {
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

/* ---- the command ---- */

static bool has_file(const char *dir, const char *name) {
    char *path = path_join(dir, name);
    bool there = path_exists(path);
    free(path);
    return there;
}

static int inspect(const inspect_data_t *in, err_t *err) {
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
    if (path_has_suffix(path, ".gguf")) return inspect_model(in, err);
    if (rows_is_data(path) || rows_is_other(path)) return inspect_data(in, err);
    return err_set(err, ERR_USAGE, "%s: a file of an unknown kind; expected .gguf, " ROWS_SUFFIXES, path);
}

/* What is given of the command line. */
typedef struct {
    const char *model, *template, *kwargs, *date, *train_on;
    uint64_t max_length, rows, row;
    bool jsonl;
} given_t;

static int read_train_on(const char *name, train_on_t *train_on, err_t *err) {
    const char *const *words = config_key_find("data", "train_on")->words;
    for (int i = 0; words[i]; i++) {
        if (strcmp(name, words[i]) != 0) continue;
        *train_on = (train_on_t)i;
        return 0;
    }
    return err_set(err, ERR_USAGE, "--train-on: %s; expected completion, last or all", name);
}

static int read_template(const given_t *given, chat_spec_t *spec, json_t **kwargs, err_t *err) {
    *spec = (chat_spec_t){.choice = given->template, .date = given->date};
    if (spec->date && !config_is_date(spec->date))
        return err_set(err, ERR_USAGE, "--chat-template-date: %s; expected a date YYYY-MM-DD", spec->date);
    if (!given->kwargs) return 0;
    if (json_text(given->kwargs, strlen(given->kwargs), "--chat-template-kwargs", kwargs, err)) return err->code;
    if (!json_is_object(*kwargs))
        return err_set(err, ERR_USAGE, "--chat-template-kwargs: expected an object {\"name\": value, ...}");
    spec->kwargs = *kwargs;
    return 0;
}

static int read_given(const args_t *args, const given_t *given, inspect_data_t *in, json_t **kwargs, err_t *err) {
    if (args->n == 0) return err_set(err, ERR_USAGE, "inspect: expected PATH (see --help)");
    if (given->rows && given->row) return err_set(err, ERR_USAGE, "--rows and --row: expected one of them");
    *in = (inspect_data_t){.path = args->pos[0],
                           .model = given->model,
                           .max_length = (size_t)given->max_length,
                           .first = given->row ? (size_t)given->row : 1,
                           .rows = given->row ? 1 : (size_t)given->rows,
                           .jsonl = given->jsonl};
    if (read_train_on(given->train_on, &in->train_on, err)) return err->code;
    return read_template(given, &in->template, kwargs, err);
}

static int run_inspect(int argc, char **argv) {
    given_t given = {0};
    args_t args;
    inspect_data_t in;
    json_t *kwargs = NULL;
    err_t err = {0};
    int rc = command_parse(&command_inspect, argc, argv, &given, &args, &err);
    if (rc == 0 && args.helped) return 0;
    if (rc == 0) rc = read_given(&args, &given, &in, &kwargs, &err);
    if (rc == 0) rc = inspect(&in, &err);
    json_decref(kwargs);
    if (rc) log_error("%s", err.msg);
    return rc;
}

static const positional_t positionals[] = {
    {"PATH", ARG_PATH, .help = "a model (Hugging Face directory, GGUF), an adapter, a checkpoint, or a data file"},
};
static const option_t options[] = {
    {"model", ARG_PATH, offsetof(given_t, model), "MODEL",
     .help =
         "for a data file: the model whose tokenizer and chat template render its rows; what is trained is green on a "
         "terminal (NO_COLOR: not), elsewhere between [[ and ]]"},
    {"rows", ARG_WHOLE, offsetof(given_t, rows), "N", .min = 1, .max = 1e9, .help = "the first N rows"},
    {"row", ARG_WHOLE, offsetof(given_t, row), "K", .min = 1, .max = 1e12,
     .help = "row K alone, counted from 1 (otherwise the first that is trained)"},
    {"jsonl", ARG_FLAG, offsetof(given_t, jsonl),
     .help =
         "for programs: one object a row (of all, or those above) and nothing else on standard output: {\"row\", "
         "\"text\", \"input_ids\", \"labels\"}, or {\"row\", \"error\"} where a run would end; then the exit status is "
         "2"},
    {"chat-template", ARG_KEY, offsetof(given_t, template), "TEMPLATE", "auto", .key = "data.chat_template",
     .help = "as data.chat_template"},
    {"chat-template-kwargs", ARG_TEXT, offsetof(given_t, kwargs), "JSON",
     .help = "as data.chat_template_kwargs, an object of JSON"},
    {"chat-template-date", ARG_TEXT, offsetof(given_t, date), "DATE", .help = "as data.chat_template_date, YYYY-MM-DD"},
    {"train-on", ARG_KEY, offsetof(given_t, train_on), "WHAT", "completion", .key = "data.train_on",
     .help = "as data.train_on: %s"},
    {"max-length", ARG_WHOLE, offsetof(given_t, max_length), "N", .min = 2, .max = 1048576,
     .help = "tokens of a row at most (1024; with --jsonl: rows are whole unless it is given)"},
};

const command_t command_inspect = {
    .name = "inspect",
    .synopsis = "PATH\n"
                "DATA --model MODEL [--rows N | --row K] [--jsonl] [options]",
    .what = "what is in a model, adapter, checkpoint or data file; rows with what is trained",
    .about =
        "Prints what is in a model, an adapter, a checkpoint or a data file, and of data with a model how its rows are "
        "trained. Nothing is loaded beyond what is printed, and nothing is written.",
    COMMAND_POSITIONALS(positionals),
    COMMAND_OPTIONS(options),
    .run = run_inspect,
};
