/* The pre-tokenizers that a GGUF names in tokenizer.ggml.pre: patterns as the models' tokenizer.json spell them out,
 * names as llama.cpp gives them. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "data/tokenizer/pretokenizer.h"

/* ---- patterns ---- */

#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
/* OpenAI's cl100k_base and its kin: Llama 3 takes numbers by up to three digits, Qwen 2 digit by digit. */
#define CL100K(digits) \
    CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}" digits \
                 "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
/* o200k_base: a word is capitals, then small letters. */
#define O200K(contractions, digits) \
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+" contractions \
    "|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*" contractions \
    "|\\p{N}" digits "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define QWEN35 \
    CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*" \
                 "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define SEED_CODER \
    CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1}| ?[^\\s\\p{L}\\p{N}\\r\\n]+|\\s*[\\r\\n]+" \
                 "|\\s+(?!\\S)|\\s+"
#define BAILING \
    "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]" \
    "|\\s+(?!\\S)|\\s+"
#define DEEPSEEK_V3 \
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+" \
    "| ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
/* Letters that have case, as of the Unicode that DeepSeek's first tokenizers knew. Escaped because some have a
 * canonical equivalent. */
#define CASED_LETTERS \
    "A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af\u0370-\u0373" \
    "\u0376\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5\u03f7-\u0481\u048a-\u052f" \
    "\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77" \
    "\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b\u1f5d\u1f5f-" \
    "\u1f7d\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb\u1fe0-\u1fec" \
    "\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102\u2107\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126\u2128\u212a-\u212d\u212f-" \
    "\u2134\u2139\u213c-\u213f\u2145-\u2149\u214e\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4\u2ceb-\u2cee\u2cf2\u2cf3" \
    "\ua640-\ua66d\ua680-\ua69b\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf\ufb00-\ufb06\ufb13-\ufb17" \
    "\uff21-\uff3a\uff41-\uff5a\U00010400-\U0001044f\U000104b0-\U000104d3\U000104d8-\U000104fb\U00010c80-" \
    "\U00010cb2\U00010cc0-\U00010cf2\U000118a0-\U000118df\U0001e900-\U0001e943"
#define HAN_AND_HANGUL "[一-龥ࠀ-一가-퟿]+"
#define BLOOM " ?[^(\\s|.,!?…。，、।۔،)]+"

static const pretokenizer_preset_t presets[] = {
    {.names = "gpt-2 phi-2 mpt jais trillion gigachat a.x-4.0 mellum granite-docling exaone4", .gpt2 = true},
    {.names = "olmo", .gpt2 = true, .nfc = true},
    {.names = "smollm starcoder refact codeshell exaone minerva-7b mellum2", .splits = {"\\p{N}"}, .gpt2 = true},
    {.names = "command-r", .splits = {"\\p{N}"}, .gpt2 = true, .nfc = true},
    {.names = "llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2",
     .splits = {CL100K("{1,3}")},
     .ignore_merges = true,
     .add_bos = true},
    {.names = "dbrx smaug-bpe glm4 chatglm-bpe", .splits = {CL100K("{1,3}")}},
    {.names = "qwen2", .splits = {CL100K("")}, .nfc = true},
    {.names = "stablelm2 deepseek-r1-qwen megrez hunyuan kormo f2llmv2 solar-open grok-2", .splits = {CL100K("")}},
    {.names = "qwen35", .splits = {QWEN35}, .nfc = true},
    {.names = "gpt-4o llama4 kanana2 talkie minimax-m2", .splits = {O200K(CONTRACTIONS "?", "{1,3}")}},
    {.names = "tekken", .splits = {O200K("", "")}, .ignore_merges = true, .add_bos = true},
    {.names = "deepseek-llm",
     .splits = {"[\r\n]", "\\s?[" CASED_LETTERS "]+", "\\s?[!-/:-~！-／：-～‘-‟　-。]+", "\\s+$", HAN_AND_HANGUL,
                "\\p{N}"}},
    {.names = "deepseek-coder", .splits = {"[\r\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", HAN_AND_HANGUL, "\\p{N}"}},
    {.names = "deepseek-v3 hunyuan-dense joyai-llm",
     .splits = {"\\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+", DEEPSEEK_V3}},
    {.names = "seed-coder", .splits = {SEED_CODER}},
    {.names = "falcon", .splits = {"[\\p{P}$+<=>^~|`]+", GPT2_PATTERN, "[0-9][0-9][0-9]"}},
    {.names = "bloom poro-chat gpt3-finnish", .splits = {BLOOM}},
    {.names = "viking", .splits = {BLOOM, "\\p{N}"}},
    {.names = "bailingmoe bailingmoe2 llada-moe", .splits = {BAILING}},
    {.names = "default", .splits = {"[\\p{P}$+<=>^~|]+", GPT2_PATTERN, "\\p{N}+", "[0-9][0-9][0-9]"}},
};

