/* What a model is. A family of models is a row of the table in families.c: the tensors of its block, and a function
 * that reads from a config what its block computes. Everything that walks tensors (listing, placing, loading, counting,
 * adapters, merging, quantizing, plans, benchmarks) goes through that one table, by model_each_tensor(). */
#ifndef MODEL_ARCH_H
#define MODEL_ARCH_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "model/backend/backend.h"
#include "model/formats/gguf.h"
#include "model/rope.h"

/* ---- the tensors of a block ------------------------------------------------------------------------------- */

typedef enum { TENSOR_EMBEDDING, TENSOR_HEAD, TENSOR_NORM, TENSOR_LINEAR, TENSOR_BIAS, TENSOR_ROLES } tensor_role_t;

/* The linear layers of a block. Where a family has q, k and v, or gate and up, in one layer, that layer has the slot of
 * its first. LIN_HEAD is of no block: the head, where adapters name a linear layer. */
typedef enum {
    LIN_Q,
    LIN_K,
    LIN_V,
    LIN_O,
    LIN_GATE,
    LIN_UP,
    LIN_DOWN,
    LINEAR_SLOTS,
    LIN_HEAD = LINEAR_SLOTS
} linear_slot_t;

/* Linear layers that share an input. */
typedef enum { SITE_QKV, SITE_O, SITE_GATE_UP, SITE_DOWN, SITE_COUNT } site_t;

/* The norms of a block: of what attention and the FFN take, of what they give before it is added, and of the queries
 * and keys before RoPE. A slot that a family's table does not name is no norm. */
typedef enum { NORM_ATTN_IN, NORM_ATTN_OUT, NORM_FFN_IN, NORM_FFN_OUT, NORM_Q, NORM_K, NORM_SLOTS } norm_slot_t;

typedef enum { DIM_HIDDEN, DIM_FFN, DIM_2_FFN, DIM_Q, DIM_KV, DIM_Q_2KV, DIM_HEAD } dim_t;

typedef struct {
    tensor_role_t role; /* TENSOR_NORM or TENSOR_LINEAR; the bias of a linear layer has its row */
    unsigned slot;      /* norm_slot_t or linear_slot_t */
    const char *hf;     /* "self_attn.q_proj": between "model.layers.N." and ".weight" */
    const char *gguf;   /* "attn_q": between "blk.N." and ".weight" */
    dim_t rows, cols;   /* [out, in] of a linear layer; a norm has cols */
    site_t site;        /* of a linear layer */
} tensor_spec_t;

/* ---- a family --------------------------------------------------------------------------------------------- */

typedef struct model_config model_config_t;
typedef struct config_keys config_keys_t;

typedef struct {
    const char *model_type;       /* config.json "model_type" */
    const char *hf_class;         /* config.json "architectures"[0] */
    const char *gguf_name;        /* "general.architecture", prefix of the hyper-parameter keys; NULL: it has no GGUF */
    const tensor_spec_t *tensors; /* of a block, in the order in which they are listed */
    size_t n_tensors;
    bool gguf_permuted_qk; /* GGUF has the rows of Q and K in the order of its own RoPE */
    bool norm_plus_one;    /* a norm multiplies by 1 + w; GGUF holds that sum */
    /* Defaults of the sizes that a config may leave out, before they are read; NULL: Llama's. */
    void (*defaults)(model_config_t *c);
    /* Fills in what the block computes from the keys beyond the sizes. */
    int (*describe)(const config_keys_t *k, model_config_t *c, err_t *err);
} arch_t;

extern const arch_t archs[];
extern const size_t n_archs;

/* The row of a name, or NULL with an error that lists what is supported; `where` names file and key. */
const arch_t *arch_by_model_type(const char *model_type, const char *where, err_t *err);
const arch_t *arch_by_gguf_name(const char *name, const char *where, err_t *err);

/* The table's row; NULL: the family has no such tensor. */
const tensor_spec_t *arch_linear(const arch_t *arch, linear_slot_t slot);
const tensor_spec_t *arch_norm(const arch_t *arch, norm_slot_t slot);
/* The slots of a site, in the order in which their outputs lie side by side; how many there are. */
size_t arch_site(const arch_t *arch, site_t site, linear_slot_t slots[LINEAR_MAX]);
/* Whether a norm of queries or keys is of each head, rather than of the whole row. */
static inline bool norm_is_per_head(const tensor_spec_t *t) { return t->cols == DIM_HEAD; }
/* What target_modules calls a linear layer: the last part of its name, "q_proj". */
const char *linear_name(const tensor_spec_t *t);

/* ---- a model ---------------------------------------------------------------------------------------------- */

#define MODEL_MAX_EOS 32
#define MODEL_MAX_LAYERS 1024
#define MODEL_KINDS 2

