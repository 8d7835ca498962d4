#include "data/chat/chat_table.h"

/* A turn of ChatML, and of Llama 3: a header with the role's name, and a token that ends the turn. */
#define CHATML(name) \
    { "<|im_start|>" name "\n", "", "", "<|im_end|>", "\n", NULL }
#define LLAMA3(name) \
    { "<|start_header_id|>" name "<|end_header_id|>\n\n", "", "", "<|eot_id|>", "", NULL }

enum { ALL_ROLES = (1u << CHAT_ROLES) - 1 };

/* Qwen writes what a tool answers as a user's turn, several answers in one. */
#define QWEN_TOOL \
    { "<|im_start|>user\n", "<tool_response>\n", "\n</tool_response>", "<|im_end|>", "\n", "\n" }
#define QWEN_CALL \
    { "<|im_start|>assistant\n", "<tool_call>\n", "\n</tool_call>", "<|im_end|>", "\n", "\n" }

/* Llama 3.1 and later always have a system turn that starts with dates. Today's would make a run depend on the
 * day it starts; this is the date that their template itself falls back to. */
#define LLAMA31_DATES "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"

const chat_variant_t chat_variants[] = {
    {
        .name = "Qwen 3",
        .format = CHAT_CHATML,
        .has = {"<|im_start|>", "<tool_response>", "<think>"},
        .token = "<|im_start|>",
        .role = {[ROLE_SYSTEM] = CHATML("system"),
                 [ROLE_USER] = CHATML("user"),
                 [ROLE_ASSISTANT] = CHATML("assistant"),
                 [ROLE_TOOL] = QWEN_TOOL,
                 [ROLE_CALL] = QWEN_CALL},
        .generation = "<|im_start|>assistant\n<think>\n\n</think>\n\n",
        .think = true,
        .tagged_calls = true,
        .stops = {"<|im_end|>"},
    },
    {
        .name = "Qwen 2.5",
        .format = CHAT_CHATML,
        .has = {"<|im_start|>", "<tool_response>"},
        .token = "<|im_start|>",
        .role = {[ROLE_SYSTEM] = CHATML("system"),
                 [ROLE_USER] = CHATML("user"),
                 [ROLE_ASSISTANT] = CHATML("assistant"),
                 [ROLE_TOOL] = QWEN_TOOL,
                 [ROLE_CALL] = QWEN_CALL},
        .generation = "<|im_start|>assistant\n",
        .tagged_calls = true,
        .stops = {"<|im_end|>"},
    },
    {
        .name = "ChatML",
        .format = CHAT_CHATML,
        .has = {"<|im_start|>"},
        .lacks = {"<|im_sep|>"}, /* Phi 4 */
        .token = "<|im_start|>",
        .role = {[ROLE_SYSTEM] = CHATML("system"),
                 [ROLE_USER] = CHATML("user"),
                 [ROLE_ASSISTANT] = CHATML("assistant"),
                 [ROLE_TOOL] = CHATML("tool"),
                 [ROLE_CALL] = CHATML("assistant")},
        .generation = "<|im_start|>assistant\n",
        .may_trim = ALL_ROLES,
        .stops = {"<|im_end|>"},
    },
    {
        .name = "Llama 3.1",
        .format = CHAT_LLAMA3,
        .has = {"<|start_header_id|>", "Cutting Knowledge Date"},
        .token = "<|start_header_id|>",
        .role = {[ROLE_SYSTEM] = LLAMA3("system"),
                 [ROLE_USER] = LLAMA3("user"),
                 [ROLE_ASSISTANT] = LLAMA3("assistant"),
                 [ROLE_TOOL] = LLAMA3("ipython"),
                 [ROLE_CALL] = LLAMA3("assistant")},
        .generation = "<|start_header_id|>assistant<|end_header_id|>\n\n",
        .system_lead = LLAMA31_DATES,
        .default_system = "",
        .trim = ALL_ROLES,
        .stops = {"<|eot_id|>", "<|eom_id|>", "<|end_of_text|>"},
    },
    {
        .name = "Llama 3",
        .format = CHAT_LLAMA3,
        .has = {"<|start_header_id|>"},
        .token = "<|start_header_id|>",
        .role = {[ROLE_SYSTEM] = LLAMA3("system"),
                 [ROLE_USER] = LLAMA3("user"),
                 [ROLE_ASSISTANT] = LLAMA3("assistant"),
                 [ROLE_TOOL] = LLAMA3("tool"),
                 [ROLE_CALL] = LLAMA3("assistant")},
        .generation = "<|start_header_id|>assistant<|end_header_id|>\n\n",
        .trim = ALL_ROLES,
        .stops = {"<|eot_id|>", "<|end_of_text|>"},
    },
    {
        .name = "Llama 2",
        .format = CHAT_LLAMA2,
        .has = {"[INST]", "<<SYS>>"},
        .role = {[ROLE_USER] = {CHAT_BOS "[INST] ", "", "", " [/INST]", "", NULL},
                 [ROLE_ASSISTANT] = {"", " ", "", " " CHAT_EOS, "", NULL}},
        .generation = "",
        .system_place = SYSTEM_IN_FIRST_USER,
        .system_open = "<<SYS>>\n",
        .system_close = "\n<</SYS>>\n\n",
        .trim = 1u << ROLE_USER | 1u << ROLE_ASSISTANT,
        .alternate = true,
    },
    {
        /* Mistral Nemo: the markers are control tokens, without spaces, as its tokenizer is byte-level. */
        .name = "Mistral v3 (Tekken)",
        .format = CHAT_MISTRAL,
        .has = {"[INST]"},
        .lacks = {"<<SYS>>", "[SYSTEM_PROMPT]", "[INST] "},
        .token = "[INST]",
        .role = {[ROLE_USER] = {"[INST]", "", "", "[/INST]", "", NULL},
                 [ROLE_ASSISTANT] = {"", "", "", CHAT_EOS, "", NULL},
                 [ROLE_TOOL] = {"[TOOL_RESULTS]", "", "", "[/TOOL_RESULTS]", "", NULL},
                 [ROLE_CALL] = {"", "[TOOL_CALLS][", "]", CHAT_EOS, "", NULL}},
        .generation = "",
        .may_trim = 1u << ROLE_ASSISTANT,
        .system_place = SYSTEM_IN_LAST_USER,
        .system_open = "",
        .system_close = "\n\n",
        .alternate = true,
    },
    {
        /* Mistral 7B v0.3 and Mixtral 8x22B: the same with SentencePiece. */
        .name = "Mistral v3",
        .format = CHAT_MISTRAL,
        .has = {"[INST] "},
        .lacks = {"<<SYS>>", "[SYSTEM_PROMPT]"},
        .token = "[INST]",
        .role = {[ROLE_USER] = {"[INST] ", "", "", "[/INST]", "", NULL},
                 [ROLE_ASSISTANT] = {"", " ", "", CHAT_EOS, "", NULL},
                 [ROLE_TOOL] = {"[TOOL_RESULTS] ", "", "", "[/TOOL_RESULTS]", "", NULL},
                 [ROLE_CALL] = {"", "[TOOL_CALLS] [", "]", CHAT_EOS, "", NULL}},
        .generation = "",
        .may_trim = 1u << ROLE_ASSISTANT,
        .system_place = SYSTEM_IN_LAST_USER,
        .system_open = "",
        .system_close = "\n\n",
        .alternate = true,
    },
    {
        /* Mistral 7B v0.1 and v0.2, Mixtral 8x7B: the markers are plain text. */
        .name = "Mistral v1",
        .format = CHAT_MISTRAL,
        .has = {"[INST]"},
        .lacks = {"<<SYS>>", "[SYSTEM_PROMPT]"},
        .role = {[ROLE_USER] = {"[INST] ", "", "", " [/INST]", "", NULL},
                 [ROLE_ASSISTANT] = {"", " ", "", CHAT_EOS, "", NULL}},
        .generation = "",
        .system_place = SYSTEM_IN_FIRST_USER,
        .system_open = "",
        .system_close = "\n\n",
        .alternate = true,
    },
    {
        .name = "Zephyr",
        .format = CHAT_ZEPHYR,
        .has = {"<|user|>", "<|assistant|>", "eos_token"},
        .lacks = {"<|end|>"}, /* Phi 3 */
        .role = {[ROLE_SYSTEM] = {"<|system|>\n", "", "", CHAT_EOS, "\n", NULL},
                 [ROLE_USER] = {"<|user|>\n", "", "", CHAT_EOS, "\n", NULL},
                 [ROLE_ASSISTANT] = {"<|assistant|>\n", "", "", CHAT_EOS, "\n", NULL}},
        .generation = "<|assistant|>\n",
    },
    {
        .name = "Alpaca",
        .format = CHAT_ALPACA,
        .has = {"### Instruction:", "### Response:"},
        .role = {[ROLE_SYSTEM] = {"", "", "", "", "", NULL},
                 [ROLE_USER] = {"\n\n### Instruction:\n", "", "", "", "", NULL},
                 [ROLE_ASSISTANT] = {"\n\n### Response:\n", "", "", CHAT_EOS, "", NULL}},
        .generation = "\n\n### Response:\n",
        .default_system = ALPACA_PREAMBLE,
    },
};
const size_t chat_n_variants = sizeof chat_variants / sizeof *chat_variants;
