"""Adapters that qlora-train trains and saves, in the ways that golden/lora-options configures them, read by PEFT: every
tensor is found, every module adapted, and the loss is the one that `qlora-train eval` gives.

    lora_options.py QLORA_TRAIN [GOLDEN_DIR]
"""
import json
import pathlib
import subprocess
import sys
import tempfile

import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM


def write_rows(path, vocab, seed):
    g = torch.Generator().manual_seed(seed)
    rows = [torch.randint(3, vocab, (10 + i % 5,), generator=g).tolist() for i in range(8)]
    path.write_text(''.join(json.dumps({'input_ids': r}) + '\n' for r in rows))
    return rows


def run(*args):
    done = subprocess.run([str(a) for a in args], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return done.stdout


def mean_loss(model, rows):
    total = tokens = 0
    with torch.no_grad():
        for r in rows:
            ids = torch.tensor([r])
            total += model(input_ids=ids, labels=ids).loss.item() * (len(r) - 1)
            tokens += len(r) - 1
    return total / tokens


def check(program, golden, case, work):
    meta = json.loads((golden / case / 'expected.json').read_text())
    base = (golden / meta['model']).resolve()
    rows = write_rows(work / 'eval.jsonl', 56, 1)
    write_rows(work / 'train.jsonl', 56, 2)
    config = {
        'model': {'path': str(base)}, 'quantization': {'quant_type': 'none', 'compute_dtype': 'f32'},
        'lora': {**meta['lora'], 'dtype': 'f32', 'loraplus_lr_ratio': meta['loraplus_lr_ratio']},
        'data': {'train': 'train.jsonl', 'eval': 'eval.jsonl', 'format': 'tokens', 'max_length': 32},
        'training': {'output_dir': 'run', 'max_steps': 8, 'learning_rate': 2e-2, 'neftune_noise_alpha': 1},
        'device': {'backend': 'cpu', 'threads': 1}}
    (work / 'c.yaml').write_text(json.dumps(config))
    run(program, work / 'c.yaml')
    adapter = work / 'run' / 'adapter'
    ours = json.loads(run(program, 'eval', work / 'c.yaml', '--adapter', adapter).splitlines()[-1])['eval_loss']
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, attn_implementation='eager')
    without = mean_loss(model, rows)
    model = PeftModel.from_pretrained(model, adapter).eval()
    saved = load_file(adapter / 'adapter_model.safetensors')
    loaded = {k.replace('.default', ''): v for k, v in model.named_parameters() if 'lora_' in k}
    assert saved.keys() == loaded.keys(), saved.keys() ^ loaded.keys()
    assert all(torch.equal(saved[k], loaded[k]) for k in saved)
    theirs = mean_loss(model, rows)
    assert abs(theirs - without) > 1e-3, (theirs, without)
    print(f'{case}: base {without:.6f}; with the adapter ours {ours:.7f}, PEFT {theirs:.7f} '
          f'(relative {abs(ours / theirs - 1):.1e})')
    assert abs(ours / theirs - 1) < 1e-6


if __name__ == '__main__':
    program = pathlib.Path(sys.argv[1]).resolve()
    golden = pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else pathlib.Path(__file__).parent.parent / 'golden/lora-options')
    for case in sorted(p.parent.name for p in golden.glob('*/expected.json')):
        with tempfile.TemporaryDirectory() as work:
            check(program, golden, case, pathlib.Path(work))
