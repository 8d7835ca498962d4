/* `qlora-train quantize MODEL OUT_DIR`: the model in NF4 (or FP4) as a bitsandbytes 4-bit checkpoint, which
 * transformers loads without quantizing again, and qlora-train too. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "data/tokenizer/utf8.h"
#include "model/model.h"
#include "trainer/commands/command.h"
#include "trainer/export/model_dir.h"
#include "trainer/run/backend_open.h"

/* What is stored for a quantized linear layer, and the rest. */
enum { PART_CODES, PART_ABSMAX, PART_NESTED_ABSMAX, PART_NESTED_MAP, PART_MAP, PART_STATE, PART_PLAIN };

typedef struct {
    const model_t *m;
    const model_source_t *src;
    bool rounded; /* a norm or bias had values that the checkpoint's type does not hold */
} context_t;

/* The shortest decimal that reads back as the same double, as Python's repr prints it. */
static void python_double(char *buf, size_t size, double v) {
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(buf, size, "%.*e", digits - 1, v);
        if (strtod(buf, NULL) == v) break;
    }
    /* repr switches to exponents below 1e-4 and from 1e16 on. */
    char *e = strchr(buf, 'e');
    int exponent = atoi(e + 1), digits = (int)(e - buf) - (v < 0) - (strchr(buf, '.') != NULL);
    if (exponent >= -4 && exponent < 16) {
        int decimals = digits - 1 - exponent;
        snprintf(buf, size, "%.*f", decimals > 1 ? decimals : 1, v);
    }
}

/* dtype: of the weights that it was made from, which bitsandbytes gives back. */
static char *quant_state_json(const qweight_t *w, dtype_t dtype) {
    strbuf_t s = {0};
    char offset[64];
    strbuf_addf(&s, "{\"quant_type\": \"%s\", \"blocksize\": %zu, \"dtype\": \"%s\", \"shape\": [%zu, %zu]",
                quant_type_name(w->type), QUANT_BLOCK, dtype_torch_name(dtype), w->rows, w->cols);
    if (w->double_quant) {
        python_double(offset, sizeof offset, w->nested_offset);
        strbuf_addf(&s, ", \"nested_blocksize\": %zu, \"nested_dtype\": \"float32\", \"nested_offset\": %s",
                    QUANT_NESTED_BLOCK, offset);
    }
    strbuf_adds(&s, "}");
    return s.p;
}

static int emit_device(backend_t *be, const void *data, size_t bytes, st_writer_t *w, err_t *err) {
    void *host = xmalloc(bytes);
    be->download(be, host, data, bytes);
    int rc = st_writer_data(w, host, bytes, err);
    free(host);
    return rc;
}

static bool holds(dtype_t type, float v) {
    return type == DT_BF16 ? bf16_round(v) == v : type == DT_F16 ? f16_to_f32(f16_from_f32(v)) == v : true;
}

static int note_rounding(context_t *c, const out_tensor_t *out, err_t *err) {
    const source_tensor_t *t = out->from;
    size_t n = t->rows * t->cols;
    float *exact = xmalloc(n * sizeof *exact);
    int rc = source_read(c->src, t, 0, n, DT_F32, exact, err);
    for (size_t i = 0; rc == 0 && !c->rounded && i < n; i++) c->rounded = !holds(out->dtype, exact[i]);
    free(exact);
    return rc;
}

/* A tensor that is not quantized, a piece of rows at a time. */
static int emit_plain(context_t *c, const out_tensor_t *out, st_writer_t *w, err_t *err) {
    const model_source_t *src = c->src;
    const source_tensor_t *t = out->from;
    size_t rows = LOAD_PIECE / t->cols + 1, size = dtype_size(out->dtype);
    void *piece = xmalloc((rows < t->rows ? rows : t->rows) * t->cols * size);
    int rc = out->dtype == t->type ? 0 : note_rounding(c, out, err);
    for (size_t row = 0; rc == 0 && row < t->rows; row += rows) {
        size_t n = t->rows - row < rows ? t->rows - row : rows;
        rc = source_read(src, t, row * t->cols, n * t->cols, out->dtype, piece, err);
        if (rc == 0) rc = st_writer_data(w, piece, n * t->cols * size, err);
    }
    free(piece);
    source_release(src, t);
    return rc;
}

