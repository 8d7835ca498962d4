#!/usr/bin/env python3
"""Does llama.cpp compute from our GGUF exports what transformers computes?

    gguf_export.py families PROGRAM ARCH_DIR [NAME ...]
    gguf_export.py modules PROGRAM ARCH_DIR [NAME ...]
    gguf_export.py tokenizers PROGRAM TOKENIZER_DIR
    gguf_export.py model PROGRAM CHECKPOINT --base-gguf FILE --prompt TEXT

families: for each model of tests/golden/arch (or those named) an adapter goes through `export --gguf`, `--gguf-lora`,
`--merged` and `--adapter`; llama.cpp's logits from the merged GGUF are compared with transformers' from the merged
directory, those from base and LoRA GGUF with PEFT's. The files are computed with after a copy into F32, since llama.cpp
rounds activations to the type of the weights; the file as it was written has a wider limit. Each model in a process of
its own.

modules: the same with ranks and alphas by module and an adapter of the head, trained here.

tokenizers: a model of noise with each kind of tokenizer in tests/golden/tokenizer is exported; llama.cpp gives the texts
of kinds.json the ids that `qlora-train tokenize` gives them.

model: of a real model the greedy answer, for each type, with `qlora-train generate`'s; its tokens; the metadata of the
GGUF that we make from a Hugging Face directory beside that of FILE, which somebody else made of the same model.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import gguf
import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "golden"))
LIMITS = {"gemma": 3e-3}    # llama.cpp's GELU is a table in half precision
WINDOW = "llama.cpp has no window for it, as export warns; the golden rows are longer"
NO_PEER = {"mistral-window": WINDOW, "phi3-fused": WINDOW}
FILE_LIMIT = 0.05           # of the file as it is, in F16
Q8_LIMIT = 1                # of so small a model: the logits are about 5


def run(command, **more):
    return subprocess.run([str(c) for c in command], check=True, capture_output=True, text=True, **more).stdout


def f32_copy(source, target):
    """The same file with every tensor in F32."""
    reader = gguf.GGUFReader(source)
    arch = reader.fields["general.architecture"].contents()
    writer = gguf.GGUFWriter(target, arch)
    for key, field in reader.fields.items():
        if key.startswith("GGUF.") or key in ("general.architecture", "general.file_type"):
            continue
        sub = field.types[1] if len(field.types) > 1 else None
        writer.add_key_value(key, field.contents(), field.types[0], sub_type=sub)
    for t in reader.tensors:
        writer.add_tensor(t.name, gguf.quants.dequantize(t.data, t.tensor_type).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return arch


# ---- families -----------------------------------------------------------------------------------------------------


def transformers_model(directory):
    import torch
    import transformers
    options = {"dtype": torch.float32, "attn_implementation": "eager"}
    config = transformers.AutoConfig.from_pretrained(directory)
    wrapped = hasattr(config, "vision_config")
    kind = transformers.AutoModelForImageTextToText if wrapped else transformers.AutoModelForCausalLM
    return kind.from_pretrained(directory, **options).eval()


def transformers_logits(model, rows):
    import torch
    with torch.no_grad():
        return model(input_ids=torch.tensor(rows)).logits.float().numpy()


MODULES = ("lora: {r: 4, lora_alpha: 8, dtype: f32, target_modules: [q_proj, down_proj, lm_head], "
           'rank_pattern: {"layers.0.mlp.down_proj": 2}, alpha_pattern: {q_proj: 20}}\n')


def golden_adapter(directory):
    given = json.loads((directory / "adapter/adapter_config.json").read_text())
    return (f"lora: {{init: {json.dumps(str(directory / 'adapter'))}, r: {given['r']}, "
            f"lora_alpha: {given['lora_alpha']}, use_rslora: {json.dumps(given['use_rslora'])}, dtype: f32}}\n")


def train(program, directory, lora, steps, tmp):
    config = tmp / "config.yaml"
    config.write_text(
        f"model: {{path: {json.dumps(str(directory))}}}\n{lora}"
        f"data: {{train: {json.dumps(str(directory / 'batch.jsonl'))}, format: tokens, max_length: 64}}\n"
        f"training: {{output_dir: {json.dumps(str(tmp / 'run'))}, max_steps: {steps}, learning_rate: 1.0e-3}}\n"
        "quantization: {quant_type: none, compute_dtype: f32}\ndevice: {backend: cpu}\n")
    run([program, config])
    return next((tmp / "run").glob("checkpoint-*"))


def make_exports(program, directory, tmp):
    checkpoint = train(program, directory, golden_adapter(directory), 1, tmp)
    for options in (["--adapter", tmp / "adapter"], ["--gguf-lora", tmp / "lora.gguf"],
                    ["--merged", tmp / "merged", "--dtype", "f16"], ["--gguf", tmp / "merged.gguf", "--dtype", "f16"],
                    ["--gguf", tmp / "q8_0.gguf", "--dtype", "q8_0"]):
        run([program, "export", checkpoint, *options])


def worst(a, b):
    return float(np.abs(a - b).max())


def compare_family(program, directory):
    from llama_cpp import Model
    from gen_arch_gguf import convert
    rows = [json.loads(line)["input_ids"] for line in open(directory / "batch.jsonl", encoding="utf-8")]
    limit = LIMITS.get(directory.name[:5], 2e-5)
    with tempfile.TemporaryDirectory() as name:
        tmp = pathlib.Path(name)
        try:
            make_exports(program, directory, tmp)
        except subprocess.CalledProcessError as e:
            print(f"{directory.name:28} refused: {e.stderr.splitlines()[-1].split(': ', 1)[1]}")
            return True
        want = transformers_logits(transformers_model(tmp / "merged"), rows)
        arch = f32_copy(tmp / "merged.gguf", tmp / "f32.gguf")
        values = [(worst(Model(tmp / "f32.gguf").logits(rows), want), limit),
                  (worst(Model(tmp / "merged.gguf").logits(rows), want), FILE_LIMIT),
                  (worst(Model(tmp / "q8_0.gguf").logits(rows), want), Q8_LIMIT)]
        if not directory.name.endswith("-vl"):
            from peft import PeftModel
            convert(directory, tmp / "base.gguf", arch, f32=True)
            peft = PeftModel.from_pretrained(transformers_model(directory), tmp / "adapter").eval()
            values.append((worst(Model(tmp / "base.gguf", tmp / "lora.gguf").logits(rows),
                                 transformers_logits(peft, rows)), limit))
    ok = all(value <= most for value, most in values)
    if directory.name in NO_PEER:
        print(f"{directory.name:28} {arch:10} {NO_PEER[directory.name]}: {values[0][0]:.1e}")
        return True
    print(f"{directory.name:28} {arch:10}", *(f"{value:8.1e}" for value, _ in values),
          "ok" if ok else f"FAILED (at most {[most for _, most in values]})")
    return ok


def compare_modules(program, directory):
    """The largest differences: of the merged GGUF, and of the LoRA GGUF where llama.cpp can have it."""
    from llama_cpp import Model
    from gen_arch_gguf import convert
    from peft import PeftModel
    rows = [json.loads(line)["input_ids"] for line in open(directory / "batch.jsonl", encoding="utf-8")]
    limit = LIMITS.get(directory.name[:5], 2e-5)
    with tempfile.TemporaryDirectory() as name:
        tmp = pathlib.Path(name)
        checkpoint = train(program, directory, MODULES, 20, tmp)
        for options in (["--adapter", tmp / "adapter"], ["--merged", tmp / "merged", "--dtype", "f16"],
                        ["--gguf", tmp / "merged.gguf", "--dtype", "f16"]):
            run([program, "export", checkpoint, *options])
        want = transformers_logits(transformers_model(tmp / "merged"), rows)
        arch = f32_copy(tmp / "merged.gguf", tmp / "f32.gguf")
        values = [worst(Model(tmp / "f32.gguf").logits(rows), want)]
        export = subprocess.run([program, "export", checkpoint, "--gguf-lora", tmp / "lora.gguf"], capture_output=True,
                                text=True)
        tied = json.loads((directory / "config.json").read_text()).get("tie_word_embeddings")
        if export.returncode == 0:
            convert(directory, tmp / "base.gguf", arch, f32=True)
            peft = PeftModel.from_pretrained(transformers_model(directory), tmp / "adapter").eval()
            values.append(worst(Model(tmp / "base.gguf", tmp / "lora.gguf").logits(rows),
                                transformers_logits(peft, rows)))
    ok = max(values) <= limit and (export.returncode == 0) != bool(tied)
    print(f"{directory.name:28} {arch:10}", *(f"{value:8.1e}" for value in values),
          "" if export.returncode == 0 else "refused ", "ok" if ok else "FAILED")
    return ok


def modules(args):
    print(f"{'model':28} {'GGUF':10} merged   base and LoRA (of a tied model it is refused)")
    names = args.names or ["llama-rope-llama3", "llama-rope-yarn", "olmo2-postnorm", "qwen2-bias"]
    return 0 if all([compare_modules(args.program, args.arch_dir / name) for name in names]) else 1


def families(args):
    if args.child:
        return 0 if compare_family(args.program, args.arch_dir / args.names[0]) else 1
    failed = False
    print(f"{'model':28} {'GGUF':10} merged   its F16  its Q8_0 base and LoRA: the largest difference of a logit")
    for directory in sorted(p for p in args.arch_dir.iterdir() if not args.names or p.name in args.names):
        child = subprocess.run([sys.executable, __file__, "families", "--child", args.program, args.arch_dir,
                                directory.name], capture_output=True, text=True)
        failed |= child.returncode != 0
        lines = [line for line in child.stdout.splitlines() if line.startswith(directory.name)]
        why = (child.stderr.strip().splitlines() or [""])[-1]
        print(lines[0] if lines else f"{directory.name:28} ended with {child.returncode}: {why}", flush=True)
    return 1 if failed else 0


# ---- tokenizers ---------------------------------------------------------------------------------------------------


def make_noise(directory, vocab):
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=vocab, hidden_size=32, intermediate_size=64, num_hidden_layers=1,
                         num_attention_heads=2, num_key_value_heads=2)
    LlamaForCausalLM(config).bfloat16().save_pretrained(directory)


def compare_tokenizer(program, tmp, name, files, vocab, texts):
    from llama_cpp import Model
    tmp = pathlib.Path(tempfile.mkdtemp(dir=tmp))
    directory, config = tmp / "model", tmp / "config.yaml"
    directory.mkdir()
    for file, content in files.items():
        (directory / file).write_bytes(content)
    make_noise(directory, vocab)
    (tmp / "rows.jsonl").write_text('{"input_ids": [5, 6, 7, 8, 9, 10]}\n')
    config.write_text(f"model: {{path: {directory}}}\ndata: {{train: {tmp}/rows.jsonl, format: tokens, max_length: 32}}\n"
                      f"training: {{output_dir: {tmp}/run, max_steps: 1}}\ndevice: {{backend: cpu}}\n")
    run([program, config])
    run([program, "export", tmp / "run/checkpoint-1", "--gguf", tmp / "model.gguf"])
    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    ours = [json.loads(line)["input_ids"] for line in
            run([program, "tokenize", directory, "--plain"], input=lines).splitlines()]
    model = Model(tmp / "model.gguf")
    bad = [(text, ids) for text, ids in zip(texts, ours) if model.tokenize(text, False) != ids]
    print(f"{name:44} {len(texts) - len(bad)} of {len(texts)}")
    for text, ids in bad[:5]:
        print(f"  {text!r}\n    ours {ids}\n    llama.cpp {model.tokenize(text, False)}")
    return not bad


def tokenizers(args):
    golden = json.loads((args.tokenizer_dir / "kinds.json").read_text())
    base = golden["base"]
    vocab = 1 + max([*base["model"]["vocab"].values(), *(a["id"] for a in base["added_tokens"])])
    kinds = [("tokenizer.json, bytes", "tokenizer.json", (args.tokenizer_dir / "tokenizer.json").read_bytes(), 49152),
             ("tokenizer.json, characters and byte fallback", "tokenizer.json", json.dumps(base).encode(), vocab),
             ("tokenizer.model", "tokenizer.model", (args.tokenizer_dir / "llama2-tokenizer.model").read_bytes(), 32000)]
    with tempfile.TemporaryDirectory() as tmp:
        good = [compare_tokenizer(args.program, tmp, name, {file: content}, size, golden["texts"])
                for name, file, content, size in kinds]
    return 0 if all(good) else 1


# ---- a real model -------------------------------------------------------------------------------------------------


def plain(value):
    text = json.dumps(value, ensure_ascii=False) if not isinstance(value, float) else f"{value:.6g}"
    return text if len(text) <= 60 else f"{text[:40]}... ({len(value)} long)"


def compare_metadata(ours, theirs):
    """Prints what differs; keys of one side only by name."""
    a, b = (gguf.GGUFReader(path).fields for path in (ours, theirs))
    a, b = ({k: f.contents() for k, f in fields.items() if not k.startswith("GGUF.")} for fields in (a, b))
    print(f"metadata: {sum(a[k] == b[k] for k in a.keys() & b.keys())} keys equal")
    for key in sorted(a.keys() & b.keys()):
        if a[key] != b[key]:
            print(f"  {key}: ours {plain(a[key])}, theirs {plain(b[key])}")
    print("  only ours:", ", ".join(sorted(a.keys() - b.keys())))
    print("  only theirs:", ", ".join(sorted(b.keys() - a.keys())))


def model(args):
    from llama_cpp import Model
    from transformers import AutoTokenizer
    config = args.checkpoint / "config.yaml"
    options = ["--adapter", args.checkpoint, "--prompt", args.prompt]
    want = run([args.program, "generate", config, *options, "quantization.quant_type=none",
                "quantization.compute_dtype=f32", "device.backend=cpu"]).strip()
    print(f"qlora-train generate: {want!r}")
    failed = False
    with tempfile.TemporaryDirectory() as name:
        tmp = pathlib.Path(name)
        run([args.program, "export", args.checkpoint, "--adapter", tmp / "adapter"])
        base = json.loads((tmp / "adapter/adapter_config.json").read_text())["base_model_name_or_path"]
        tokenizer = AutoTokenizer.from_pretrained(base)
        text = tokenizer.apply_chat_template([{"role": "user", "content": args.prompt}], tokenize=False,
                                             add_generation_prompt=True)
        ids = tokenizer(text, add_special_tokens=False).input_ids
        files = [(t, tmp / t / "m.gguf", None) for t in ("bf16", "f16", "q8_0")]
        for kind, path, _ in files:
            run([args.program, "export", args.checkpoint, "--gguf", path, "--dtype", kind])
        run([args.program, "export", args.checkpoint, "--gguf-lora", tmp / "lora.gguf"])
        for kind, path, lora in files + [("base and LoRA", args.base_gguf, tmp / "lora.gguf")]:
            llama = Model(path, lora)
            same_ids, got = llama.tokenize(text) == ids, llama.greedy(ids, 128).strip()
            failed |= not same_ids or got != want
            print(f"{kind:14} ids {'equal' if same_ids else 'DIFFERENT'}, "
                  f"answer {'equal' if got == want else f'DIFFERENT: {got!r}'}")
        if pathlib.Path(base).is_dir():
            compare_metadata(files[0][1], args.base_gguf)
    return 1 if failed else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    p = commands.add_parser("families")
    p.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    p.add_argument("program", type=pathlib.Path)
    p.add_argument("arch_dir", type=pathlib.Path)
    p.add_argument("names", nargs="*")
    p.set_defaults(run=families)
    p = commands.add_parser("modules")
    p.add_argument("program", type=pathlib.Path)
    p.add_argument("arch_dir", type=pathlib.Path)
    p.add_argument("names", nargs="*")
    p.set_defaults(run=modules)
    p = commands.add_parser("tokenizers")
    p.add_argument("program", type=pathlib.Path)
    p.add_argument("tokenizer_dir", type=pathlib.Path)
    p.set_defaults(run=tokenizers)
    p = commands.add_parser("model")
    p.add_argument("program", type=pathlib.Path)
    p.add_argument("checkpoint", type=pathlib.Path)
    p.add_argument("--base-gguf", type=pathlib.Path, required=True)
    p.add_argument("--prompt", required=True)
    p.set_defaults(run=model)
    args = parser.parse_args()
    args.program = args.program.resolve()
    if "arch_dir" in args:
        args.arch_dir = args.arch_dir.resolve()
    return args.run(args)


if __name__ == "__main__":
    sys.exit(main())
