"""The models of gen_arch.py as GGUF files, as llama.cpp's converter writes them: see README.md.

    gen_arch_gguf.py ARCH_DIR OUT_DIR [--f32] [NAME ...]

Matrices in BF16 (--f32: in F32, which llama.cpp computes with exactly), norms and biases in F32. No vocabulary."""
import argparse
import json
import math
import pathlib

import gguf
import numpy as np
from safetensors.torch import load_file

# Whose GGUF says all that its config does; llama.cpp's name of the architecture.
MODELS = {
    'llama-rope-linear': 'llama', 'llama-rope-llama3': 'llama', 'llama-rope-yarn': 'llama', 'llama-all-bias': 'llama',
    'ministral3-yarn': 'mistral3', 'qwen2-bias': 'qwen2', 'qwen3-qknorm': 'qwen3', 'smollm3-nope': 'smollm3',
    'gemma-scaled': 'gemma', 'gemma2-softcap': 'gemma2', 'gemma3-local-global': 'gemma3', 'phi3-fused': 'phi3',
    'phi3-longrope-short': 'phi3', 'phi3-longrope-long': 'phi3', 'granite-scales': 'granite', 'olmo2-postnorm': 'olmo2',
    'olmo3-sliding-yarn': 'olmo2', 'glm4-sandwich-partial': 'glm4', 'exaone4-hybrid': 'exaone4',
    'seedoss-bias': 'seed_oss', 'ernie45-interleaved': 'ernie4_5',
}
PERMUTED = ('llama', 'mistral3', 'granite', 'smollm3')
PLUS_ONE = ('gemma', 'gemma2', 'gemma3')    # the file holds 1 + w
BLOCK = {
    'input_layernorm': 'attn_norm', 'post_attention_layernorm': 'ffn_norm', 'self_attn.q_proj': 'attn_q',
    'self_attn.k_proj': 'attn_k', 'self_attn.v_proj': 'attn_v', 'self_attn.qkv_proj': 'attn_qkv',
    'self_attn.o_proj': 'attn_output', 'self_attn.q_norm': 'attn_q_norm', 'self_attn.k_norm': 'attn_k_norm',
    'mlp.gate_proj': 'ffn_gate', 'mlp.up_proj': 'ffn_up', 'mlp.gate_up_proj': 'ffn_up', 'mlp.down_proj': 'ffn_down',
}
FOUR = {'post_attention_layernorm': 'post_attention_norm', 'pre_feedforward_layernorm': 'ffn_norm',
        'post_feedforward_layernorm': 'post_ffw_norm'}
BLOCK_OF = {
    'gemma2': BLOCK | FOUR, 'gemma3': BLOCK | FOUR, 'olmo2': BLOCK | FOUR, 'exaone4': BLOCK | FOUR,
    'glm4': BLOCK | {'post_self_attn_layernorm': 'post_attention_norm', 'post_mlp_layernorm': 'post_ffw_norm'},
    'seed_oss': BLOCK | {'post_attention_layernorm': 'post_attention_norm'},
}
TOP = {'model.embed_tokens': 'token_embd', 'model.norm': 'output_norm', 'lm_head': 'output'}
FULL, SLIDING = 'full_attention', 'sliding_attention'


def gguf_name(name, arch):
    module, kind = name.rsplit('.', 1)
    if module in TOP:
        return f'{TOP[module]}.{kind}'
    _, _, layer, rest = module.split('.', 3)
    return f'blk.{layer}.{BLOCK_OF.get(arch, BLOCK)[rest]}.{kind}'


