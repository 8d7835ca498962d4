"""A random llama as a GGUF whose layers are stored in one tensor type each, and what gguf-py reads from it.

    gen_gguf.py OUT_DIR

Layer i has its linear layers in TYPES[i]; norms are F32, the embedding (also the head) is Q8_0. Q and K rows are in
GGUF's order: the two of a rotary pair next to each other. expected.safetensors has, in F32, with Hugging Face names and
row order: q_proj and down_proj of each layer, and the embedding."""
import pathlib
import sys

import gguf
import numpy as np
from safetensors.numpy import save_file

QT = gguf.GGMLQuantizationType
TYPES = [QT.F32, QT.F16, QT.BF16, QT.Q8_0, QT.Q4_0, QT.Q4_1]
HIDDEN, FFN, HEADS, KV_HEADS, HEAD_DIM, VOCAB = 64, 32, 2, 1, 32, 48
LINEAR = {
    'attn_q': (HEADS * HEAD_DIM, HIDDEN), 'attn_k': (KV_HEADS * HEAD_DIM, HIDDEN),
    'attn_v': (KV_HEADS * HEAD_DIM, HIDDEN), 'attn_output': (HIDDEN, HEADS * HEAD_DIM),
    'ffn_gate': (FFN, HIDDEN), 'ffn_up': (FFN, HIDDEN), 'ffn_down': (HIDDEN, FFN),
}
EXPECTED = {'attn_q': 'self_attn.q_proj', 'ffn_down': 'mlp.down_proj'}


def unpermute(w, heads):
    return w.reshape(heads, w.shape[0] // heads // 2, 2, w.shape[1]).swapaxes(1, 2).reshape(w.shape)


def main(out):
    out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(1)
    expected = {}
    w = gguf.GGUFWriter(out / 'mixed.gguf', 'llama')
    w.add_block_count(len(TYPES))
    w.add_context_length(256)
    w.add_embedding_length(HIDDEN)
    w.add_feed_forward_length(FFN)
    w.add_head_count(HEADS)
    w.add_head_count_kv(KV_HEADS)
    w.add_layer_norm_rms_eps(1e-5)
    w.add_rope_freq_base(50000.0)
    w.add_rope_dimension_count(HEAD_DIM)
    w.add_vocab_size(VOCAB)
    w.add_bos_token_id(1)
    w.add_eos_token_id(2)
    w.add_token_list([f'token {i}' for i in range(VOCAB)])
    w.add_token_scores([-0.5 * i for i in range(VOCAB)])

    def add(name, shape, kind, scale=0.1, offset=0.0):
        x = (offset + scale * rng.standard_normal(shape)).astype(np.float32)
        data = gguf.quants.quantize(x, kind)
        w.add_tensor(name, data, raw_dtype=kind)
        return np.ascontiguousarray(gguf.quants.dequantize(data, kind), dtype=np.float32)

    expected['model.embed_tokens.weight'] = add('token_embd.weight', (VOCAB, HIDDEN), QT.Q8_0)
    for i, kind in enumerate(TYPES):
        for norm in ('attn_norm', 'ffn_norm'):
            add(f'blk.{i}.{norm}.weight', (HIDDEN,), QT.F32, offset=1.0)
        for name, shape in LINEAR.items():
            y = add(f'blk.{i}.{name}.weight', shape, kind)
            if name in EXPECTED:
                key = f'model.layers.{i}.{EXPECTED[name]}.weight'
                expected[key] = np.ascontiguousarray(unpermute(y, HEADS)) if name == 'attn_q' else y
    add('output_norm.weight', (HIDDEN,), QT.F32, offset=1.0)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    save_file(expected, out / 'expected.safetensors', metadata={'format': 'pt'})


main(pathlib.Path(sys.argv[1]))
