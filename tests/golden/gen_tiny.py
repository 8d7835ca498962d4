"""Random two-layer models with what transformers, PEFT and bitsandbytes compute for them: see README.md.

    gen_tiny.py OUT_DIR

CPU, float32, eager attention."""
import copy
import importlib
import json
import math
import pathlib
import sys

import bitsandbytes
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, LlamaConfig, LlamaForCausalLM

SEED = 11
RANK, ALPHA = 4, 8
BATCH, LENGTH = 2, 40
LINEAR = ['q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj', 'up_proj', 'down_proj']
NF4 = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type='nf4', bnb_4bit_use_double_quant=True,
                         bnb_4bit_compute_dtype=torch.float32)
COMMON = dict(vocab_size=320, num_hidden_layers=2, max_position_embeddings=512, bos_token_id=1, eos_token_id=2,
              pad_token_id=0, rms_norm_eps=1e-5)
MODELS = {
    'llama-mha': (LlamaForCausalLM, LlamaConfig(
        hidden_size=128, intermediate_size=256, num_attention_heads=4, num_key_value_heads=4,
        tie_word_embeddings=False, rope_theta=10000.0, **COMMON)),
    # No size is a multiple of 64: NF4 blocks cross rows, and the last one may be short.
    'llama-gqa-tied-odd': (LlamaForCausalLM, LlamaConfig(
        hidden_size=96, intermediate_size=200, num_attention_heads=6, num_key_value_heads=2,
        tie_word_embeddings=True, rope_theta=100000.0, **COMMON)),
}


def bf16_exact(t):
    return t.to(torch.bfloat16).float()


def weight_scale(name, p, cfg):
    """Large enough for logits that differ, small enough to train."""
    if 'embed' in name:
        return 0.12 if cfg.tie_word_embeddings else 0.8
    return 1.5 / math.sqrt(p.shape[-1])


def make_model(cls, cfg, g, out):
    model = cls(cfg).to(torch.float32)
    with torch.no_grad():
        for name, p in model.named_parameters():
            x = torch.randn(p.shape, generator=g)
            p.copy_(bf16_exact(1 + 0.1 * x if 'norm' in name else x * weight_scale(name, p, cfg)))
    model.to(torch.bfloat16).save_pretrained(out)
    rewrite_json(out / 'config.json', dtype='bfloat16')


def rewrite_json(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}, indent=1))


def make_batch(vocab, length, g):
    ids = torch.randint(3, vocab, (BATCH, length), generator=g)
    labels = ids.clone()
    labels[0, :length // 3] = -100
    labels[1, :length // 8] = -100
    labels[1, length * 5 // 6:] = -100
    return ids, labels


def dequantize_linears(model):
    """Puts plain fp32 layers with the dequantized weights in the place of Linear4bit, whose CPU kernels take a block that
    crosses rows for another one (bitsandbytes 0.50.2 with AVX-512), and round to BF16 in some cases. As one row a weight
    comes out right."""
    for name, module in list(model.named_modules()):
        if isinstance(module, bitsandbytes.nn.Linear4bit):
            state = copy.copy(module.weight.quant_state)
            shape, state.shape = state.shape, torch.Size([state.shape.numel()])
            plain = torch.nn.Linear(shape[1], shape[0], bias=module.bias is not None)
            plain.weight.data = bitsandbytes.functional.dequantize_4bit(module.weight.data, state).float().view(shape)
            if module.bias is not None:
                plain.bias.data = module.bias.data.float()
            plain.requires_grad_(False)
            model.set_submodule(name, plain)


def load_with_lora(out, nf4, targets, auto=AutoModelForCausalLM):
    """The model in float32, or in NF4 with double quantization, with the same random adapter."""
    base = auto.from_pretrained(out, quantization_config=NF4 if nf4 else None, dtype=torch.float32,
                                device_map={'': 'cpu'}, attn_implementation='eager')
    dequantize_linears(base)
    model = get_peft_model(base, LoraConfig(r=RANK, lora_alpha=ALPHA, lora_dropout=0.0, target_modules=targets,
                                            task_type='CAUSAL_LM'))
    lora = {k: p for k, p in model.named_parameters() if p.requires_grad}
    g = torch.Generator().manual_seed(SEED + 7)
    with torch.no_grad():
        for k in sorted(lora):
            lora[k].copy_(bf16_exact(torch.randn(lora[k].shape, generator=g) * 0.1))
    return model, lora


def save_adapter(model, out):
    model.save_pretrained(out)
    targets = model.peft_config['default'].target_modules
    rewrite_json(out / 'adapter_config.json', base_model_name_or_path='..',
                 target_modules=targets if isinstance(targets, str) else sorted(targets))
    (out / 'README.md').unlink(missing_ok=True)


def short(name):
    return name.replace('base_model.model.model.', '').replace('.default', '')


def train(model, lora, ids, labels, **inputs):
    """Logits, loss and gradients of the first step, the adapter after six steps, their losses and gradient norms."""
    model.train()
    o = model(input_ids=ids, labels=labels, **inputs)
    o.loss.backward()
    values = {'logits': o.logits.detach().float().clone(), 'loss': o.loss.detach().reshape(1).float()}
    values |= {f'grad.{short(k)}': p.grad.detach().float().clone() for k, p in lora.items()}
    opt = torch.optim.AdamW(list(lora.values()), lr=5e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01)
    steps = {'loss6': [], 'grad_norm6': []}
    for _ in range(6):
        opt.zero_grad()
        o = model(input_ids=ids, labels=labels, **inputs)
        o.loss.backward()
        steps['grad_norm6'].append(float(torch.nn.utils.clip_grad_norm_(list(lora.values()), 0.3)))
        opt.step()
        steps['loss6'].append(o.loss.item())
    values |= {f'after6.{short(k)}': p.detach().float().clone() for k, p in lora.items()}
    return values, steps


def write_expected(out, ids, labels, values, meta):
    meta['versions'] = {m: importlib.import_module(m).__version__
                        for m in ('torch', 'transformers', 'peft', 'bitsandbytes')}
    meta['optimizer'] = 'AdamW lr 5e-3 betas 0.9 0.999 eps 1e-8 weight_decay 0.01, clip_grad_norm 0.3, no dropout'
    meta |= {'r': RANK, 'alpha': ALPHA}
    batch = {'input_ids': ids.to(torch.int32), 'labels': labels.to(torch.int32)}
    save_file({k: v.contiguous() for k, v in (batch | values).items()}, out / 'expected.safetensors')
    (out / 'expected.json').write_text(json.dumps(meta, indent=1))
    (out / 'batch.jsonl').write_text(''.join(
        json.dumps({'input_ids': i, 'labels': l}, separators=(',', ':')) + '\n'
        for i, l in zip(ids.tolist(), labels.tolist())))


def generate(name, cls, cfg, out):
    g = torch.Generator().manual_seed(SEED + len(name))
    torch.manual_seed(SEED + len(name))
    make_model(cls, cfg, g, out)
    ids, labels = make_batch(cfg.vocab_size, LENGTH, g)
    expected, meta = {}, {}
    for mode in ('fp32', 'nf4'):
        model, lora = load_with_lora(out, mode == 'nf4', LINEAR)
        if mode == 'fp32':
            save_adapter(model, out / 'adapter')
        values, meta[mode] = train(model, lora, ids, labels)
        expected |= {f'{mode}.{k}': v for k, v in values.items()}
    write_expected(out, ids, labels, expected, meta)


if __name__ == '__main__':
    for name, (cls, cfg) in MODELS.items():
        generate(name, cls, cfg, pathlib.Path(sys.argv[1]) / name)