/* What may differ from layer to layer. */
typedef struct {
    size_t window; /* of attention; 0: none */
    int rope;      /* which of model_config_t.rope; -1: none */
} layer_kind_t;

struct model_config {
    const arch_t *arch;
    size_t vocab, hidden, ffn, layers, heads, kv_heads, head_dim, max_positions;
    float norm_eps;
    bool tied;     /* the head is the embedding */
    long bos, pad; /* token ids, -1: none named */
    long eos[MODEL_MAX_EOS];
    size_t n_eos;
    bool wrapped; /* the language model of a vision-language model: its config is that one's text_config */

    unsigned biases; /* of linear layers, by slot: bit 1 << slot */
    size_t rotated;  /* channels of a head that RoPE turns: head_dim, or the first so many */
    bool rope_interleaved;
    rope_spec_t rope[MODEL_KINDS];
    size_t n_rope;
    bool rope_long; /* the run has longer segments than the model's first training: LongRoPE's second factors */
    layer_kind_t kinds[MODEL_KINDS];
    unsigned char kind[MODEL_MAX_LAYERS]; /* of each layer */

    act_fn_t act;
    double attn_scale, attn_softcap; /* of scores; softcap 0: none */
    double residual_scale;           /* of what attention and FFN add */
    double embed_scale;
    bool embed_scale_rounded;          /* embed_scale is rounded to the type that is computed in */
    double logit_scale, logit_softcap; /* of logits; softcap 0: none */
};

/* From a parsed config.json; `where` is its path, for messages. ERR_USAGE names the key and what is supported.
 * Everything that would silently compute something else is refused. */
int model_config_from_json(const json_t *json, const char *where, model_config_t *c, err_t *err);
int model_config_from_gguf(const gguf_t *g, model_config_t *c, err_t *err);
/* A config.json of the Transformers 5 form, for exports from a GGUF, and to tell models apart: of the language model alone,
 * also where that is a part of another (wrapped). dtype: "bfloat16". New reference. */
json_t *model_config_to_json(const model_config_t *c);
/* Sets the keys of a config.json that say which linear layers have biases to what the model has: a file may have more
 * than its config says. Gives those (as model_config_t.biases) for which the family has no key that means them and no
 * others: Transformers leaves them out. */
unsigned model_config_name_biases(json_t *cfg, const model_config_t *c);

/* Ranges and divisibility, whatever the config was read from: keeps every product of sizes far from overflow.
 * The two readers above end with it. */
int model_config_check(const model_config_t *c, const char *where, err_t *err);

static inline const layer_kind_t *layer_kind(const model_config_t *c, size_t layer) {
    return &c->kinds[c->kind[layer]];
}

/* LongRoPE has two sets of factors, for texts within the length of the first training and beyond. Chooses by the
 * longest text that will be run, so that it does not depend on the text at hand; false: there is nothing to choose. */
bool model_choose_rope(model_config_t *c, size_t longest);

size_t model_dim(const model_config_t *c, dim_t d);
/* [out, in] of a linear layer, or of the head; 0 where the family has none in the slot. */
size_t linear_rows(const model_config_t *c, linear_slot_t slot);
size_t linear_cols(const model_config_t *c, linear_slot_t slot);
static inline bool linear_has_bias(const model_config_t *c, linear_slot_t slot) { return c->biases >> slot & 1; }

/* One tensor of a model. */
typedef struct {
    tensor_role_t role;
    const tensor_spec_t *spec; /* NULL: not of a block */
    size_t layer;              /* of a block's */
    size_t rows, cols;         /* 1-D: rows 1 */
} model_tensor_t;

static inline bool tensor_is_vector(tensor_role_t role) { return role == TENSOR_NORM || role == TENSOR_BIAS; }

/* Every tensor of a model: the embedding, those of each block, the last norm, and the head unless it is tied. Ends with
 * the first visit that does not give 0, and returns what it gave. */
typedef int model_visit_fn(void *ctx, const model_tensor_t *t);
int model_each_tensor(const model_config_t *c, model_visit_fn *visit, void *ctx);
/* Its name in Hugging Face's files and in a GGUF. */
void model_tensor_name(const model_tensor_t *t, char *buf, size_t size);
void model_tensor_gguf_name(const model_tensor_t *t, char *buf, size_t size);
/* What PEFT calls a linear layer: "model.layers.3.self_attn.q_proj", or "lm_head". */
void model_module_name(const model_config_t *c, size_t layer, linear_slot_t slot, char *buf, size_t size);

/* Parameters of the base model by class; a tied head is the embedding and counts there (head 0). */
typedef struct {
    size_t linear, embedding, head, rest; /* rest: norms and biases */
} model_params_t;
model_params_t model_count_params(const model_config_t *c);

#endif
