/* What a model is: its architecture row and its sizes, read from config.json (Transformers 4 and 5 forms) or
 * from GGUF metadata. To support another llama-style architecture, add a row to the table in arch.c. */
#ifndef MODEL_ARCH_H
#define MODEL_ARCH_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "model/formats/gguf.h"

typedef struct {
    const char *model_type; /* config.json "model_type" */
    const char *hf_class;   /* config.json "architectures"[0] */
    const char *gguf_name;  /* "general.architecture", prefix of the hyper-parameter keys */
    bool gguf_permuted_qk;  /* GGUF stores Q and K rows interleaved for its own RoPE */
} arch_t;

/* The row of a name, or NULL with an error that lists what is supported; `where` names file and key. */
const arch_t *arch_by_model_type(const char *model_type, const char *where, err_t *err);
const arch_t *arch_by_gguf_name(const char *name, const char *where, err_t *err);

#define MODEL_MAX_EOS 8

typedef struct {
    const arch_t *arch;
    size_t vocab, hidden, ffn, layers, heads, kv_heads, head_dim, max_positions;
    float norm_eps;
    double rope_theta;
    bool tied;     /* the head is the embedding */
    long bos, pad; /* token ids, -1: none named */
    long eos[MODEL_MAX_EOS];
    size_t n_eos;
} model_config_t;

/* From a parsed config.json; `where` is its path, for messages. ERR_USAGE names the key and what is
 * supported. Everything that would silently compute something else is refused (another activation, biases,
 * scaled RoPE, ...). */
int model_config_from_json(const json_t *json, const char *where, model_config_t *c, err_t *err);
int model_config_from_gguf(const gguf_t *g, model_config_t *c, err_t *err);
/* A config.json of the Transformers 5 form, for exports from a GGUF. dtype: "bfloat16". New reference. */
json_t *model_config_to_json(const model_config_t *c);

/* Ranges and divisibility, whatever the config was read from: keeps every product of sizes far from overflow.
 * The two readers above end with it. */
int model_config_check(const model_config_t *c, const char *where, err_t *err);

/* RoPE angles: table[pos][i] = {cos, sin}(pos * theta^(-2i/D)), positions x D/2 x 2, computed in double. */
void rope_table(const model_config_t *c, size_t positions, float *table);

/* The seven linear layers of a block, in the order used everywhere. */
typedef enum { LIN_Q, LIN_K, LIN_V, LIN_O, LIN_GATE, LIN_UP, LIN_DOWN, LIN_COUNT } linear_kind_t;
typedef struct {
    const char *name; /* "q_proj": what target_modules lists */
    const char *path; /* "self_attn.q_proj": between "model.layers.N." and ".weight" */
    const char *gguf; /* "attn_q" */
} linear_info_t;
extern const linear_info_t linear_info[LIN_COUNT];
size_t linear_rows(const model_config_t *c, linear_kind_t k); /* out */
size_t linear_cols(const model_config_t *c, linear_kind_t k); /* in */

/* Parameters of the base model by class; a tied head is the embedding and counts there (head 0). */
typedef struct {
    size_t linear, embedding, head, norm;
} model_params_t;
model_params_t model_count_params(const model_config_t *c);

#endif
