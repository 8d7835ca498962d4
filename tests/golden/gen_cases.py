"""Checkpoints and adapters in the forms that other programs leave, with what transformers, PEFT and bitsandbytes compute
for them: see README.md.

    gen_cases.py OUT_DIR

CPU, float32, eager attention. One small Llama, whose blocks of 64 cross rows."""
import copy
import json
import math
import pathlib
import shutil
import sys

import bitsandbytes
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, LlamaConfig, LlamaForCausalLM

from gen_tiny import bf16_exact, dequantize_linears, make_batch, rewrite_json

SEED, VOCAB, LENGTH = 23, 96, 24
CONFIG = LlamaConfig(vocab_size=VOCAB, hidden_size=48, intermediate_size=40, num_hidden_layers=2, num_attention_heads=3,
                     num_key_value_heads=1, max_position_embeddings=512, bos_token_id=1, eos_token_id=2, pad_token_id=0,
                     rms_norm_eps=1e-5, tie_word_embeddings=True, rope_theta=10000.0)
TYPES = {'bf16': torch.bfloat16, 'f16': torch.float16, 'f32': torch.float32}
# Beside the head, which transformers leaves by itself.
SKIPPED = ['lm_head', 'model.layers.0.self_attn', 'model.layers.1.mlp.down_proj']
# What PEFT is asked for, and what stands in the file where that is not what PEFT writes.
ADAPTERS = {
    'all-linear': (dict(r=2, lora_alpha=6, target_modules='all-linear'), dict(target_modules='all-linear')),
    'full-names': (dict(r=2, lora_alpha=6, target_modules='all-linear'), {}),
    'pattern': (dict(r=3, lora_alpha=4, target_modules=r'.*\.(self_attn\.(q|v)|mlp\.down)_proj', use_rslora=True), {}),
    'some-layers': (dict(r=2, lora_alpha=3, target_modules=['k_proj', 'o_proj', 'up_proj'], layers_to_transform=[1]), {}),
    'dotted-names': (dict(r=2, lora_alpha=5, target_modules=['self_attn.q_proj', '0.mlp.gate_proj']), {}),
    'defaults': (dict(target_modules=['q_proj']), dict(r=None, lora_alpha=None)),    # r and alpha are 8
}


def make_weights():
    """Values that neither BF16 nor F16 holds."""
    g = torch.Generator().manual_seed(SEED)
    model = LlamaForCausalLM(CONFIG).to(torch.float32)
    with torch.no_grad():
        for name, p in model.named_parameters():
            x = torch.randn(p.shape, generator=g)
            p.copy_(1 + 0.1 * x if 'norm' in name else x * (0.12 if 'embed' in name else 1.5 / math.sqrt(p.shape[-1])))
    return model, g


def save(model, out):
    model.save_pretrained(out)
    (out / 'generation_config.json').unlink(missing_ok=True)


def quantize(path, out, dtype, skipped=None):
    """With the type of the file: bitsandbytes quantizes its exact values."""
    config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type='nf4', bnb_4bit_use_double_quant=True,
                                bnb_4bit_compute_dtype=torch.float32, llm_int8_skip_modules=skipped)
    save(AutoModelForCausalLM.from_pretrained(path, quantization_config=config, dtype=dtype, device_map={'': 'cpu'}),
         out)


def load(path, held=lambda model: model):
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, device_map={'': 'cpu'},
                                                 attn_implementation='eager')
    for module in model.modules():
        if isinstance(module, bitsandbytes.nn.Linear4bit):    # exact, not rounded to what the weight was made from
            module.weight.quant_state.dtype = torch.float32
    held(model)
    dequantize_linears(model)
    return torch.nn.Module.float(model)    # the model's own refuses, though what is left is plain


def held_in_bf16(model):
    """What is not quantized is held in 16 bits: matrices of F32 are rounded."""
    linear = [n for n, m in model.named_modules() if isinstance(m, bitsandbytes.nn.Linear4bit)]
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.dim() == 2 and not any(name.startswith(n) for n in linear):
                p.copy_(bf16_exact(p))
    return model


def loss(model, ids, labels):
    """Of all trained tokens, as `eval` counts them."""
    with torch.no_grad():
        logits = model(input_ids=ids).logits.double()
    return torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten()).item()


def make_adapter(name, base, out, g):
    options, changes = ADAPTERS[name]
    model = get_peft_model(load(base), LoraConfig(task_type='CAUSAL_LM', **options))
    with torch.no_grad():
        for key, p in sorted(model.named_parameters()):
            if p.requires_grad:
                p.copy_(bf16_exact(torch.randn(p.shape, generator=g) * 0.3))
    model.to(torch.bfloat16).save_pretrained(out)
    config = json.loads((out / 'adapter_config.json').read_text())
    targets = config['target_modules']
    config |= dict(base_model_name_or_path='../bf16', target_modules=targets if isinstance(targets, str) else sorted(targets))
    config = {k: v for k, v in (config | changes).items() if k not in changes or changes[k] is not None}
    (out / 'adapter_config.json').write_text(json.dumps(config, indent=1))
    (out / 'README.md').unlink(missing_ok=True)


def main(out):
    torch.manual_seed(SEED)
    shutil.rmtree(out, ignore_errors=True)
    model, g = make_weights()
    ids, labels = make_batch(VOCAB, LENGTH, g)
    losses = {}
    for name, dtype in TYPES.items():
        save(copy.deepcopy(model).to(dtype), out / name)
    for name in ('f16', 'f32'):
        quantize(out / name, out / name / 'bnb4', TYPES[name])
    quantize(out / 'bf16', out / 'mixed-4bit', torch.bfloat16, SKIPPED)
    for name in (*TYPES, 'f16/bnb4', 'f32/bnb4', 'mixed-4bit'):
        losses[name] = loss(load(out / name), ids, labels)
    for name in ('f32', 'f32/bnb4'):
        losses[f'{name} held in bf16'] = loss(load(out / name, held_in_bf16), ids, labels)
    for name in ADAPTERS:
        make_adapter(name, out / 'bf16', out / name, g)
        for base in ('bf16', 'mixed-4bit'):
            losses[f'{base} + {name}'] = loss(PeftModel.from_pretrained(load(out / base), out / name), ids, labels)
    (out / 'losses.json').write_text(json.dumps(losses, indent=1))
    (out / 'batch.jsonl').write_text(''.join(
        json.dumps({'input_ids': i, 'labels': l}, separators=(',', ':')) + '\n'
        for i, l in zip(ids.tolist(), labels.tolist())))


if __name__ == '__main__':
    main(pathlib.Path(sys.argv[1]))
