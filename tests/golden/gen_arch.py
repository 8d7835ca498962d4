"""Random models of every family with what transformers, PEFT and bitsandbytes compute for them: see README.md.

    gen_arch.py OUT_DIR [NAME ...]

Small on purpose: one layer where only RoPE or a bias differs, more where layers differ from each other. CPU, float32,
eager attention."""
import json
import math
import pathlib
import shutil
import sys

import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

from gen_tiny import (LINEAR, NF4, bf16_exact, load_with_lora, make_batch, rewrite_json, save_adapter, train,
                      write_expected)

SEED, LENGTH, VOCAB, WINDOW = 5, 24, 96, 7
# Where the first draw gives gradients so near zero that Adam, which divides by their size, makes of the last bit a step.
OTHER_DRAW = {'smollm3-window': 200}
FULL, SLIDING = 'full_attention', 'sliding_attention'
COMMON = dict(vocab_size=VOCAB, max_position_embeddings=512, bos_token_id=1, eos_token_id=2, pad_token_id=0,
              rms_norm_eps=1e-5, num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=False)
# Families with a head size of their own have more than hidden_size / heads, the others just that.
FREE = dict(hidden_size=32, intermediate_size=48, head_dim=16)
SQUARE = dict(hidden_size=48, intermediate_size=40, num_attention_heads=3, num_key_value_heads=1)
ONE, TWO = dict(num_hidden_layers=1), dict(num_hidden_layers=2)
TIED = dict(tie_word_embeddings=True)
YARN = dict(rope_type='yarn', rope_theta=10000.0, factor=4.0, original_max_position_embeddings=64)
LONG = dict(rope_type='longrope', rope_theta=10000.0, partial_rotary_factor=0.75,
            short_factor=[1.0 + 0.15 * i for i in range(6)], long_factor=[1.5 + 0.8 * i for i in range(6)])


def rope(kind, **values):
    return dict(rope_parameters=dict(rope_type=kind, rope_theta=values.pop('rope_theta', 10000.0), **values))


GEMMA3 = FREE | TIED | dict(query_pre_attn_scalar=20, sliding_window=WINDOW, rope_parameters={
    FULL: dict(rope_type='linear', rope_theta=1000000.0, factor=8.0),
    SLIDING: dict(rope_type='default', rope_theta=10000.0)})
MINISTRAL3 = FREE | TIED | rope(
    'yarn', rope_theta=1000.0, factor=16.0, original_max_position_embeddings=16, max_position_embeddings=512,
    beta_fast=32.0, beta_slow=1.0, mscale=1.0, mscale_all_dim=1.0, llama_4_scaling_beta=0.1)