/* How a linear layer is held; NULL: the tensor is none. */
static const qweight_t *weight_of(const model_t *m, const source_tensor_t *t) {
    return t->role == TENSOR_LINEAR ? &m->layers[t->layer].w[source_slot(t)] : NULL;
}

static int emit(void *ctx, const out_tensor_t *t, st_writer_t *w, err_t *err) {
    context_t *c = ctx;
    backend_t *be = c->m->be;
    if (t->part == PART_PLAIN) return emit_plain(c, t, w, err);
    const qweight_t *q = weight_of(c->m, t->from);
    size_t n = qweight_count(q), blocks = quant_blocks(n);
    switch (t->part) {
    case PART_CODES: return emit_device(be, q->codes, quant_code_bytes(q->type, n), w, err);
    case PART_ABSMAX:
        return q->double_quant ? emit_device(be, q->absmax_q, blocks, w, err)
                               : emit_device(be, q->absmax, blocks * sizeof(float), w, err);
    case PART_NESTED_ABSMAX: return emit_device(be, q->nested_absmax, quant_nested_blocks(n) * sizeof(float), w, err);
    case PART_NESTED_MAP: return st_writer_data(w, quant_dynamic_signed()->value, 256 * sizeof(float), err);
    case PART_MAP: return st_writer_data(w, quant_table(q->type), 16 * sizeof(float), err);
    default: break;
    }
    char *state = quant_state_json(q, t->from->type);
    int rc = st_writer_data(w, state, strlen(state), err);
    free(state);
    return rc;
}

static void add(out_list_t *list, int part, const source_tensor_t *from, dtype_t dtype, size_t n, const char *suffix) {
    out_tensor_t *t = out_list_add(list, dtype, 1, n, 0, "%s%s", from->name, suffix);
    t->part = part;
    t->from = from;
}

static void add_linear(out_list_t *list, const qweight_t *q, const source_tensor_t *from) {
    size_t n = qweight_count(q);
    char suffix[48];
    out_tensor_t *codes = out_list_add(list, DT_U8, 2, quant_code_bytes(q->type, n), 1, "%s", from->name);
    codes->part = PART_CODES;
    codes->from = from;
    add(list, PART_ABSMAX, from, q->double_quant ? DT_U8 : DT_F32, quant_blocks(n), ".absmax");
    add(list, PART_MAP, from, DT_F32, 16, ".quant_map");
    if (q->double_quant) {
        add(list, PART_NESTED_ABSMAX, from, DT_F32, quant_nested_blocks(n), ".nested_absmax");
        add(list, PART_NESTED_MAP, from, DT_F32, 256, ".nested_quant_map");
    }
    char *state = quant_state_json(q, from->type);
    snprintf(suffix, sizeof suffix, ".quant_state.bitsandbytes__%s", quant_type_name(q->type));
    add(list, PART_STATE, from, DT_U8, strlen(state), suffix);
    free(state);
}

/* The type that the checkpoint's config names. */
static dtype_t type_of(const model_source_t *src) { return model_source_at(src, 0)->type; }

/* Norms and biases, which a GGUF has in F32, are written in the checkpoint's type: transformers 5 leaves the tensors of
 * a quantized checkpoint in the types of the file, and a norm in F32 makes of its input what a head in 16 bits does not
 * take. */
static dtype_t plain_type(const model_source_t *src, const source_tensor_t *t) {
    bool wide = tensor_is_vector(t->role) && t->type == DT_F32;
    return wide ? type_of(src) : t->type;
}

static void list_tensors(out_list_t *list, const model_t *m, const model_source_t *src) {
    for (size_t i = 0; i < model_source_count(src); i++) {
        const source_tensor_t *t = model_source_at(src, i);
        const qweight_t *q = weight_of(m, t);
        if (q && !quant_is_plain(q->type)) {
            add_linear(list, q, t);
            continue;
        }
        bool vector = tensor_is_vector(t->role);
        out_tensor_t *plain = out_list_add(list, plain_type(src, t), vector ? 1 : 2, vector ? t->cols : t->rows,
                                           t->cols, "%s", t->name);
        plain->part = PART_PLAIN;
        plain->from = t;
    }
    for (size_t i = 0; i < model_source_others(src); i++) out_list_add_other(list, model_source_other(src, i));
}

