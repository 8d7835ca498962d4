#include "data/dataset_tokens.h"

static int list_of(const json_t *row, const char *key, const char *what, const json_t **list, err_t *err) {
    *list = row_member(row, key);
    if (!*list) return err_set(err, ERR_USAGE, "%s is missing; expected a list of %s", key, what);
    return json_is_array(*list) ? 0 : err_set(err, ERR_USAGE, "%s: expected a list of %s", key, what);
}

static int token_at(const row_writer_t *w, const json_t *array, const char *key, size_t i, bool label, int32_t *id,
                    err_t *err) {
    const json_t *v = json_array_get(array, i);
    json_int_t x = json_integer_value(v), limit = w->spec->vocab ? (json_int_t)w->spec->vocab : INT32_MAX;
    if (!json_is_integer(v)) return err_set(err, ERR_USAGE, "%s[%zu]: expected a token id", key, i);
    if ((x < 0 || x >= limit) && !(label && x == LABEL_NONE))
        return err_set(err, ERR_USAGE, "%s[%zu]: %lld is no token id; expected 0 to %lld%s", key, i, (long long)x,
                       (long long)limit - 1, label ? ", or -100 where nothing is trained" : "");
    *id = (int32_t)x;
    return 0;
}

/* A list beside input_ids, NULL if there is none. */
static int list_beside(const json_t *row, const char *key, const char *what, size_t n, const json_t **list,
                       err_t *err) {
    *list = NULL;
    if (!row_member(row, key)) return 0;
    if (list_of(row, key, what, list, err)) return err->code;
    if (json_array_size(*list) == n) return 0;
    return err_set(err, ERR_USAGE, "%s: has %zu values, input_ids %zu; expected one a token", key,
                   json_array_size(*list), n);
}

static int mask_at(const json_t *mask, const char *key, size_t i, bool *on, err_t *err) {
    const json_t *v = json_array_get(mask, i);
    json_int_t x = json_is_true(v) ? 1 : json_is_false(v) ? 0 : json_is_integer(v) ? json_integer_value(v) : -1;
    *on = x == 1;
    return x == 0 || x == 1 ? 0 : err_set(err, ERR_USAGE, "%s[%zu]: expected 0 or 1", key, i);
}

/* Masks of what is trained, as TRL and Transformers write them: their zeros take labels away. */
static int apply_masks(row_writer_t *w, const json_t *row, err_t *err) {
    static const char *const keys[] = {"completion_mask", "assistant_masks"};
    for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
        const json_t *mask;
        if (list_beside(row, keys[k], "0 and 1", w->ids.len, &mask, err)) return err->code;
        for (size_t i = 0; mask && i < w->ids.len; i++) {
            bool on = true;
            if (mask_at(mask, keys[k], i, &on, err)) return err->code;
            if (!on) w->labels.ids[i] = LABEL_NONE;
        }
    }
    return 0;
}

/* Padding, at either end, is no data. */
static int take_padding_off(row_writer_t *w, const json_t *row, err_t *err) {
    const json_t *mask;
    size_t n = w->ids.len, first = n, end = 0, ones = 0;
    if (list_beside(row, "attention_mask", "0 and 1", n, &mask, err)) return err->code;
    if (!mask) return 0;
    for (size_t i = 0; i < n; i++) {
        bool on = false;
        if (mask_at(mask, "attention_mask", i, &on, err)) return err->code;
        if (on && first == n) first = i;
        if (on) end = i + 1;
        ones += on;
    }
    if (ones && ones < end - first)
        return err_set(err, ERR_USAGE,
                       "attention_mask: has zeros between ones; expected them at the ends only, where "
                       "padding is");
    w->ids.len = w->labels.len = ones;
    for (size_t i = 0; i < ones; i++) {
        w->ids.ids[i] = w->ids.ids[first + i];
        w->labels.ids[i] = w->labels.ids[first + i];
    }
    return 0;
}

/* What else says something of each token. */
static int refuse_others(const json_t *row, err_t *err) {
    static const char *const keys[] = {"position_ids",  "loss_mask", "loss_weights",
                                       "token_weights", "seq_idx",   "cu_seqlens"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (!row_member_empty(row, keys[i]))
            return err_set(err, ERR_USAGE,
                           "%s: not supported; expected input_ids, labels, attention_mask, completion_mask and "
                           "assistant_masks alone",
                           keys[i]);
    return 0;
}

int convert_tokens(row_writer_t *w, const file_row_t *row, err_t *err) {
    const json_t *ids, *labels;
    if (list_of(row->json, "input_ids", "token ids", &ids, err)) return err->code;
    size_t n = json_array_size(ids);
    if (list_beside(row->json, "labels", "token ids", n, &labels, err)) return err->code;
    bool own = labels != NULL;
    if (refuse_others(row->json, err)) return err->code;
    for (size_t i = 0; i < n; i++) {
        int32_t id = 0, label = 0;
        if (token_at(w, ids, "input_ids", i, false, &id, err)) return err->code;
        label = id;
        if (own && token_at(w, labels, "labels", i, true, &label, err)) return err->code;
        ids_add(&w->ids, id);
        ids_add(&w->labels, label);
    }
    return apply_masks(w, row->json, err) || take_padding_off(w, row->json, err) ? err->code : 0;
}