# Family, its values, and how the same is said in a config of Transformers 4 where v4_config() does not see it:
# keys to change, None: to leave out.
MODELS = {
    'llama-rope-linear': ('Llama', ONE | FREE | rope('linear', factor=4.0), {}),
    'llama-rope-llama3': ('Llama', ONE | FREE | TIED | rope(
        'llama3', factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64), {}),
    # In the 4.x form the original length is at top level, and wins.
    'llama-rope-yarn': ('Llama', ONE | FREE | dict(rope_parameters=YARN), dict(
        original_max_position_embeddings=64, rope_scaling=dict(type='yarn', factor=4.0))),
    'llama-rope-yarn-mscale': ('Llama', ONE | FREE | dict(
        rope_parameters=YARN | dict(factor=8.0, mscale=0.7, mscale_all_dim=0.3, beta_fast=2.0, beta_slow=0.25)), {}),
    'llama-rope-yarn-untruncated': ('Llama', ONE | FREE | TIED | dict(
        rope_parameters=YARN | dict(truncate=False, attention_factor=0.8)), {}),
    'llama-attention-bias': ('Llama', ONE | FREE | dict(attention_bias=True), {}),
    'llama-mlp-bias': ('Llama', ONE | FREE | TIED | dict(mlp_bias=True), {}),
    'llama-all-bias': ('Llama', TWO | FREE | dict(attention_bias=True, mlp_bias=True), {}),
    'mistral-window': ('Mistral', TWO | FREE | dict(sliding_window=WINDOW), {}),
    'ministral3-yarn': ('Ministral3', TWO | MINISTRAL3, {}),
    'qwen2-bias': ('Qwen2', TWO | SQUARE | TIED | rope('default', rope_theta=1000000.0), {}),
    'qwen2-window-yarn': ('Qwen2', TWO | SQUARE | dict(use_sliding_window=True, sliding_window=WINDOW,
                                                       max_window_layers=1, rope_parameters=YARN),
                          dict(layer_types=None)),
    'qwen3-qknorm': ('Qwen3', TWO | FREE | TIED | rope('default', rope_theta=1000000.0), {}),
    'qwen3-attention-bias': ('Qwen3', ONE | FREE | dict(attention_bias=True), {}),
    'smollm3-nope': ('SmolLM3', SQUARE | TIED | dict(num_hidden_layers=4, intermediate_size=32),
                     dict(no_rope_layers=None, layer_types=None)),
    'smollm3-window': ('SmolLM3', TWO | SQUARE | TIED | dict(no_rope_layer_interval=2, use_sliding_window=True,
                                                             sliding_window=WINDOW),
                       dict(no_rope_layers=None, layer_types=None)),
    'gemma-scaled': ('Gemma', TWO | FREE | TIED | dict(num_key_value_heads=1), dict(hidden_act='gelu')),
    'gemma2-softcap': ('Gemma2', TWO | FREE | TIED | dict(
        query_pre_attn_scalar=16, sliding_window=WINDOW, attn_logit_softcapping=5.0, final_logit_softcapping=3.0),
        dict(layer_types=None)),
    'gemma3-local-global': ('Gemma3', GEMMA3 | dict(num_hidden_layers=3, layer_types=[SLIDING, SLIDING, FULL],
                                                   query_pre_attn_scalar=16),    # what a GGUF implies
                            dict(layer_types=None, _sliding_window_pattern=None, sliding_window_pattern=3)),
    'phi3-fused': ('Phi3', TWO | SQUARE | dict(sliding_window=WINDOW), {}),
    'phi3-longrope-short': ('Phi3', ONE | SQUARE | TIED | dict(
        max_position_embeddings=1024, original_max_position_embeddings=256,
        rope_parameters=LONG | dict(original_max_position_embeddings=256)), {}),
    'phi3-longrope-long': ('Phi3', ONE | SQUARE | TIED | dict(
        original_max_position_embeddings=16, rope_parameters=LONG | dict(original_max_position_embeddings=16)),
        dict(rope_scaling=dict(type='su', short_factor=LONG['short_factor'], long_factor=LONG['long_factor']))),
    'granite-scales': ('Granite', TWO | SQUARE | TIED | dict(
        embedding_multiplier=6.0, logits_scaling=3.0, residual_multiplier=0.4, attention_multiplier=0.1), {}),
    'olmo2-postnorm': ('Olmo2', TWO | SQUARE, {}),
    'olmo3-sliding-yarn': ('Olmo3', SQUARE | dict(num_hidden_layers=4, intermediate_size=32, sliding_window=WINDOW,
                                                  rope_parameters={
        FULL: YARN | dict(rope_theta=500000.0), SLIDING: dict(rope_type='default', rope_theta=500000.0)}),
        dict(layer_types=None)),
    'glm4-sandwich-partial': ('Glm4', TWO | FREE | rope('default', partial_rotary_factor=0.5), {}),
    'exaone4-hybrid': ('Exaone4', TWO | SQUARE | TIED | dict(sliding_window=WINDOW, sliding_window_pattern=2,
                                                             layer_types=[SLIDING, FULL]),
                       dict(layer_types=None, sliding_window_pattern='LG')),
    # Dropouts are not applied; the reference trains without them.
    'seedoss-bias': ('SeedOss', TWO | FREE | dict(attention_dropout=0.0, residual_dropout=0.0),
                     dict(attention_dropout=0.1, residual_dropout=0.1)),
    'ernie45-interleaved': ('Ernie4_5', TWO | FREE | TIED, dict(    # whose values these are by default
        rope_theta=None, rms_norm_eps=None, num_key_value_heads=None, tie_word_embeddings=None)),
    'ernie45-bias': ('Ernie4_5', ONE | FREE | dict(use_bias=True), {}),
    'gemma3-vl': ('Gemma3', TWO | GEMMA3 | dict(layer_types=[SLIDING, FULL]),
                  dict(layer_types=None, _sliding_window_pattern=None, sliding_window_pattern=2)),
    'mistral3-vl': ('Mistral', TWO | FREE | dict(sliding_window=None), {}),
    'ministral3-vl': ('Ministral3', TWO | MINISTRAL3, {}),
}
# Saved in bitsandbytes' 4 bits too: where names or fused rows differ.
BNB4 = ('llama-all-bias', 'qwen3-qknorm', 'gemma2-softcap', 'phi3-fused', 'olmo2-postnorm', 'glm4-sandwich-partial',
        'gemma3-vl')
