"""The JSON Schema of `qlora-train print schema` against python's jsonschema: it takes every config that ships, and
what it refuses the program refuses too, at the same key.

    python config_schema.py build/qlora-train configs/*.yaml      needs jsonschema and PyYAML
"""
import json
import pathlib
import re
import subprocess
import sys
import tempfile

import jsonschema
import yaml

WRONG = {
    "lora.rank": "lora: {rank: 4}",
    "loar": "loar: {r: 4}",
    "lora.r": "lora: {r: 0}",
    "lora.lora_alpha": "lora: {lora_alpha: 0}",
    "lora.lora_dropout": "lora: {lora_dropout: 1}",
    "lora.target_modules": "lora: {target_modules: []}",
    "lora.layers_to_transform": "lora: {layers_to_transform: [0, -1]}",
    "lora.rank_pattern": "lora: {rank_pattern: [q_proj]}",
    "quantization.quant_type": "quantization: {quant_type: nf5}",
    "quantization.double_quant": "quantization: {double_quant: 1}",
    "data.train": "data: {train: []}",
    "data.chat_template_date": "data: {chat_template_date: today}",
    "training.max_steps": "training: {max_steps: 0}",
    "training.learning_rate": "training: {learning_rate: fast}",
    "training.optim": "training: {optim: [adamw_8bit]}",
    "training.gradient_checkpointing": "training: {gradient_checkpointing: sometimes}",
    "device.memory_limit": "device: {memory_limit: 4GB}",
    "device.threads": "device: {threads: 0}",
    "device": "device: cpu",
}
RIGHT = [
    "model:\nlora: {layers_to_transform: 3, target_modules: q_proj, rank_pattern: {q_proj: 8}}",
    "device: {memory_limit: 1.5 GiB, threads: auto, cache_weights: \"off\"}",
    "data: {train: [a.jsonl, b.jsonl], eval: null, chat_template: my.jinja, eval_split: 0.05}",
    "training: {max_steps: -1, gradient_checkpointing: true, learning_rate: 2e-4}",
]


class Core(yaml.SafeLoader):
    """Numbers and words as YAML 1.2 has them, which editors and the program read."""


Core.yaml_implicit_resolvers = {
    k: [r for r in v if r[0] not in ("tag:yaml.org,2002:bool", "tag:yaml.org,2002:float", "tag:yaml.org,2002:timestamp")]
    for k, v in yaml.SafeLoader.yaml_implicit_resolvers.items()}
Core.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^(true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
Core.add_implicit_resolver("tag:yaml.org,2002:float",
                           re.compile(r"^[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?$"),
                           list("-+0123456789."))


def refused_by_program(program, text, key):
    with tempfile.TemporaryDirectory() as d:
        path = pathlib.Path(d, "c.yaml")
        path.write_text(text + "\n")
        run = subprocess.run([program, "plan", str(path)], capture_output=True, text=True)
        return run.returncode == 2 and re.search(rf"c\.yaml:\d+:\d+: {re.escape(key)}: ", run.stderr)


def main():
    program, configs = sys.argv[1], sys.argv[2:]
    schema = json.loads(subprocess.run([program, "print", "schema"], capture_output=True, check=True, text=True).stdout)
    jsonschema.Draft7Validator.check_schema(schema)
    check = jsonschema.Draft7Validator(schema)
    bad, taken = [], 0
    for path in configs:
        text = pathlib.Path(path).read_text()
        if not re.search("^model:", text, re.M):  # of a scheduler
            continue
        doc = yaml.load(text, Core)
        taken += 1
        bad += [f"{path}: {'.'.join(map(str, e.path))}: {e.message}" for e in check.iter_errors(doc)]
    bad += [f"refused: {t}: {e.message}" for t in RIGHT for e in check.iter_errors(yaml.load(t, Core))]
    for key, text in WRONG.items():
        if check.is_valid(yaml.load(text, Core)):
            bad.append(f"the schema takes: {text}")
        if not refused_by_program(program, text, key):
            bad.append(f"the program does not refuse at {key}: {text}")
    keys = sum(len(s["properties"]) for s in schema["properties"].values())
    defaults = [(s, k, v) for s, v1 in schema["properties"].items() for k, v in v1["properties"].items()]
    bad += [f"{s}.{k}: its default is refused" for s, k, v in defaults
            if "default" in v and not jsonschema.Draft7Validator(v).is_valid(v["default"])]
    print(f"{keys} keys; {taken} configs taken, {len(WRONG)} wrong ones refused by both, {len(bad)} faults")
    print("\n".join(bad))
    sys.exit(bool(bad) or taken < 25)


main()
