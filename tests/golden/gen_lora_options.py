"""Adapters configured in the ways that PEFT knows, and what transformers and PEFT compute with them: see README.md.

    gen_lora_options.py OUT_DIR

CPU, float32, eager attention."""
import json
import pathlib
import sys

import torch
from peft import LoraConfig, get_peft_model
from peft.optimizers import create_loraplus_optimizer
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

import gen_tiny

SEED = 29
LENGTH = 12
MODELS = {name: LlamaConfig(
    vocab_size=56, hidden_size=32, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=64, bos_token_id=1, eos_token_id=2, pad_token_id=0,
    rms_norm_eps=1e-5, rope_theta=10000.0, tie_word_embeddings=tied) for name, tied in (('untied', False), ('tied', True))}
SEVEN = ['q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj', 'up_proj', 'down_proj']
# name: (model, members of adapter_config.json, learning rate of B over that of A)
CASES = {
    'regex': ('untied', dict(
        r=4, lora_alpha=8, target_modules=r'model\.layers\.\d+\.(self_attn\.(q|v)_proj|mlp\.(gate|down)_proj)',
        exclude_modules=['1.mlp.down_proj', 'o_proj']), 1),
    'layers': ('untied', dict(
        r=4, lora_alpha=8, target_modules=['q_proj', 'self_attn.k_proj', 'o_proj', 'up_proj'],
        exclude_modules=r'.*\.k_.*', layers_to_transform=[1]), 1),
    'patterns': ('untied', dict(
        r=4, lora_alpha=8, target_modules=SEVEN, use_rslora=True,
        rank_pattern={r'layers\.0\.self_attn\.q_proj': 2, r'self_attn\.(q|k)_proj': 6, 'down_proj': 1},
        # In the order that PEFT sorts them into when it saves: else it would load another adapter than it trained.
        alpha_pattern={r'1\.mlp\.up_proj': 7, r'mlp\..*': 3, 'v_proj': 12.5}), 1),
    'loraplus': ('untied', dict(r=4, lora_alpha=8, target_modules=['q_proj', 'v_proj', 'down_proj']), 16),
    'head': ('untied', dict(
        r=4, lora_alpha=8, target_modules=['q_proj', 'lm_head'], rank_pattern={'lm_head': 6}), 1),
    'head-tied': ('tied', dict(r=4, lora_alpha=8, target_modules=['lm_head', 'v_proj']), 1),
}


def with_adapter(base, members, seed):
    model = get_peft_model(base, LoraConfig(task_type='CAUSAL_LM', lora_dropout=0.0, **members))
    lora = {k: p for k, p in model.named_parameters() if p.requires_grad}
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for k in sorted(lora):
            lora[k].copy_(gen_tiny.bf16_exact(torch.randn(lora[k].shape, generator=g) * 0.1))
    return model, lora


def short(name):
    return name.removeprefix('base_model.model.').removeprefix('model.').replace('.default', '')


def train(model, lora, ids, labels, ratio):
    """Logits and gradients of the first step; losses and gradient norms of six."""
    model.train()
    o = model(input_ids=ids, labels=labels)
    o.loss.backward()
    values = {'fp32.logits': o.logits.detach().clone()}
    values |= {f'fp32.grad.{short(k)}': p.grad.detach().clone() for k, p in lora.items()}
    settings = dict(betas=(0.9, 0.999), eps=1e-8)
    if ratio == 1:
        opt = torch.optim.AdamW(list(lora.values()), lr=5e-3, weight_decay=0.01, **settings)
    else:
        opt = create_loraplus_optimizer(model, torch.optim.AdamW, lr=1e-3, loraplus_lr_ratio=ratio,
                                        loraplus_weight_decay=0.01, **settings)
    steps = {'loss6': [], 'grad_norm6': []}
    for _ in range(6):
        opt.zero_grad()
        o = model(input_ids=ids, labels=labels)
        o.loss.backward()
        steps['grad_norm6'].append(float(torch.nn.utils.clip_grad_norm_(list(lora.values()), 0.3)))
        opt.step()
        steps['loss6'].append(o.loss.item())
    if ratio != 1:
        values |= {f'fp32.after6.{short(k)}': p.detach().clone() for k, p in lora.items()}
    return values, steps


def generate(out):
    for name, cfg in MODELS.items():
        g = torch.Generator().manual_seed(SEED)
        gen_tiny.make_model(LlamaForCausalLM, cfg, g, out / name)
    for i, (name, (model_name, members, ratio)) in enumerate(CASES.items()):
        base = AutoModelForCausalLM.from_pretrained(out / model_name, dtype=torch.float32, attn_implementation='eager')
        given = json.loads(json.dumps(members)) # PEFT makes a set of the targets
        model, lora = with_adapter(base, members, SEED + i)
        (out / name).mkdir(parents=True, exist_ok=True)
        gen_tiny.save_adapter(model, out / name / 'adapter')
        ids, labels = gen_tiny.make_batch(cfg.vocab_size, LENGTH, torch.Generator().manual_seed(SEED + 100))
        values, steps = train(model, lora, ids, labels, ratio)
        gen_tiny.write_expected(out / name, ids, labels, values, {'fp32': steps})
        meta = json.loads((out / name / 'expected.json').read_text())
        del meta['r'], meta['alpha']
        meta |= {'model': model_name, 'lora': given, 'loraplus_lr_ratio': ratio, 'lr': 5e-3 if ratio == 1 else 1e-3}
        meta['optimizer'] = meta['optimizer'].replace('lr 5e-3 ', '')
        (out / name / 'expected.json').write_text(json.dumps(meta, indent=1))
        (out / name / 'batch.jsonl').unlink()


if __name__ == '__main__':
    generate(pathlib.Path(sys.argv[1]))
