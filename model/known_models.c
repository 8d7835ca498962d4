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

/* Words that say how the weights are stored. */
#define STORED " fp16 bf16 bnb nf4 4bit unsloth"
/* A base model and the versions tuned from it, where they agree. */
#define TUNED "hf base instruct it pt chat" STORED
#define LLAMA2 "meta hf chat" STORED
#define LLAMA3 "meta hf instruct" STORED
/* Earlier chat versions of TinyLlama have a few more tokens. */
#define TINYLLAMA "chat v1.0 intermediate step 1431k 3t" STORED
/* Phi's 4-bit republications have q, k and v, and gate and up, in layers of their own: they are other models. */
#define PHI "instruct"
#define OLMO "0425 1124 0325 1025 1125 instruct think sft dpo" STORED
#define GEMMA1 "1.1 " TUNED

/* clang-format off */
#define SIZES(type, vocab, hidden, ffn, layers, heads, kv_heads, positions) \
    "'model_type': '" type "', 'vocab_size': " #vocab ", 'hidden_size': " #hidden ", 'intermediate_size': " #ffn \
    ", 'num_hidden_layers': " #layers ", 'num_attention_heads': " #heads ", 'num_key_value_heads': " #kv_heads \
    ", 'max_position_embeddings': " #positions
#define REST(eps, theta, tied) ", 'rms_norm_eps': " #eps ", 'rope_theta': " #theta ", 'tie_word_embeddings': " #tied
#define HEAD_DIM(n) ", 'head_dim': " #n
#define WINDOW(n) ", 'sliding_window': " #n
/* The language model of a vision-language model. */
#define WRAPPED(type, text) "'model_type': '" type "', 'text_config': {" text "}"

#define ROPE_LLAMA3(factor) ", 'rope_scaling': {'rope_type': 'llama3', 'factor': " #factor ", 'low_freq_factor': 1, " \
    "'high_freq_factor': 4, 'original_max_position_embeddings': 8192}"
#define ROPE_OLMO3 ", 'rope_scaling': {'rope_type': 'yarn', 'factor': 8, 'original_max_position_embeddings': 8192, " \
    "'beta_fast': 32, 'beta_slow': 1, 'attention_factor': 1.2079441541679836}"
#define ROPE_MINISTRAL3(theta) ", 'rms_norm_eps': 1e-5, 'rope_parameters': {'rope_type': 'yarn', 'rope_theta': " #theta \
    ", 'factor': 16, 'original_max_position_embeddings': 16384, 'beta_fast': 32, 'beta_slow': 1, 'mscale': 1, " \
    "'mscale_all_dim': 1, 'llama_4_scaling_beta': 0.1}" HEAD_DIM(128)
/* LongRoPE's factors are left out: they are lists, and no size depends on them. */
#define PHI3_LONG(window) ", 'original_max_position_embeddings': 4096" WINDOW(window)
#define GEMMA2(scalar, head_dim) ", 'rms_norm_eps': 1e-6, 'rope_theta': 10000, 'query_pre_attn_scalar': " #scalar \
    ", 'attn_logit_softcapping': 50, 'final_logit_softcapping': 30, 'sliding_window': 4096" HEAD_DIM(head_dim)
#define GEMMA3(scalar, head_dim, window) ", 'rms_norm_eps': 1e-6, 'rope_theta': 1000000, 'rope_local_base_freq': 10000" \
    ", 'sliding_window_pattern': 6, 'query_pre_attn_scalar': " #scalar HEAD_DIM(head_dim) WINDOW(window)
#define GEMMA3_LONG ", 'rope_scaling': {'rope_type': 'linear', 'factor': 8}"
#define GRANITE(attention, logits) ", 'attention_multiplier': " #attention ", 'logits_scaling': " #logits \
    ", 'embedding_multiplier': 12, 'residual_multiplier': 0.22"

