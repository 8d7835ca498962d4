#!/usr/bin/env python3
"""Are the GGUF files of tests/golden/gen_arch_gguf.py what llama.cpp takes them for?

    gen_arch_gguf.py --f32 tests/golden/arch DIR
    families_gguf.py --arch tests/golden/arch --gguf DIR

Compares llama.cpp's logits with transformers' on the golden batch, for each file in a process of its own, since
llama.cpp ends on what it cannot run. Of the base models, in F32: with BF16 weights llama.cpp rounds activations too.
"""

import argparse
import json
import pathlib
import subprocess
import sys

import numpy as np
import torch
from transformers import AutoModelForCausalLM

LIMITS = {"gemma": 3e-3}    # llama.cpp's GELU is a table in half precision
NO_PEER = {"exaone4-hybrid": "llama.cpp has the window and the layers without RoPE at 64 layers only",
           "phi3-fused": "llama.cpp has no window for it"}


def llama_logits(path, rows):
    # Here, so that the process which starts the others does without it.
    from cyllama.llama import llama_cpp as llama

    class Model(llama.LlamaModel):
        """get_logits_ith() asks the model for what cyllama has in the vocabulary only."""
        @property
        def n_vocab(self):
            return self.get_vocab().n_vocab

    llama.llama_backend_init()
    params = llama.LlamaContextParams()
    params.n_ctx, params.n_batch, params.n_threads, params.n_threads_batch = 64, 64, 1, 1
    params.type_k = params.type_v = 0    # F32
    params.flash_attn_type = 0
    model = Model(str(path), llama.LlamaModelParams())
    result = []
    for ids in rows:
        context = llama.LlamaContext(model, params)
        batch = llama.LlamaBatch(n_tokens=len(ids), embd=0, n_seq_max=1)
        batch.set_batch(ids, 0, True)
        context.decode(batch)
        result.append([context.get_logits_ith(i) for i in range(len(ids))])
        context.close()
    return np.array(result)


def their_logits(directory, rows):
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.no_grad():
        return model(input_ids=torch.tensor(rows)).logits.numpy()


def compare(arch, path):
    directory = arch / path.stem
    rows = [json.loads(line)["input_ids"] for line in open(directory / "batch.jsonl", encoding="utf-8")]
    difference = np.abs(llama_logits(path, rows) - their_logits(directory, rows)).max()
    limit = LIMITS.get(path.stem[:5], 2e-5)
    print(f"{path.stem:28} {difference:.1e}  (at most {limit:.0e})  {'ok' if difference <= limit else 'FAILED'}")
    return difference <= limit


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", required=True, type=pathlib.Path)
    parser.add_argument("--gguf", required=True, type=pathlib.Path, help="a directory, or (for one process) a file")
    args = parser.parse_args()
    if args.gguf.is_file():
        return 0 if compare(args.arch, args.gguf) else 1
    failed = False
    for path in sorted(args.gguf.glob("*.gguf")):
        if path.stem in NO_PEER:
            print(f"{path.stem:28} {NO_PEER[path.stem]}")
            continue
        child = subprocess.run([sys.executable, __file__, "--arch", args.arch, "--gguf", path], capture_output=True,
                               text=True)
        failed |= child.returncode != 0
        lines = [line for line in child.stdout.splitlines() if line.startswith(path.stem)]
        why = next((line for line in child.stderr.splitlines() if "rror" in line or "ASSERT" in line), "")
        print(lines[0] if lines else f"{path.stem:28} llama.cpp ended with {child.returncode}: {why}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