static void add_once(json_t *list, const char *name, size_t len) {
    size_t i;
    json_t *v;
    json_array_foreach(list, i, v) if (json_string_length(v) == len && !memcmp(json_string_value(v), name, len)) return;
    json_array_append_new(list, json_stringn(name, len));
}

/* The modules that transformers must not quantize beside the head, which it leaves by itself: linear layers that are
 * in 16 bits, and of a vision-language model the other parts, by the names of their outermost modules. Transformers
 * 4 looks for these anywhere in a module's full name, 5 at its beginning. */
static json_t *skipped_modules(const model_t *m, const model_source_t *src) {
    json_t *list = json_array();
    char module[128];
    for (size_t i = 0; i < model_source_count(src); i++) {
        const source_tensor_t *t = model_source_at(src, i);
        const qweight_t *q = weight_of(m, t);
        if (!q || !quant_is_plain(q->type)) continue;
        model_module_name(&m->config, t->layer, source_slot(t), module, sizeof module);
        add_once(list, module, strlen(module));
    }
    for (size_t i = 0; m->config.wrapped && i < model_source_others(src); i++) {
        const char *name = model_source_other(src, i)->name;
        if (!strncmp(name, "model.", 6)) name += 6;
        int outermost = (int)strcspn(name, ".");
        int n = snprintf(module, sizeof module, "model.%.*s", outermost < 100 ? outermost : 100, name);
        add_once(list, module, (size_t)n);
        add_once(list, module + 6, (size_t)n - 6);
    }
    if (json_array_size(list) == 0) {
        json_decref(list);
        return json_null();
    }
    add_once(list, "lm_head", strlen("lm_head"));
    return list;
}

static json_t *quantization_config(const model_t *m, const model_source_t *src) {
    json_t *q = json_pack("{s:b, s:b, s:s, s:s, s:s, s:b, s:b, s:b, s:o, s:f, s:b, s:b, s:s}", "_load_in_4bit", 1,
                          "_load_in_8bit", 0, "bnb_4bit_compute_dtype", "bfloat16", "bnb_4bit_quant_storage", "uint8",
                          "bnb_4bit_quant_type", quant_type_name(m->quant), "bnb_4bit_use_double_quant",
                          m->double_quant, "llm_int8_enable_fp32_cpu_offload", 0, "llm_int8_has_fp16_weight", 0,
                          "llm_int8_skip_modules", skipped_modules(m, src), "llm_int8_threshold", 6.0, "load_in_4bit",
                          1, "load_in_8bit", 0, "quant_method", "bitsandbytes");
    CHECK(q != NULL);
    return q;
}

/* A checkpoint keeps its own, as it keeps its tensors; but codes are typed as bytes. */
static int choose_config(const model_t *m, const model_source_t *src, json_t **q, err_t *err) {
    if (model_source_quantized(src) && model_dir_quantization(src, q, err)) return err->code;
    if (*q) json_object_set_new(*q, "bnb_4bit_quant_storage", json_string("uint8"));
    else *q = quantization_config(m, src);
    return 0;
}

static int write_model(const model_t *m, const model_source_t *src, const char *dir, err_t *err) {
    out_list_t list = {0};
    list_tensors(&list, m, src);
    json_t *q = NULL;
    int rc = choose_config(m, src, &q, err);
    context_t c = {m, src, false};
    if (rc == 0) rc = model_dir_tensors(dir, &list, emit, &c, err);
    if (rc == 0) rc = model_dir_companions(dir, src, type_of(src), q, NULL, err);
    if (rc == 0 && c.rounded)
        log_warn("norms or biases are rounded to %s, the type of the checkpoint, which transformers needs",
                 dtype_torch_name(type_of(src)));
    json_decref(q);
    free(list.t);
    return rc;
}

static void report(const model_t *m, const char *out_dir) {
    size_t n = 0, bytes = 0;
    for (size_t l = 0; l < m->config.layers; l++)
        for (int k = 0; k < LINEAR_SLOTS; k++) {
            const qweight_t *w = &m->layers[l].w[k];
            if (quant_is_plain(w->type)) continue;
            n += qweight_count(w);
            bytes += quant_code_bytes(w->type, qweight_count(w));
            bytes += quant_constant_bytes(w->type, w->double_quant, qweight_count(w));
        }
    log_info("%s: %zu linear parameters in %s%s, %zu bytes (%.3f bits a parameter)", out_dir, n,
             quant_type_name(m->quant), m->double_quant ? " + double quantization" : "", bytes,
             8.0 * (double)bytes / (double)n);
}

