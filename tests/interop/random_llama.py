#!/usr/bin/env python3
"""Writes a Hugging Face directory of the shape of TinyLlama-1.1B with random BF16 weights: random_llama.py DIR."""

import sys

import torch
from transformers import LlamaConfig, LlamaForCausalLM


def main():
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    model = LlamaForCausalLM(LlamaConfig(hidden_size=2048, intermediate_size=5632, num_hidden_layers=22,
                                         num_attention_heads=32, num_key_value_heads=4, vocab_size=32000,
                                         max_position_embeddings=2048, rms_norm_eps=1e-5, tie_word_embeddings=False))
    model.save_pretrained(sys.argv[1])


if __name__ == "__main__":
    main()