def permute(x, heads):
    """Puts the two rows of a rotary pair, in each head half of it apart, next to each other."""
    return x.reshape(heads, 2, x.shape[0] // heads // 2, *x.shape[1:]).swapaxes(1, 2).reshape(x.shape)


def heads_of(c):
    return {'q_proj': c['num_attention_heads'], 'k_proj': c['num_key_value_heads']}


def add_tensors(w, arch, c, tensors, f32):
    for name, t in tensors.items():
        x = t.float().numpy()
        heads = heads_of(c).get(name.split('.')[-2])
        if heads and arch in PERMUTED:
            x = permute(x, heads)
        if 'norm' in name and arch in PLUS_ONE:
            x = x + np.float32(1)
        kind = gguf.GGMLQuantizationType.F32 if f32 or x.ndim == 1 else gguf.GGMLQuantizationType.BF16
        w.add_tensor(gguf_name(name, arch), gguf.quants.quantize(np.ascontiguousarray(x), kind), raw_dtype=kind)


def add_sizes(w, c):
    w.add_context_length(c['max_position_embeddings'])
    w.add_embedding_length(c['hidden_size'])
    w.add_block_count(c['num_hidden_layers'])
    w.add_feed_forward_length(c['intermediate_size'])
    w.add_head_count(c['num_attention_heads'])
    w.add_head_count_kv(c['num_key_value_heads'])
    w.add_layer_norm_rms_eps(c['rms_norm_eps'])
    w.add_vocab_size(c['vocab_size'])
    if c.get('head_dim'):
        w.add_key_length(c['head_dim'])
        w.add_value_length(c['head_dim'])


def add_window(w, arch, c):
    if not c.get('sliding_window') or arch not in ('gemma2', 'gemma3', 'phi3', 'olmo2', 'exaone4'):
        return
    w.add_sliding_window(c['sliding_window'])
    if arch == 'gemma3':
        w.add_sliding_window_pattern(c['layer_types'].index(FULL) + 1)
    elif arch in ('olmo2', 'exaone4'):
        w.add_sliding_window_pattern([t == SLIDING for t in c['layer_types']])


def llama3_factors(rope, dim):
    old, low, high = (rope[k] for k in ('original_max_position_embeddings', 'low_freq_factor', 'high_freq_factor'))
    factors = []
    for i in range(0, dim, 2):
        wavelength = 2 * math.pi * rope['rope_theta'] ** (i / dim)
        t = (old / wavelength - low) / (high - low)
        factors.append(1.0 if t > 1 else rope['factor'] if t < 0 else 1 / ((1 - t) / rope['factor'] + t))
    return np.array(factors, dtype=np.float32)


def add_longrope(w, c, rope):
    scale = c['max_position_embeddings'] / c['original_max_position_embeddings']
    w.add_rope_scaling_orig_ctx_len(c['original_max_position_embeddings'])
    w.add_rope_scaling_attn_factors(math.sqrt(1 + math.log(scale) / math.log(c['original_max_position_embeddings'])))
    for length in ('long', 'short'):
        w.add_tensor(f'rope_factors_{length}.weight', np.array(rope[f'{length}_factor'], dtype=np.float32))


def add_yarn(w, arch, rope):
    w.add_rope_scaling_type(gguf.RopeScalingType.YARN)
    w.add_rope_scaling_factor(rope['factor'])
    w.add_rope_scaling_orig_ctx_len(rope['original_max_position_embeddings'])
    if arch == 'mistral3':
        w.add_rope_scaling_yarn_beta_fast(rope['beta_fast'])
        w.add_rope_scaling_yarn_beta_slow(rope['beta_slow'])
        w.add_rope_scaling_yarn_log_mul(rope['mscale_all_dim'])
        w.add_attn_temperature_scale(rope['llama_4_scaling_beta'])


def add_rope(w, arch, c):
    rope = c['rope_parameters']
    if FULL in rope:
        if arch == 'gemma3':
            w.add_rope_freq_base_swa(rope[SLIDING]['rope_theta'])
        rope = rope[FULL]
    head = c.get('head_dim') or c['hidden_size'] // c['num_attention_heads']
    dim = int(head * rope.get('partial_rotary_factor', 1))
    if arch not in ('gemma', 'gemma2'):
        w.add_rope_freq_base(rope['rope_theta'])
    if arch not in PLUS_ONE:
        w.add_rope_dimension_count(dim)
    if rope['rope_type'] == 'linear':
        w.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        w.add_rope_scaling_factor(rope['factor'])
    elif rope['rope_type'] == 'llama3':
        w.add_tensor('rope_freqs.weight', llama3_factors(rope, dim))
    elif rope['rope_type'] == 'longrope':
        add_longrope(w, c, rope)
    elif rope['rope_type'] == 'yarn':
        add_yarn(w, arch, rope)


def add_scales(w, arch, c):
    if arch == 'granite':
        w.add_attention_scale(c['attention_multiplier'])
        w.add_embedding_scale(c['embedding_multiplier'])
        w.add_residual_scale(c['residual_multiplier'])
        w.add_logit_scale(c['logits_scaling'])
    if arch == 'gemma2':
        w.add_attn_logit_softcapping(c['attn_logit_softcapping'])
        w.add_final_logit_softcapping(c['final_logit_softcapping'])


def convert(source, path, arch, f32=False):
    c = json.loads((source / 'config.json').read_text())
    w = gguf.GGUFWriter(path, arch)
    add_sizes(w, c)
    add_rope(w, arch, c)
    add_window(w, arch, c)
    add_scales(w, arch, c)
    w.add_tokenizer_model('none')
    add_tensors(w, arch, c, load_file(source / 'model.safetensors'), f32)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('arch_dir', type=pathlib.Path)
    parser.add_argument('out_dir', type=pathlib.Path)
    parser.add_argument('names', nargs='*')
    parser.add_argument('--f32', action='store_true')
    args = parser.parse_args()
    args.out_dir.mkdir(parents=True, exist_ok=True)
    for name in args.names or MODELS:
        convert(args.arch_dir / name, args.out_dir / f'{name}.gguf', MODELS[name], args.f32)


if __name__ == '__main__':
    main()