PLUS_ONE = ('Gemma', 'Gemma2', 'Gemma3')    # norms multiply by 1 + w

TOWER = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2, image_size=16,
             patch_size=8)
IMAGE_IDS = dict(image_token_index=VOCAB - 1)
WRAPPERS = {
    'gemma3-vl': ('Gemma3', dict(vision_config=dict(model_type='siglip_vision_model', **TOWER), mm_tokens_per_image=4,
                                 boi_token_index=VOCAB - 2, eoi_token_index=VOCAB - 3, **IMAGE_IDS)),
    'mistral3-vl': ('Mistral3', dict(vision_config=dict(model_type='pixtral', head_dim=8, **TOWER), **IMAGE_IDS)),
    'ministral3-vl': ('Mistral3', dict(vision_config=dict(model_type='pixtral', head_dim=8, **TOWER), **IMAGE_IDS)),
}
# Adapters of a wrapper leave its tower alone: the modules by full name, or by a pattern.
PATTERN = {'mistral3-vl': r'.*\.language_model\..*\.(' + '|'.join(LINEAR) + ')'}
# Where the files say `model.language_model.` and not, as this transformers writes, `language_model.model.`.
INNER_PREFIX = ('ministral3-vl',)


def make_config(name, family, values):
    text = 'Gemma3TextConfig' if family == 'Gemma3' else family + 'Config'
    config = getattr(transformers, text)(**COMMON | values)
    if name not in WRAPPERS:
        return config, getattr(transformers, family + 'ForCausalLM')
    wrapper, options = WRAPPERS[name]
    outer = getattr(transformers, wrapper + 'Config')(text_config=config.to_dict(), **options,
                                                      tie_word_embeddings=config.tie_word_embeddings)
    return outer, getattr(transformers, wrapper + 'ForConditionalGeneration')


def initial(name, p, tied, plus_one, g):
    x = torch.randn(p.shape, generator=g)
    if 'norm' in name and not name.endswith('bias'):
        return 0.1 * x if plus_one and 'vision' not in name else 1 + 0.1 * x
    if name.endswith('bias'):
        return 0.2 * x
    if 'embed_tokens' in name:
        return x * (0.12 if tied else 0.8)
    return x * (1.5 / math.sqrt(p.shape[-1]))


def make_model(name, cls, config, family, g, out):
    model = cls(config).to(torch.float32)
    with torch.no_grad():
        for key, p in model.named_parameters():
            p.copy_(bf16_exact(initial(key, p, config.tie_word_embeddings, family in PLUS_ONE, g)))
    model.to(torch.bfloat16).save_pretrained(out)
    if name in INNER_PREFIX:
        rename(out / 'model.safetensors')
    rewrite_json(out / 'config.json', dtype='bfloat16')


