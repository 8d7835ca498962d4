/* Inside model_source: what the two kinds of source (source_hf.c, source_gguf.c) and source.c share. */
#ifndef MODEL_SOURCE_IMPL_H
#define MODEL_SOURCE_IMPL_H

#include "model/source.h"

typedef struct {
    source_tensor_t t; /* first: what the caller holds points to it */
    char *name;        /* owns t.name */
    char *gguf_name;

    /* Where it lies. A plain safetensors tensor is described as the GGUF tensor of the same element type, so that
     * one reader serves both. */
    gguf_tensor_t stored;
    size_t heads;        /* > 0: the rows of so many heads are in GGUF's order */
    float minus;         /* what the file adds to the values */
    qweight_t quantized; /* if t.quantized; points into the mapping */
    float *own_absmax;   /* fp32 constants that could not be used where they lie */
} source_entry_t;

struct model_source {
    char *path;
    char *dir; /* NULL for a GGUF */
    model_config_t config;
    source_entry_t *entries; /* in the model's order */
    size_t n_entries, cap_entries;
    source_entry_t **by_name;

    gguf_t *gguf;
    safetensors_t **shards;
    size_t n_shards, cap_shards;
    const st_tensor_t **tensors; /* of all shards, sorted by name */
    size_t n_tensors, cap_tensors;
    const char *prefix;         /* of the text model's tensors there: "model." */
    const char *head_prefix;    /* of the head: "" */
    const st_tensor_t **others; /* those of no entry */
    size_t n_others, cap_others;
};

/* Fill entries from src->config: every tensor that the architecture has, nothing stored yet. */
void source_list_tensors(model_source_t *src);

/* Fill in the config, list the tensors, and find each in the file, with its shape checked. */
int source_open_hf(model_source_t *src, err_t *err);
int source_open_gguf(model_source_t *src, err_t *err);

/* bitsandbytes 4-bit (source_bnb.c). find() looks a tensor up by name; NULL when there is none. */
typedef const st_tensor_t *source_find_fn(const model_source_t *src, const char *name);
/* Sets *state to the tensor that describes how `name` is quantized, or NULL when it is not. */
const st_tensor_t *source_bnb_state(const model_source_t *src, source_find_fn *find, const char *name,
                                    quant_type_t *type);
int source_bnb_open(const model_source_t *src, source_find_fn *find, const st_tensor_t *state, quant_type_t type,
                    source_entry_t *e, err_t *err);

/* Adds to src->config.biases those that the file has in its first block: a bias that is there is used. */
typedef bool source_has_fn(const model_source_t *src, const tensor_spec_t *linear);
void source_find_biases(model_source_t *src, source_has_fn *has_bias);
/* A tensor that the model of the file computes with, and this architecture does not have. */
int source_leftover_error(const model_source_t *src, const char *name, size_t len, err_t *err);

/* What is odd about a file but changes no number: said once. */
void source_note(const model_source_t *src, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* "tensor X has shape [..]; expected [rows, cols]". */
int source_shape_error(const model_source_t *src, const source_entry_t *e, int n_dims, const size_t *shape, err_t *err);
/* 1 + N for a tensor named "<prefix>N...." (prefix: "blk."), otherwise 0: the highest of a file is the layers that
 * it holds. With more than the config has, it would be another model that is run: one cut off without a word. */
size_t source_layers_named(const char *name, size_t len, const char *prefix);
int source_layers_error(const model_source_t *src, const char *name, size_t len, size_t held, err_t *err);
int source_missing_error(const model_source_t *src, const char *name, const source_entry_t *e, err_t *err);

#endif