/* As their config.json have it. */
static const known_model_t models[] = {
    {"smollm2-135m", TUNED, SIZES("llama", 49152, 576, 1536, 30, 9, 3, 8192) REST(1e-5, 100000, true)},
    {"smollm2-360m", TUNED, SIZES("llama", 49152, 960, 2560, 32, 15, 5, 8192) REST(1e-5, 100000, true)},
    {"smollm2-1.7b", TUNED, SIZES("llama", 49152, 2048, 8192, 24, 32, 32, 8192) REST(1e-5, 130000, true)},
    {"tinyllama-1.1b", TINYLLAMA, SIZES("llama", 32000, 2048, 5632, 22, 32, 4, 2048) REST(1e-5, 10000, false)},
    {"llama-2-7b", LLAMA2, SIZES("llama", 32000, 4096, 11008, 32, 32, 32, 4096) REST(1e-5, 10000, false)},
    {"llama-2-13b", LLAMA2, SIZES("llama", 32000, 5120, 13824, 40, 40, 40, 4096) REST(1e-5, 10000, false)},
    {"llama-2-70b", LLAMA2, SIZES("llama", 32000, 8192, 28672, 80, 64, 8, 4096) REST(1e-5, 10000, false)},
    {"llama-3-8b", LLAMA3, SIZES("llama", 128256, 4096, 14336, 32, 32, 8, 8192) REST(1e-5, 500000, false)},
    {"llama-3-70b", LLAMA3, SIZES("llama", 128256, 8192, 28672, 80, 64, 8, 8192) REST(1e-5, 500000, false)},
    {"llama-3.1-8b", LLAMA3, SIZES("llama", 128256, 4096, 14336, 32, 32, 8, 131072) REST(1e-5, 500000, false) ROPE_LLAMA3(8)},
    {"llama-3.1-70b", LLAMA3, SIZES("llama", 128256, 8192, 28672, 80, 64, 8, 131072) REST(1e-5, 500000, false) ROPE_LLAMA3(8)},
    {"llama-3.1-405b", LLAMA3, SIZES("llama", 128256, 16384, 53248, 126, 128, 8, 131072) REST(1e-5, 500000, false) ROPE_LLAMA3(8)},
    {"llama-3.2-1b", LLAMA3, SIZES("llama", 128256, 2048, 8192, 16, 32, 8, 131072) REST(1e-5, 500000, true) ROPE_LLAMA3(32)},
    {"llama-3.2-3b", LLAMA3, SIZES("llama", 128256, 3072, 8192, 28, 24, 8, 131072) REST(1e-5, 500000, true) ROPE_LLAMA3(32)},
    {"llama-3.3-70b", LLAMA3, SIZES("llama", 128256, 8192, 28672, 80, 64, 8, 131072) REST(1e-5, 500000, false) ROPE_LLAMA3(8)},
    {"deepseek-r1-distill-llama-8b", STORED, SIZES("llama", 128256, 4096, 14336, 32, 32, 8, 131072) REST(1e-5, 500000, false) ROPE_LLAMA3(8)},
    {"deepseek-r1-distill-llama-70b", STORED, SIZES("llama", 128256, 8192, 28672, 80, 64, 8, 131072) REST(1e-5, 500000, false) ROPE_LLAMA3(8)},
    {"deepseek-llm-7b", TUNED, SIZES("llama", 102400, 4096, 11008, 30, 32, 32, 4096) REST(1e-6, 10000, false)},
    {"deepseek-llm-67b", TUNED, SIZES("llama", 102400, 8192, 22016, 95, 64, 8, 4096) REST(1e-6, 10000, false)},
    {"yi-6b", TUNED, SIZES("llama", 64000, 4096, 11008, 32, 32, 4, 4096) REST(1e-5, 5000000, false)},
    {"yi-34b", TUNED, SIZES("llama", 64000, 7168, 20480, 60, 56, 8, 4096) REST(1e-5, 5000000, false)},
    {"yi-1.5-6b", TUNED, SIZES("llama", 64000, 4096, 11008, 32, 32, 4, 4096) REST(1e-6, 5000000, false)},
    {"yi-1.5-9b", TUNED, SIZES("llama", 64000, 4096, 11008, 48, 32, 4, 4096) REST(1e-6, 5000000, false)},
    {"yi-1.5-34b", TUNED, SIZES("llama", 64000, 7168, 20480, 60, 56, 8, 4096) REST(1e-6, 5000000, false)},
    {"falcon3-3b", TUNED, SIZES("llama", 131072, 3072, 9216, 22, 12, 4, 32768) REST(1e-6, 1000042, false) HEAD_DIM(256)},
    {"falcon3-7b", TUNED, SIZES("llama", 131072, 3072, 23040, 28, 12, 4, 32768) REST(1e-6, 1000042, false) HEAD_DIM(256)},
    {"falcon3-10b", TUNED, SIZES("llama", 131072, 3072, 23040, 40, 12, 4, 32768) REST(1e-6, 1000042, false) HEAD_DIM(256)},

    {"mistral-7b-v0.1", TUNED, SIZES("mistral", 32000, 4096, 14336, 32, 32, 8, 32768) REST(1e-5, 10000, false) WINDOW(4096)},
    {"mistral-7b-v0.2", TUNED, SIZES("mistral", 32000, 4096, 14336, 32, 32, 8, 32768) REST(1e-5, 1000000, false) WINDOW(null)},
    {"mistral-7b-v0.3", TUNED, SIZES("mistral", 32768, 4096, 14336, 32, 32, 8, 32768) REST(1e-5, 1000000, false) WINDOW(null)},
    {"mistral-nemo", "2407 12b " TUNED, SIZES("mistral", 131072, 5120, 14336, 40, 32, 8, 131072) REST(1e-5, 1000000, false) HEAD_DIM(128) WINDOW(null)},
    {"mistral-small-24b-instruct-2501", STORED, SIZES("mistral", 131072, 5120, 32768, 40, 32, 8, 32768) REST(1e-5, 100000000, false) HEAD_DIM(128) WINDOW(null)},
    {"mistral-small-3.1-24b", "2503 " TUNED, WRAPPED("mistral3", SIZES("mistral", 131072, 5120, 32768, 40, 32, 8, 131072) REST(1e-5, 1000000000, false) HEAD_DIM(128) WINDOW(null))},
    {"mistral-small-3.2-24b", "2506 " TUNED, WRAPPED("mistral3", SIZES("mistral", 131072, 5120, 32768, 40, 32, 8, 131072) REST(1e-5, 1000000000, false) HEAD_DIM(128) WINDOW(null))},
    {"ministral-3-3b", "reasoning 2512 " TUNED, WRAPPED("mistral3", SIZES("ministral3", 131072, 3072, 9216, 26, 32, 8, 262144) ROPE_MINISTRAL3(1000000) ", 'tie_word_embeddings': true")},
    {"ministral-3-8b", "reasoning 2512 " TUNED, WRAPPED("mistral3", SIZES("ministral3", 131072, 4096, 14336, 34, 32, 8, 262144) ROPE_MINISTRAL3(1000000))},
    {"ministral-3-14b", "reasoning 2512 " TUNED, WRAPPED("mistral3", SIZES("ministral3", 131072, 5120, 16384, 40, 32, 8, 262144) ROPE_MINISTRAL3(1000000000))},

    /* Qwen's base models and their chat versions differ in length, from 14B on in epsilon too. */
    {"qwen2-1.5b", "base" STORED, SIZES("qwen2", 151936, 1536, 8960, 28, 12, 2, 131072) REST(1e-6, 1000000, true)},
    {"qwen2-1.5b-instruct", STORED, SIZES("qwen2", 151936, 1536, 8960, 28, 12, 2, 32768) REST(1e-6, 1000000, true)},
    {"qwen2-7b", "base" STORED, SIZES("qwen2", 152064, 3584, 18944, 28, 28, 4, 131072) REST(1e-6, 1000000, false)},
    {"qwen2-7b-instruct", STORED, SIZES("qwen2", 152064, 3584, 18944, 28, 28, 4, 32768) REST(1e-6, 1000000, false)},
    {"qwen2.5-0.5b", TUNED, SIZES("qwen2", 151936, 896, 4864, 24, 14, 2, 32768) REST(1e-6, 1000000, true)},
    {"qwen2.5-1.5b", "base" STORED, SIZES("qwen2", 151936, 1536, 8960, 28, 12, 2, 131072) REST(1e-6, 1000000, true)},
    {"qwen2.5-1.5b-instruct", STORED, SIZES("qwen2", 151936, 1536, 8960, 28, 12, 2, 32768) REST(1e-6, 1000000, true)},
    {"qwen2.5-3b", TUNED, SIZES("qwen2", 151936, 2048, 11008, 36, 16, 2, 32768) REST(1e-6, 1000000, true)},
    {"qwen2.5-7b", "base" STORED, SIZES("qwen2", 152064, 3584, 18944, 28, 28, 4, 131072) REST(1e-6, 1000000, false)},
    {"qwen2.5-7b-instruct", STORED, SIZES("qwen2", 152064, 3584, 18944, 28, 28, 4, 32768) REST(1e-6, 1000000, false)},
    {"qwen2.5-14b", "base" STORED, SIZES("qwen2", 152064, 5120, 13824, 48, 40, 8, 131072) REST(1e-5, 1000000, false)},
    {"qwen2.5-14b-instruct", STORED, SIZES("qwen2", 152064, 5120, 13824, 48, 40, 8, 32768) REST(1e-6, 1000000, false)},
    {"qwen2.5-32b", "base" STORED, SIZES("qwen2", 152064, 5120, 27648, 64, 40, 8, 131072) REST(1e-5, 1000000, false)},
    {"qwen2.5-32b-instruct", STORED, SIZES("qwen2", 152064, 5120, 27648, 64, 40, 8, 32768) REST(1e-6, 1000000, false)},
    {"qwen2.5-72b", "base" STORED, SIZES("qwen2", 152064, 8192, 29568, 80, 64, 8, 131072) REST(1e-5, 1000000, false)},
    {"qwen2.5-72b-instruct", STORED, SIZES("qwen2", 152064, 8192, 29568, 80, 64, 8, 32768) REST(1e-6, 1000000, false)},
    {"qwen2.5-coder-1.5b", TUNED, SIZES("qwen2", 151936, 1536, 8960, 28, 12, 2, 32768) REST(1e-6, 1000000, true)},
    {"qwen2.5-coder-7b", TUNED, SIZES("qwen2", 152064, 3584, 18944, 28, 28, 4, 32768) REST(1e-6, 1000000, false)},
    {"deepseek-r1-distill-qwen-1.5b", STORED, SIZES("qwen2", 151936, 1536, 8960, 28, 12, 2, 131072) REST(1e-6, 10000, false)},
    {"deepseek-r1-distill-qwen-7b", STORED, SIZES("qwen2", 152064, 3584, 18944, 28, 28, 4, 131072) REST(1e-6, 10000, false)},
    {"deepseek-r1-distill-qwen-14b", STORED, SIZES("qwen2", 152064, 5120, 13824, 48, 40, 8, 131072) REST(1e-5, 1000000, false)},
    {"deepseek-r1-distill-qwen-32b", STORED, SIZES("qwen2", 152064, 5120, 27648, 64, 40, 8, 131072) REST(1e-5, 1000000, false)},
    {"qwq-32b", STORED, SIZES("qwen2", 152064, 5120, 27648, 64, 40, 8, 40960) REST(1e-5, 1000000, false)},
    {"qwen3-0.6b", STORED, SIZES("qwen3", 151936, 1024, 3072, 28, 16, 8, 40960) REST(1e-6, 1000000, true) HEAD_DIM(128)},
    {"qwen3-1.7b", STORED, SIZES("qwen3", 151936, 2048, 6144, 28, 16, 8, 40960) REST(1e-6, 1000000, true) HEAD_DIM(128)},
    {"qwen3-4b", STORED, SIZES("qwen3", 151936, 2560, 9728, 36, 32, 8, 40960) REST(1e-6, 1000000, true) HEAD_DIM(128)},
    {"qwen3-4b-2507", "instruct thinking" STORED, SIZES("qwen3", 151936, 2560, 9728, 36, 32, 8, 262144) REST(1e-6, 5000000, true) HEAD_DIM(128)},
    {"qwen3-8b", STORED, SIZES("qwen3", 151936, 4096, 12288, 36, 32, 8, 40960) REST(1e-6, 1000000, false) HEAD_DIM(128)},
    {"qwen3-14b", STORED, SIZES("qwen3", 151936, 5120, 17408, 40, 40, 8, 40960) REST(1e-6, 1000000, false) HEAD_DIM(128)},
    {"qwen3-32b", STORED, SIZES("qwen3", 151936, 5120, 25600, 64, 64, 8, 40960) REST(1e-6, 1000000, false) HEAD_DIM(128)},

    {"gemma-2b", GEMMA1, SIZES("gemma", 256000, 2048, 16384, 18, 8, 1, 8192) REST(1e-6, 10000, true) HEAD_DIM(256)},
    {"gemma-7b", GEMMA1, SIZES("gemma", 256000, 3072, 24576, 28, 16, 16, 8192) REST(1e-6, 10000, true) HEAD_DIM(256)},
    {"gemma-2-2b", TUNED, SIZES("gemma2", 256000, 2304, 9216, 26, 8, 4, 8192) GEMMA2(256, 256)},
    {"gemma-2-9b", TUNED, SIZES("gemma2", 256000, 3584, 14336, 42, 16, 8, 8192) GEMMA2(256, 256)},
    {"gemma-2-27b", TUNED, SIZES("gemma2", 256000, 4608, 36864, 46, 32, 16, 8192) GEMMA2(144, 128)},
    {"gemma-3-270m", TUNED, SIZES("gemma3_text", 262144, 640, 2048, 18, 4, 1, 32768) GEMMA3(256, 256, 512)},
    {"gemma-3-1b", TUNED, SIZES("gemma3_text", 262144, 1152, 6912, 26, 4, 1, 32768) GEMMA3(256, 256, 512)},
    {"gemma-3-4b", TUNED, WRAPPED("gemma3", SIZES("gemma3_text", 262208, 2560, 10240, 34, 8, 4, 131072) GEMMA3(256, 256, 1024) GEMMA3_LONG)},
    {"gemma-3-12b", TUNED, WRAPPED("gemma3", SIZES("gemma3_text", 262208, 3840, 15360, 48, 16, 8, 131072) GEMMA3(256, 256, 1024) GEMMA3_LONG)},
    {"gemma-3-27b", TUNED, WRAPPED("gemma3", SIZES("gemma3_text", 262208, 5376, 21504, 62, 32, 16, 131072) GEMMA3(168, 128, 1024) GEMMA3_LONG)},

    {"phi-3-mini-4k", PHI, SIZES("phi3", 32064, 3072, 8192, 32, 32, 32, 4096) REST(1e-5, 10000, false) WINDOW(2047)},
    {"phi-3-mini-128k", PHI, SIZES("phi3", 32064, 3072, 8192, 32, 32, 32, 131072) REST(1e-5, 10000, false) PHI3_LONG(262144)},
    {"phi-3-medium-4k", PHI, SIZES("phi3", 32064, 5120, 17920, 40, 40, 10, 4096) REST(1e-5, 10000, false) WINDOW(2047)},
    {"phi-3.5-mini", PHI, SIZES("phi3", 32064, 3072, 8192, 32, 32, 32, 131072) REST(1e-5, 10000, false) PHI3_LONG(262144)},
    {"phi-4", "", SIZES("phi3", 100352, 5120, 17920, 40, 40, 10, 16384) REST(1e-5, 250000, false) WINDOW(null)},
    {"phi-4-reasoning", "plus", SIZES("phi3", 100352, 5120, 17920, 40, 40, 10, 32768) REST(1e-5, 500000, false) WINDOW(null)},
    {"phi-4-mini", "instruct reasoning", SIZES("phi3", 200064, 3072, 8192, 32, 24, 8, 131072) REST(1e-5, 10000, true) ", 'partial_rotary_factor': 0.75" PHI3_LONG(262144)},

    {"granite-3.1-2b-instruct", STORED, SIZES("granite", 49155, 2048, 8192, 40, 32, 8, 131072) REST(1e-5, 5000000, true) GRANITE(0.015625, 8)},
    {"granite-3.3-8b-instruct", STORED, SIZES("granite", 49159, 4096, 12800, 40, 32, 8, 131072) REST(1e-5, 10000000, true) GRANITE(0.0078125, 16)},
    {"smollm3-3b", TUNED, SIZES("smollm3", 128256, 2048, 11008, 36, 16, 4, 65536) REST(1e-6, 5000000, true)},
    {"olmo-2-1b", OLMO, SIZES("olmo2", 100352, 2048, 8192, 16, 16, 16, 4096) REST(1e-6, 500000, false)},
    {"olmo-2-7b", OLMO, SIZES("olmo2", 100352, 4096, 11008, 32, 32, 32, 4096) REST(1e-6, 500000, false)},
    {"olmo-2-13b", OLMO, SIZES("olmo2", 100352, 5120, 13824, 40, 40, 40, 4096) REST(1e-6, 500000, false)},
    {"olmo-2-32b", OLMO, SIZES("olmo2", 100352, 5120, 27648, 64, 40, 8, 4096) REST(1e-6, 500000, false)},
    {"olmo-3-7b", OLMO, SIZES("olmo3", 100278, 4096, 11008, 32, 32, 32, 65536) REST(1e-6, 500000, false) WINDOW(4096) ROPE_OLMO3},
    {"olmo-3-32b", OLMO, SIZES("olmo3", 100278, 5120, 27648, 64, 40, 8, 65536) REST(1e-6, 500000, false) WINDOW(4096) ROPE_OLMO3},
    {"olmo-3.1-32b", OLMO, SIZES("olmo3", 100278, 5120, 27648, 64, 40, 8, 65536) REST(1e-6, 500000, false) WINDOW(4096) ROPE_OLMO3},
    /* Of April 2025: the glm-4-9b before them is of another family. */
    {"glm-4-9b-0414", STORED, SIZES("glm4", 151552, 4096, 13696, 40, 32, 2, 32768) REST(1e-5, 10000, false) HEAD_DIM(128) ", 'attention_bias': true"},
    {"glm-4-32b-0414", "base" STORED, SIZES("glm4", 151552, 6144, 23040, 61, 48, 2, 32768) REST(1e-5, 10000, false) HEAD_DIM(128)},
    {"glm-z1-32b-0414", STORED, SIZES("glm4", 151552, 6144, 23040, 61, 48, 2, 32768) REST(1e-5, 10000, false) HEAD_DIM(128)},
    {"exaone-4.0-1.2b", STORED, SIZES("exaone4", 102400, 2048, 4096, 30, 32, 8, 65536) REST(1e-5, 1000000, true) HEAD_DIM(64) WINDOW(null) ROPE_LLAMA3(16)},
    {"exaone-4.0-32b", STORED, SIZES("exaone4", 102400, 5120, 27392, 64, 40, 8, 131072) REST(1e-5, 1000000, false) HEAD_DIM(128) WINDOW(4096) ", 'sliding_window_pattern': 'LLLG'" ROPE_LLAMA3(16)},
    {"seed-oss-36b", "wosyn " TUNED, SIZES("seed_oss", 155136, 5120, 27648, 64, 80, 8, 524288) REST(1e-6, 10000000, false) HEAD_DIM(128) ", 'attention_bias': true"},
    {"ernie-4.5-0.3b", TUNED, SIZES("ernie4_5", 103424, 1024, 3072, 18, 16, 2, 131072) REST(1e-5, 500000, true) HEAD_DIM(128)},
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

/* The last part of a path; *end: behind it. */
static const char *last_part(const char *path, const char **end) {
    *end = path + strlen(path);
    while (*end > path && (*end)[-1] == '/') (*end)--;
    const char *part = *end;
    while (part > path && part[-1] != '/') part--;
    return part;
}

bool known_model_find(const char *path_or_name, model_config_t *c, const char **name) {
    const char *end, *part = last_part(path_or_name, &end);
    for (size_t i = 0; i < N_MODELS; i++) {
        if (!speaks_of(part, end, &models[i])) continue;
        *c = config_of(&models[i]);
        if (name) *name = models[i].name;
        return true;
    }
    return false;
}

static word_t first_word(const char *text, const char *end) {
    word_t w;
    next_word(&text, end, &w);
    return w;
}

/* What the name of a model begins with. */
static word_t series(const known_model_t *m) { return first_word(m->name, m->name + strlen(m->name)); }

static bool begins_series(size_t model) {
    for (size_t i = 0; i < model; i++)
        if (same_word(series(&models[i]), series(&models[model]))) return false;
    return true;
}

char *known_model_names(const char *like) {
    const char *end, *part = last_part(like, &end);
    word_t wanted = first_word(part, end);
    strbuf_t names = {0};
    for (size_t i = 0; i < N_MODELS; i++)
        if (same_word(wanted, series(&models[i]))) strbuf_addf(&names, "%s%s", names.len ? ", " : "", models[i].name);
    if (names.len) return names.p;
    for (size_t i = 0; i < N_MODELS; i++) {
        word_t w = series(&models[i]);
        if (begins_series(i)) strbuf_addf(&names, "%s%.*s-*", names.len ? ", " : "", (int)w.len, w.p);
    }
    return names.p;
}