def rename(path):
    def inner(key):
        for old, new in (('language_model.model.', 'model.language_model.'), ('language_model.lm_head', 'lm_head'),
                         ('vision_tower', 'model.vision_tower'), ('multi_modal', 'model.multi_modal')):
            if key.startswith(old):
                return new + key[len(old):]
        return key
    save_file({inner(k): v for k, v in load_file(path).items()}, path, metadata={'format': 'pt'})


def v4_rope(config):
    """The RoPE keys of Transformers 4 for rope_parameters."""
    rope = config.pop('rope_parameters')
    keys = {}
    if FULL in rope:    # two sets: rope_scaling is of the full layers only
        if rope[SLIDING]['rope_theta'] != rope[FULL]['rope_theta']:
            keys['rope_local_base_freq'] = rope[SLIDING]['rope_theta']
        rope = rope[FULL]
    rope = dict(rope)
    keys['rope_theta'] = rope.pop('rope_theta')
    if 'partial_rotary_factor' in rope:
        keys['partial_rotary_factor'] = rope.pop('partial_rotary_factor')
    if config.get('original_max_position_embeddings'):
        rope.pop('original_max_position_embeddings', None)
    return keys | {'rope_scaling': rope if rope['rope_type'] != 'default' else None}


def v4_config(config, changes):
    """The same model in a config of Transformers 4."""
    config = dict(config)
    config['torch_dtype'] = config.pop('dtype', 'bfloat16')
    config['transformers_version'] = '4.51.0'
    if 'text_config' in config:
        return config | {'text_config': v4_config(config['text_config'], changes)}
    config |= v4_rope(config) | changes
    return {k: v for k, v in config.items() if v is not None or k in ('rope_scaling', 'sliding_window')}


def lora_targets(name, model):
    if name not in WRAPPERS:
        return 'all-linear'
    return PATTERN.get(name) or [k for k, m in model.named_modules()
                                 if 'language_model' in k and isinstance(m, torch.nn.Linear)]


def generate(name, out):
    family, values, v4 = MODELS[name]
    config, cls = make_config(name, family, values)
    seed = SEED + sum(map(ord, name)) + OTHER_DRAW.get(name, 0)
    g = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    shutil.rmtree(out, ignore_errors=True)
    make_model(name, cls, config, family, g, out)
    saved = json.loads((out / 'config.json').read_text())
    (out / 'config_v4.json').write_text(json.dumps(v4_config(saved, v4), indent=1))
    auto = AutoModelForImageTextToText if name in WRAPPERS else AutoModelForCausalLM
    if name in BNB4:
        auto.from_pretrained(out, quantization_config=NF4, dtype=torch.bfloat16,
                             device_map={'': 'cpu'}).save_pretrained(out / 'bnb4')
    ids, labels = make_batch(VOCAB - 3, LENGTH, g)
    inputs = {'token_type_ids': torch.zeros_like(ids)} if name == 'gemma3-vl' else {}
    targets = lora_targets(name, cls(config))
    expected, meta = {}, {}
    for mode in ('fp32', 'nf4'):
        model, lora = load_with_lora(out, mode == 'nf4', targets, auto)
        if mode == 'fp32':
            save_adapter(model, out / 'adapter')
        values, meta[mode] = train(model, lora, ids, labels, **inputs)
        # loss6 and grad_norm6 tell as much of the later steps as a second set of tensors would.
        expected |= {f"{mode}.{k.replace('language_model.', '')}": v for k, v in values.items() if 'after6' not in k}
    write_expected(out, ids, labels, expected, meta)
    for path in out.rglob('generation_config.json'):
        path.unlink()
    print(f"{name}: loss {meta['fp32']['loss6'][0]:.4f} to {meta['fp32']['loss6'][-1]:.4f}, "
          f"nf4 {meta['nf4']['loss6'][0]:.4f}, {sum(p.stat().st_size for p in out.rglob('*') if p.is_file())} bytes",
          flush=True)


if __name__ == '__main__':
    for name in sys.argv[2:] or MODELS:
        generate(name, pathlib.Path(sys.argv[1]) / name)
