#include "model/known_models.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"

typedef struct {
    const char *name;
    const char *also;   /* words that may stand in a name without changing what is below */
    const char *config; /* what its config.json says about what is computed, see config_of() */
} known_model_t;

#define LLAMA2 "meta hf chat fp16 bf16 bnb nf4 4bit"
#define LLAMA3 "meta hf instruct bf16 bnb nf4 4bit"
#define SMOLLM2 "instruct bf16 bnb nf4 4bit"
/* Earlier chat versions of TinyLlama have a few more tokens. */
#define TINYLLAMA "chat v1.0 intermediate step 1431k 3t bf16 bnb nf4 4bit"

/* clang-format off */
#define SIZES(type, vocab, hidden, ffn, layers, heads, kv_heads, positions) \
    "'model_type': '" type "', 'vocab_size': " #vocab ", 'hidden_size': " #hidden ", 'intermediate_size': " #ffn \
    ", 'num_hidden_layers': " #layers ", 'num_attention_heads': " #heads ", 'num_key_value_heads': " #kv_heads \
    ", 'max_position_embeddings': " #positions

/* As their config.json have it. */
static const known_model_t models[] = {
    {"smollm2-135m", SMOLLM2, SIZES("llama", 49152, 576, 1536, 30, 9, 3, 8192) ", 'rms_norm_eps': 1e-5, 'rope_theta': 100000, 'tie_word_embeddings': true"},
    {"smollm2-360m", SMOLLM2, SIZES("llama", 49152, 960, 2560, 32, 15, 5, 8192) ", 'rms_norm_eps': 1e-5, 'rope_theta': 100000, 'tie_word_embeddings': true"},
    {"smollm2-1.7b", SMOLLM2, SIZES("llama", 49152, 2048, 8192, 24, 32, 32, 8192) ", 'rms_norm_eps': 1e-5, 'rope_theta': 130000, 'tie_word_embeddings': true"},
    {"tinyllama-1.1b", TINYLLAMA, SIZES("llama", 32000, 2048, 5632, 22, 32, 4, 2048) ", 'rms_norm_eps': 1e-5, 'rope_theta': 10000, 'tie_word_embeddings': false"},
    {"llama-2-7b", LLAMA2, SIZES("llama", 32000, 4096, 11008, 32, 32, 32, 4096) ", 'rms_norm_eps': 1e-5, 'rope_theta': 10000, 'tie_word_embeddings': false"},
    {"llama-2-13b", LLAMA2, SIZES("llama", 32000, 5120, 13824, 40, 40, 40, 4096) ", 'rms_norm_eps': 1e-5, 'rope_theta': 10000, 'tie_word_embeddings': false"},
    {"llama-2-70b", LLAMA2, SIZES("llama", 32000, 8192, 28672, 80, 64, 8, 4096) ", 'rms_norm_eps': 1e-5, 'rope_theta': 10000, 'tie_word_embeddings': false"},
    {"llama-3-8b", LLAMA3, SIZES("llama", 128256, 4096, 14336, 32, 32, 8, 8192) ", 'rms_norm_eps': 1e-5, 'rope_theta': 500000, 'tie_word_embeddings': false"},
    {"llama-3-70b", LLAMA3, SIZES("llama", 128256, 8192, 28672, 80, 64, 8, 8192) ", 'rms_norm_eps': 1e-5, 'rope_theta': 500000, 'tie_word_embeddings': false"},
};
/* clang-format on */
#define N_MODELS (sizeof models / sizeof *models)

/* ---- names ---------------------------------------------------------------------------------------------- */

typedef struct {
    const char *p;
    size_t len;
} word_t;

static bool between_words(char c) { return c == '-' || c == '_' || c == ' '; }

static char lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c; }

/* Takes the next word of the text that ends at `end`. */
static bool next_word(const char **text, const char *end, word_t *w) {
    const char *p = *text;
    while (p < end && between_words(*p)) p++;
    w->p = p;
    while (p < end && !between_words(*p)) p++;
    w->len = (size_t)(p - w->p);
    *text = p;
    return w->len > 0;
}

/* The words of the table are in small letters. */
static bool same_word(word_t given, word_t ours) {
    if (given.len != ours.len) return false;
    for (size_t i = 0; i < given.len; i++)
        if (lower(given.p[i]) != ours.p[i]) return false;
    return true;
}

static bool is_among(word_t given, const char *list) {
    const char *end = list + strlen(list);
    word_t w;
    while (next_word(&list, end, &w))
        if (same_word(given, w)) return true;
    return false;
}

static bool speaks_of(const char *text, const char *end, const known_model_t *m) {
    const char *name = m->name, *name_end = name + strlen(name);
    word_t given, want;
    bool wanted = next_word(&name, name_end, &want);
    while (next_word(&text, end, &given)) {
        if (wanted && same_word(given, want)) wanted = next_word(&name, name_end, &want);
        else if (!is_among(given, m->also)) return false;
    }
    return !wanted;
}

/* ---- the two questions ---------------------------------------------------------------------------------- */

/* The table has ' for " and no braces around. */
static model_config_t config_of(const known_model_t *m) {
    err_t err = {0};
    model_config_t c;
    json_t *json = NULL;
    char *text = xasprintf("{%s}", m->config);
    for (char *p = text; *p; p++)
        if (*p == '\'') *p = '"';
    CHECK(json_text(text, strlen(text), m->name, &json, &err) == 0 &&
          model_config_from_json(json, m->name, &c, &err) == 0);
    json_decref(json);
    free(text);
    return c;
}

bool known_model_find(const char *path_or_name, model_config_t *c, const char **name) {
    const char *end = path_or_name + strlen(path_or_name);
    while (end > path_or_name && end[-1] == '/') end--;
    const char *base = end;
    while (base > path_or_name && base[-1] != '/') base--;
    for (size_t i = 0; i < N_MODELS; i++) {
        if (!speaks_of(base, end, &models[i])) continue;
        *c = config_of(&models[i]);
        if (name) *name = models[i].name;
        return true;
    }
    return false;
}

char *known_model_names(void) {
    strbuf_t list = {0};
    for (size_t i = 0; i < N_MODELS; i++) strbuf_addf(&list, "%s%s", i ? ", " : "", models[i].name);
    return list.p;
}
