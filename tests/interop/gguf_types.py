#!/usr/bin/env python3
"""Are GGUF files of every type that llama.cpp writes read as gguf-py reads them?

    gguf_types.py [--out DIR]

Makes a random llama in F32, has llama.cpp quantize it into 15 files, and writes beside each a GGUF with the values that
gguf-py takes from it, rounded to BF16 as the loader rounds them. `qlora-train eval` has to find the same loss for both.
"""

import argparse
import contextlib
import os
import pathlib
import sys
import tempfile

import gguf
import numpy as np
from cyllama.llama import llama_cpp

import common

# llama.cpp's numbers of its file types.
FILE_TYPES = {
    "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "Q5_0": 8, "Q5_1": 9, "Q2_K": 10, "Q3_K_M": 12, "Q4_K_S": 14,
    "Q4_K_M": 15, "Q5_K_M": 17, "Q6_K": 18, "IQ4_NL": 25, "IQ4_XS": 30, "BF16": 32,
}
QT = gguf.GGMLQuantizationType
# Rows of 256 values, which K-quants need.
HIDDEN, FFN, LAYERS, HEADS, KV_HEADS, HEAD_DIM, VOCAB = 256, 512, 2, 4, 2, 64, 64


def write(path, tensors):
    """tensors: {name: (data, type)}"""
    w = gguf.GGUFWriter(path, "llama")
    w.add_block_count(LAYERS)
    w.add_context_length(256)
    w.add_embedding_length(HIDDEN)
    w.add_feed_forward_length(FFN)
    w.add_head_count(HEADS)
    w.add_head_count_kv(KV_HEADS)
    w.add_layer_norm_rms_eps(1e-5)
    w.add_rope_dimension_count(HEAD_DIM)
    w.add_vocab_size(VOCAB)
    for name, (data, kind) in tensors.items():
        w.add_tensor(name, data, raw_dtype=kind)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def random_model():
    rng = np.random.default_rng(0)
    shapes = {
        "attn_q": (HEADS * HEAD_DIM, HIDDEN), "attn_k": (KV_HEADS * HEAD_DIM, HIDDEN),
        "attn_v": (KV_HEADS * HEAD_DIM, HIDDEN), "attn_output": (HIDDEN, HEADS * HEAD_DIM),
        "ffn_gate": (FFN, HIDDEN), "ffn_up": (FFN, HIDDEN), "ffn_down": (HIDDEN, FFN),
        "attn_norm": (HIDDEN,), "ffn_norm": (HIDDEN,),
    }
    shapes = {f"blk.{i}.{name}.weight": shape for i in range(LAYERS) for name, shape in shapes.items()}
    shapes |= {"token_embd.weight": (VOCAB, HIDDEN), "output.weight": (VOCAB, HIDDEN), "output_norm.weight": (HIDDEN,)}
    return {
        name: ((len(shape) == 1) + (0.1 * rng.standard_normal(shape)).astype(np.float32), QT.F32)
        for name, shape in shapes.items()
    }


@contextlib.contextmanager
def quiet():
    """llama.cpp writes to the process's own streams."""
    saved = [os.dup(fd) for fd in (1, 2)]
    with open(os.devnull, "wb") as null:
        for fd in (1, 2):
            os.dup2(null.fileno(), fd)
    try:
        yield
    finally:
        for fd, old in zip((1, 2), saved):
            os.dup2(old, fd)
            os.close(old)


def quantize(source, target, file_type):
    params = llama_cpp.LlamaModelQuantizeParams()
    params.ftype, params.nthread = file_type, 1
    sys.stdout.flush()
    with quiet():
        llama_cpp.model_quantize(str(source), str(target), params)


def plain(path):
    """What gguf-py reads, in the type that holds what the loader keeps; and the types in the file."""
    tensors, kinds = {}, set()
    for t in gguf.GGUFReader(path).tensors:
        kind = t.tensor_type if t.tensor_type in (QT.F32, QT.F16) else QT.BF16
        values = np.ascontiguousarray(gguf.quants.dequantize(t.data, t.tensor_type), dtype=np.float32)
        tensors[t.name] = (gguf.quants.quantize(values, kind), kind)
        kinds.add(t.tensor_type.name)
    return tensors, kinds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common.add_arguments(parser)
    parser.add_argument("--out", help="where the files stay; default: a temporary directory")
    args = parser.parse_args()
    report = common.Report()
    rows = common.load_rows(args, VOCAB)
    with tempfile.TemporaryDirectory() as tmp:
        out = pathlib.Path(args.out or tmp)
        out.mkdir(parents=True, exist_ok=True)
        write(out / "F32.gguf", random_model())
        report.value("F32, loss", common.our_loss(args.program, out / "F32.gguf", rows))
        for name, number in FILE_TYPES.items():
            quantized, reference = out / f"{name}.gguf", out / f"{name}-plain.gguf"
            quantize(out / "F32.gguf", quantized, number)
            tensors, kinds = plain(quantized)
            write(reference, tensors)
            ours = common.our_loss(args.program, quantized, rows)
            want = common.our_loss(args.program, reference, rows)
            report.value(f"{name} ({', '.join(sorted(kinds))}), loss", ours)
            report.at_most(f"{name} against gguf-py's values", common.relative(ours, want), 1e-6)
    return report.exit_status()


if __name__ == "__main__":
    sys.exit(main())
