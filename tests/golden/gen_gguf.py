"""Small GGUF files, and what gguf-py reads from them.

    gen_gguf.py OUT_DIR

mixed.gguf: a random llama whose layers are stored in one tensor type each.
Layer i has its linear layers in TYPES[i]; norms are F32, the embedding (also the head) is Q8_0. Q and K rows are in
GGUF's order: the two of a rotary pair next to each other. expected.safetensors has, in F32, with Hugging Face names and
row order: q_proj and down_proj of each layer, and the embedding.

types.gguf: a tensor [3,512] of each type that is read, named like it, of random bytes with finite scales, which no
quantizer would choose so widely. types.safetensors has the values.

kquants.gguf: a random llama of one layer as llama.cpp's Q3_K_M writes it, a mix of types; kquants.json has of each
tensor the type and a checksum of its values: the sum of each one's F32 bits times its place (from 1), modulo 2^64."""
import json
import pathlib
import sys
import tempfile

import gguf
import numpy as np
from cyllama.llama import llama_cpp
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
# Where a block has scales in F16.
SCALES = {QT.Q4_0: [0], QT.Q4_1: [0, 2], QT.Q5_0: [0], QT.Q5_1: [0, 2], QT.Q8_0: [0], QT.Q2_K: [80, 82], QT.Q3_K: [108],
          QT.Q4_K: [0, 2], QT.Q5_K: [0, 2], QT.Q6_K: [208], QT.IQ4_NL: [0], QT.IQ4_XS: [0]}
Q3_K_M = 12  # llama.cpp's number of the mix


def unpermute(w, heads):
    return w.reshape(heads, w.shape[0] // heads // 2, 2, w.shape[1]).swapaxes(1, 2).reshape(w.shape)


def finite(bits, exponent):
    """Random bits as they are, but where all bits of the exponent are ones."""
    return np.where(bits & exponent == exponent, bits & ~exponent, bits)


def random_blocks(kind, rows, cols, rng):
    block, size = gguf.GGML_QUANT_SIZES[kind]
    if kind == QT.F32:
        return finite(rng.integers(0, 1 << 32, (rows, cols), dtype=np.uint32), np.uint32(0x7f800000)).view(np.uint8)
    if kind in (QT.F16, QT.BF16):
        exponent = np.uint16(0x7c00 if kind == QT.F16 else 0x7f80)
        return finite(rng.integers(0, 1 << 16, (rows, cols), dtype=np.uint16), exponent).view(np.uint8)
    blocks = rng.integers(0, 256, (rows * cols // block, size), dtype=np.uint8)
    for at in SCALES[kind]:
        scale = finite(rng.integers(0, 1 << 16, (len(blocks), 1), dtype=np.uint16), np.uint16(0x7c00))
        blocks[:, at:at + 2] = scale.view(np.uint8)
    return blocks.reshape(rows, -1)


def write(w):
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def types(out):
    rng, expected = np.random.default_rng(2), {}
    w = gguf.GGUFWriter(out / 'types.gguf', 'llama')
    for kind in [QT.F32, QT.F16, QT.BF16, *SCALES]:
        data = random_blocks(kind, 3, 512, rng)
        w.add_tensor(kind.name, data, raw_dtype=kind)
        expected[kind.name] = np.ascontiguousarray(gguf.quants.dequantize(data, kind), dtype=np.float32)
    write(w)
    save_file(expected, out / 'types.safetensors')


def kquants(out):
    """llama.cpp quantizes a file, so the model is written in F32 first."""
    hidden, ffn, heads, head_dim, vocab = 256, 256, 4, 16, 32
    rng = np.random.default_rng(3)
    with tempfile.TemporaryDirectory() as tmp:
        w = gguf.GGUFWriter(tmp + '/f32.gguf', 'llama')
        w.add_block_count(1)
        w.add_context_length(256)
        w.add_embedding_length(hidden)
        w.add_feed_forward_length(ffn)
        w.add_head_count(heads)
        w.add_key_length(head_dim)
        w.add_value_length(head_dim)
        w.add_layer_norm_rms_eps(1e-5)
        w.add_rope_dimension_count(head_dim)
        w.add_vocab_size(vocab)
        shapes = {'attn_q': (heads * head_dim, hidden), 'attn_k': (heads * head_dim, hidden),
                  'attn_v': (heads * head_dim, hidden), 'attn_output': (hidden, heads * head_dim),
                  'ffn_gate': (ffn, hidden), 'ffn_up': (ffn, hidden), 'ffn_down': (hidden, ffn)}
        shapes = {f'blk.0.{name}.weight': shape for name, shape in shapes.items()} | {'token_embd.weight': (vocab, hidden)}
        for name, shape in shapes.items():
            w.add_tensor(name, (0.1 * rng.standard_normal(shape)).astype(np.float32))
        for name in ('blk.0.attn_norm.weight', 'blk.0.ffn_norm.weight', 'output_norm.weight'):
            w.add_tensor(name, (1 + 0.1 * rng.standard_normal(hidden)).astype(np.float32))
        write(w)
        params = llama_cpp.LlamaModelQuantizeParams()
        params.ftype, params.nthread = Q3_K_M, 1
        llama_cpp.model_quantize(tmp + '/f32.gguf', str(out / 'kquants.gguf'), params)
    tensors = {}
    for t in gguf.GGUFReader(out / 'kquants.gguf').tensors:
        values = np.ascontiguousarray(gguf.quants.dequantize(t.data, t.tensor_type), dtype=np.float32)
        bits = values.reshape(-1).view(np.uint32).astype(np.uint64)
        checksum = (bits * np.arange(1, 1 + len(bits), dtype=np.uint64)).sum(dtype=np.uint64)
        tensors[t.name] = {'type': t.tensor_type.name, 'checksum': f'{checksum:016x}'}
    (out / 'kquants.json').write_text(json.dumps(tensors, indent=1) + '\n')


def mixed(out):
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
    write(w)
    save_file(expected, out / 'expected.safetensors', metadata={'format': 'pt'})


out_dir = pathlib.Path(sys.argv[1])
out_dir.mkdir(parents=True, exist_ok=True)
mixed(out_dir)
types(out_dir)
kquants(out_dir)
