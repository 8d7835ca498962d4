"""Saves models of a directory made by gen_tiny.py as bitsandbytes 4-bit checkpoints inside them.

    gen_bnb4.py DIR

bnb4/: NF4 with double quantization, of every model. bnb4-fp4/: FP4, fp32 constants, codes stored as bfloat16, of one."""
import pathlib
import sys

import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

VARIANTS = {
    'bnb4': dict(bnb_4bit_quant_type='nf4', bnb_4bit_use_double_quant=True),
    'bnb4-fp4': dict(bnb_4bit_quant_type='fp4', bnb_4bit_quant_storage=torch.bfloat16),
}
ONLY = {'bnb4-fp4': 'llama-gqa-tied-odd'}

for model in sorted(p.parent for p in pathlib.Path(sys.argv[1]).glob('*/config.json')):
    for variant, options in VARIANTS.items():
        if ONLY.get(variant, model.name) != model.name:
            continue
        config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_compute_dtype=torch.float32, **options)
        AutoModelForCausalLM.from_pretrained(model, quantization_config=config, dtype=torch.bfloat16,
                                             device_map={'': 'cpu'}).save_pretrained(model / variant)