/* What the options say; a model that is in 4 bits already is copied as it is, so they must not say otherwise. */
typedef struct {
    const char *type; /* NULL: not given */
    bool no_double_quant;
} asked_t;

static int check_quantized(const model_source_t *src, const asked_t *asked, err_t *err) {
    const source_tensor_t *t = model_source_quantized(src);
    if (!t) return 0;
    bool other = asked->type && strcmp(asked->type, quant_type_name(t->quant)) != 0;
    if (!other && !(asked->no_double_quant && t->double_quant)) return 0;
    return err_set(err, ERR_USAGE,
                   "%s: quantized already, as %s, and stays so; expected "
                   "%s, or the model that it was made from",
                   model_source_path(src), t->file_type, other ? "no other --quant-type" : "no --no-double-quant");
}

static int quantize(const char *model, const char *out_dir, const asked_t *asked, err_t *err) {
    model_source_t *src = NULL;
    backend_t *be = NULL;
    model_t m = {0};
    pool_t pool = {0};
    char *tmp = NULL;
    int rc = model_source_open(model, &src, err);
    if (rc == 0) rc = check_quantized(src, asked, err);
    if (rc == 0) rc = model_dir_begin(out_dir, &tmp, err);
    if (rc == 0) rc = backend_open("cpu", DT_F32, 0, HOST_ALONE, &be, err);
    if (rc == 0) {
        quant_type_t type = asked->type && !strcmp(asked->type, "fp4") ? QUANT_FP4 : QUANT_NF4;
        model_init(&m, model_source_config(src), be, type, !asked->no_double_quant, 1);
        model_take_types(&m, src, false);
        pool_t count = pool_counting(be);
        model_place(&m, 0, 0, &count);
        rc = pool_open(&pool, be, count.used, err);
        if (rc == 0) {
            model_place(&m, 0, 0, &pool);
            rc = model_load(&m, src, err);
        }
        if (rc == 0) rc = write_model(&m, src, tmp, err);
    }
    if (tmp) rc = model_dir_end(tmp, out_dir, rc, err);
    if (rc == 0) report(&m, out_dir);
    model_free(&m);
    pool_close(&pool);
    if (be) be->close(be);
    model_source_close(src);
    return rc;
}

static int run_quantize(int argc, char **argv) {
    asked_t asked = {0};
    args_t args;
    err_t err = {0};
    int rc = command_parse(&command_quantize, argc, argv, &asked, &args, &err);
    if (rc == 0 && args.helped) return 0;
    if (rc == 0 && args.n != 2) rc = err_set(&err, ERR_USAGE, "quantize: expected MODEL and OUT_DIR (see --help)");
    if (rc == 0 && utf8_valid(args.pos[0], strlen(args.pos[0])) != strlen(args.pos[0]))
        rc = err_set(&err, ERR_USAGE, "%s: expected a path in UTF-8", args.pos[0]);
    if (rc == 0) rc = quantize(args.pos[0], args.pos[1], &asked, &err);
    if (rc) log_error("%s", err.msg);
    return rc;
}

static const char *const quant_types[] = {"nf4", "fp4", NULL};
static const positional_t positionals[] = {
    {"MODEL", ARG_PATH, .help = "a Hugging Face directory or a GGUF file"},
    {"OUT_DIR", ARG_DIR, .help = "the directory to make; must not exist"},
};
static const option_t options[] = {
    {"quant-type", ARG_CHOICE, offsetof(asked_t, type), "TYPE", .words = quant_types, .help = "%s; nf4 if not given"},
    {"no-double-quant", ARG_FLAG, offsetof(asked_t, no_double_quant),
     .help = "keep the block constants in 32 bits (4.5 instead of 4.127 bits a parameter)"},
};

const command_t command_quantize = {
    .name = "quantize",
    .synopsis = "MODEL OUT_DIR [--quant-type nf4|fp4] [--no-double-quant]",
    .what = "write the model as a bitsandbytes 4-bit checkpoint",
    .about =
        "Writes the model with its linear layers in 4 bits as a bitsandbytes checkpoint (a Hugging Face directory that "
        "transformers loads as it is, and that model.path accepts).",
    COMMAND_POSITIONALS(positionals),
    COMMAND_OPTIONS(options),
    .run = run_quantize,
};