/* Whether one of the names, which stand with one space between, is `name`. */
static bool has_name(const char *names, const char *name, size_t len) {
    for (const char *p = names; *p; p += *p == ' ') {
        size_t n = strcspn(p, " ");
        if (n == len && memcmp(p, name, n) == 0) return true;
        p += n;
    }
    return false;
}

int pretokenizer_preset(const char *name, size_t len, const char *where, const pretokenizer_preset_t **preset,
                        err_t *err) {
    strbuf_t known = {0};
    *preset = NULL;
    for (size_t i = 0; i < sizeof presets / sizeof *presets; i++) {
        if (has_name(presets[i].names, name, len)) *preset = &presets[i];
        strbuf_addf(&known, "%s%s", i ? " " : "", presets[i].names);
    }
    int rc = 0;
    if (!*preset)
        rc = err_set(err, ERR_USAGE, "%s: the pre-tokenizer \"%.*s\" is not supported; expected one of %s", where,
                     len > 100 ? 100 : (int)len, name, known.p);
    free(known.p);
    return rc;
}

json_t *pretokenizer_preset_json(const pretokenizer_preset_t *preset) {
    json_t *list = json_array();
    for (size_t i = 0; i < sizeof preset->splits / sizeof *preset->splits && preset->splits[i]; i++) {
        json_array_append_new(list, json_pack("{s:s, s:{s:s}, s:s, s:b}", "type", "Split", "pattern", "Regex",
                                              preset->splits[i], "behavior", "Isolated", "invert", 0));
    }
    json_array_append_new(list, json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", 0,
                                          "trim_offsets", 1, "use_regex", preset->gpt2));
    return json_pack("{s:s, s:o}", "type", "Sequence", "pretokenizers", list);
}

/* ---- a name for a description ---- */

enum { MAX_SPLITS = sizeof((pretokenizer_preset_t *)0)->splits / sizeof(char *) };

/* A description brought to the form that presets have. */
typedef struct {
    const char *splits[MAX_SPLITS];
    size_t n;
    bool gpt2, nfc, other; /* other: there is what no preset has */
} form_t;

static bool has_text(const json_t *o, const char *key, const char *text) {
    const char *v = json_string_value(json_object_get(o, key));
    return v && !strcmp(v, text);
}

static void add_split(form_t *f, const char *pattern) {
    if (!pattern || f->gpt2 || f->n == MAX_SPLITS) f->other = true;
    else f->splits[f->n++] = pattern;
}

static void find_form(const json_t *o, form_t *f) {
    const json_t *item, *regex = json_object_get(json_object_get(o, "pattern"), "Regex");
    const char *lists[] = {"pretokenizers", "normalizers"};
    size_t i;
    if (!o || json_is_null(o)) return;
    if (has_text(o, "type", "Sequence")) {
        for (int k = 0; k < 2; k++) json_array_foreach(json_object_get(o, lists[k]), i, item) find_form(item, f);
    } else if (has_text(o, "type", "NFC")) {
        f->nfc = true;
    } else if (has_text(o, "type", "Digits")) {
        add_split(f, json_is_true(json_object_get(o, "individual_digits")) ? "\\p{N}" : "\\p{N}+");
    } else if (has_text(o, "type", "ByteLevel")) {
        f->gpt2 = !json_is_false(json_object_get(o, "use_regex"));
    } else if (has_text(o, "type", "Split")) {
        /* Only matches are left: the same for patterns that match all of a text, as those here do. */
        bool kept = has_text(o, "behavior", "Removed") && json_is_true(json_object_get(o, "invert"));
        add_split(f, kept || has_text(o, "behavior", "Isolated") ? json_string_value(regex) : NULL);
    } else {
        f->other = true;
    }
}

static bool has_form(const pretokenizer_preset_t *p, const form_t *f) {
    if (f->other || f->gpt2 != p->gpt2 || f->nfc != p->nfc) return false;
    for (size_t i = 0; i < MAX_SPLITS; i++) {
        const char *a = i < f->n ? f->splits[i] : NULL, *b = p->splits[i];
        if (!a || !b ? a != b : strcmp(a, b) != 0) return false;
    }
    return true;
}

int pretokenizer_preset_name(const json_t *norm, const json_t *pre, bool ignore_merges, const char *where, char **name,
                             err_t *err) {
    const pretokenizer_preset_t *found = NULL;
    form_t f = {0};
    find_form(norm, &f);
    find_form(pre, &f);
    for (size_t i = 0; i < sizeof presets / sizeof *presets; i++)
        /* Whether whole words are looked up rarely matters, so that is the second concern. */
        if (has_form(&presets[i], &f) && (!found || presets[i].ignore_merges == ignore_merges)) found = &presets[i];
    if (!found) {
        char *text = pre ? json_dumps(pre, JSON_COMPACT) : NULL;
        err_set(err, ERR_USAGE, "%s: llama.cpp has no name for the pre-tokenizer%s %.600s; expected a known one", where,
                f.nfc ? " (after NFC)" : "", text ? text : "null");
        free(text);
        return err->code;
    }
    *name = xstrndup(found->names, strcspn(found->names, " "));
    return 0;
}
