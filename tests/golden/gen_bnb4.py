"""Saves each model of a directory made by gen_tiny.py as a bitsandbytes 4-bit checkpoint, in its bnb4/.

    gen_bnb4.py DIR"""
import pathlib
import sys

import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type='nf4', bnb_4bit_use_double_quant=True,
                            bnb_4bit_compute_dtype=torch.float32)
for model in sorted(p.parent for p in pathlib.Path(sys.argv[1]).glob('*/config.json')):
    AutoModelForCausalLM.from_pretrained(model, quantization_config=config, dtype=torch.bfloat16,
                                         device_map={'': 'cpu'}).save_pretrained(model / 'bnb4')
