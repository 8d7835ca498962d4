#!/usr/bin/env python3
"""Seeds of the fuzzers: real files of tests/golden, configs/ and data/demo, cut to a size at which thousands can be read
a second. make_seeds.py OUT writes OUT/NAME/* for each fuzz_NAME.c, and OUT/NAME.dict, the words of its parser's source.

Only what comes with Python is needed. The formats that a fuzzer takes an input apart by are in fuzz.h."""
import gzip
import json
import re
import struct
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
GOLDEN = ROOT / "tests/golden"
MARK = b"\n%%%%\n"


def put(name, seeds):
    where = OUT / name
    where.mkdir(parents=True, exist_ok=True)
    for i, seed in enumerate(seeds):
        (where / f"seed-{i:03}").write_bytes(seed if isinstance(seed, bytes) else seed.encode())


def text(value):
    return json.dumps(value, ensure_ascii=False)


def c_strings(path):
    """The string literals of a C file, neighbours joined."""
    source = (ROOT / path).read_text()
    source = re.sub(r"/\*.*?\*/", "", source, flags=re.S)
    literals = re.findall(r'(?:"(?:[^"\\\n]|\\.)*"\s*)+', source)
    parts = ["".join(re.findall(r'"((?:[^"\\\n]|\\.)*)"', run)) for run in literals]
    return [p.encode().decode("unicode_escape").encode("latin-1") for p in parts]


# ---- safetensors ----------------------------------------------------------------------------------------------------

def split_safetensors(data):
    n = struct.unpack("<Q", data[:8])[0]
    return data[8:8 + n], data[8 + n:]


def st_input(header, data=b"", kind=b"z"):
    header = header if isinstance(header, bytes) else text(header).encode()
    return kind + header + MARK + data


def header_of(tensors):
    """name -> (dtype, shape, bytes of an element), one behind another."""
    header, at = {}, 0
    for name, (dtype, shape, size) in tensors.items():
        n = size
        for d in shape:
            n *= d
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + n]}
        at += n
    return header


def safetensors_seeds():
    layout = (GOLDEN / "layout.safetensors").read_bytes()
    yield st_input(*split_safetensors(layout))
    yield st_input(layout, kind=b"r")
    yield st_input({})
    yield st_input({"__metadata__": {"format": "pt"}, "a": {"dtype": "F4", "shape": [3], "data_offsets": [0, 5]}})
    for path in ("tiny/llama-gqa-tied-odd/adapter/adapter_model.safetensors", "arch/gemma-scaled/model.safetensors"):
        header, _ = split_safetensors((GOLDEN / path).read_bytes())
        tensors = json.loads(header)
        few = {k: (v["dtype"], [d % 7 for d in v["shape"]], 4 if v["dtype"] == "F32" else 2)
               for k, v in list(tensors.items())[1:6]}
        yield st_input(header_of(few))


# The model of fuzz_config in fuzz.c.
LAYER = {"input_layernorm": [8], "post_attention_layernorm": [8], "self_attn.q_proj": [8, 8], "self_attn.k_proj": [4, 8],
         "self_attn.v_proj": [4, 8], "self_attn.o_proj": [8, 8], "mlp.gate_proj": [8, 8], "mlp.up_proj": [8, 8],
         "mlp.down_proj": [8, 8]}


def model_shapes():
    shapes = {"model.embed_tokens.weight": [16, 8]}
    shapes |= {f"model.layers.0.{k}.weight": v for k, v in LAYER.items()}
    return shapes | {"model.norm.weight": [8]}


def model_tensors(dtype="BF16", size=2):
    return {k: (dtype, v, size) for k, v in model_shapes().items()}


def index_seeds():
    tensors = model_tensors()
    names = list(tensors)
    a, b = {k: tensors[k] for k in names[:5]}, {k: tensors[k] for k in names[5:]}
    weight_map = {k: "a.safetensors" for k in a} | {k: "b.safetensors" for k in b}
    shards = MARK.join([st_input(header_of(a)), st_input(header_of(b))])
    for more in ({}, {"lm_head.weight": "b.safetensors"}, {"x": "./a.safetensors"}, {"x": "../a.safetensors"},
                 {"x": "/etc/passwd"}, {"x": ".."}, {"x": ""}, {"x": "c.safetensors"}):
        yield text({"metadata": {"total_size": 1000}, "weight_map": weight_map | more}).encode() + MARK + shards
    whole = st_input(header_of(tensors | {"lm_head.weight": ("F32", [16, 8], 4)}))
    yield text({"weight_map": {k: "a.safetensors" for k in tensors}}).encode() + MARK + whole


def bnb_seeds():
    real = GOLDEN / "tiny/llama-gqa-tied-odd"
    for kind in ("nf4", "fp4"):
        header, data = split_safetensors((real / ("bnb4" if kind == "nf4" else "bnb4-fp4") / "model.safetensors").read_bytes())
        tensors = json.loads(header)

        def part(suffix):
            for name, v in tensors.items():
                if name.endswith(suffix):
                    return data[slice(*v["data_offsets"])]
            return None

        state = json.loads(part(f"quant_state.bitsandbytes__{kind}"))
        for double in {"nested_blocksize" in state, False}:
            out, blobs = {}, []

            def add(name, dtype, shape, blob):
                at = sum(map(len, blobs))
                out[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(blob)]}
                blobs.append(blob)

            for name, shape in model_shapes().items():
                if "_proj" not in name:
                    add(name, "BF16", shape, b"\x80\x3f" * (shape[0] * (shape[1] if len(shape) > 1 else 1)))
                    continue
                n = shape[0] * shape[1]
                now = {k: v for k, v in state.items() if double or not k.startswith("nested")} | {"shape": shape}
                add(name, "U8", [n // 2, 1], bytes(n // 2))
                add(f"{name}.absmax", "U8" if double else "F32", [1], b"\x07" if double else b"\0\0\x80\x3f")
                add(f"{name}.quant_map", "F32", [16], part(".quant_map"))
                blob = text(now).encode()
                add(f"{name}.quant_state.bitsandbytes__{kind}", "U8", [len(blob)], blob)
                if double:
                    add(f"{name}.nested_absmax", "F32", [1], b"\0\0\x80\x3f")
                    add(f"{name}.nested_quant_map", "F32", [256], part(".nested_quant_map"))
            yield st_input(out, b"".join(blobs))


def adapter_shapes(r=2, targets=LAYER):
    shapes = {}
    for name, shape in targets.items():
        if len(shape) == 2:
            shapes[f"base_model.model.model.layers.0.{name}.lora_A.weight"] = ("F32", [r, shape[1]], 4)
            shapes[f"base_model.model.model.layers.0.{name}.lora_B.weight"] = ("F32", [shape[0], r], 4)
    return shapes


def adapter_seeds():
    for path in sorted(GOLDEN.glob("**/adapter_config.json")):
        config = json.loads(path.read_text())
        r = min(config.get("r", 8), 4)
        yield text(config | {"r": r}).encode() + MARK + st_input(header_of(adapter_shapes(r)))
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": "all-linear",
              "rank_pattern": {"q_proj": 3, "layers\\.0\\.mlp\\..*": 1}, "alpha_pattern": {"^.*k_proj": 0.5}}
    tensors = adapter_shapes()
    tensors["base_model.model.lm_head.lora_A.weight"] = ("BF16", [2, 8], 2)
    tensors["base_model.model.lm_head.lora_B.default.weight"] = ("BF16", [16, 2], 2)
    yield text(config).encode() + MARK + st_input(header_of(tensors))
    tensors = adapter_shapes() | {"base_model.model.model.embed_tokens.weight": ("F32", [16, 8], 4)}
    yield text(config | {"rank_pattern": {}}).encode() + MARK + st_input(header_of(tensors))


METRICS = b"".join(text(row).encode() + b"\n" for row in (
    {"step": 1, "epoch": 0.1, "loss": 2.5, "grad_norm": None, "tokens": 9}, {"step": 1, "eval_loss": 2.5},
    {"step": 2, "loss": 2.25}, {"step": 2, "eval_loss": None}))


def checkpoint_seeds():
    ids = {f"{k}_id": f"{i:016x}" for i, k in enumerate(("run", "data", "model"), 1)}
    run = ids | {"compute_dtype": "f32", "start": "auto", "finished": False, "config": ["a=1", "b=2"]}
    state = ids | {"step": 1, "epoch": 0.5, "adam_t": 1, "skipped": 0, "useless_in_row": 0, "elapsed_seconds": 1.5,
                   "compute_dtype": "f32"}
    adapter = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "v_proj"]}
    tensors = adapter_shapes(2, {k: v for k, v in LAYER.items() if k.endswith(("q_proj", "v_proj"))})
    n = sum(s[0] * s[1] for _, s, _ in tensors.values())
    for blocks in (1, 2, 4):
        optimizer = {"exp_avg": ("U8", [n], 1), "exp_avg_sq": ("U8", [n], 1), "exp_avg_absmax": ("F32", [blocks], 4),
                     "exp_avg_sq_absmax": ("F32", [blocks], 4), "master": ("F32", [n], 4)}
        for sums in (b"ok", text({k: "0" * 16 for k in ("trainer_state.json", "config.yaml")}).encode()):
            yield MARK.join([sums, text(run).encode(), text(state).encode(), b"model: {path: x}\n",
                             text(adapter).encode(), st_input(header_of(tensors)), st_input(header_of(optimizer)), METRICS])


# ---- GGUF -----------------------------------------------------------------------------------------------------------

U32, F32, BOOL, STRING, ARRAY, I32 = 4, 6, 7, 8, 9, 5


def gguf_string(s):
    s = s.encode() if isinstance(s, str) else s
    return struct.pack("<Q", len(s)) + s


def gguf_value(kind, v):
    if kind == STRING:
        return gguf_string(v)
    return struct.pack({U32: "<I", F32: "<f", BOOL: "<?", I32: "<i"}[kind], v)


def gguf(pairs, tensors):
    out = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(pairs))
    for key, (kind, v) in pairs.items():
        out += gguf_string(key)
        if isinstance(v, list):
            out += struct.pack("<IIQ", ARRAY, kind, len(v)) + b"".join(gguf_value(kind, x) for x in v)
        else:
            out += struct.pack("<I", kind) + gguf_value(kind, v)
    data = b""
    for name, (kind, dims, blob) in tensors.items():
        out += gguf_string(name) + struct.pack("<I", len(dims)) + struct.pack(f"<{len(dims)}Q", *dims)
        out += struct.pack("<IQ", kind, len(data))
        data += blob + bytes(-len(blob) % 32)
    return out + bytes(-len(out) % 32) + data


GGUF_NAMES = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q",
              "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
              "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}


def gguf_model():
    pairs = {"general.architecture": (STRING, "llama"), "llama.context_length": (U32, 64),
             "llama.embedding_length": (U32, 8), "llama.block_count": (U32, 1), "llama.feed_forward_length": (U32, 8),
             "llama.attention.head_count": (U32, 2), "llama.attention.head_count_kv": (U32, 1),
             "llama.attention.layer_norm_rms_epsilon": (F32, 1e-5), "llama.rope.dimension_count": (U32, 4),
             "llama.rope.freq_base": (F32, 10000.0), "llama.vocab_size": (U32, 16)}
    tensors = {"token_embd.weight": (0, [8, 16], bytes(4 * 128))}
    for name, shape in LAYER.items():
        kind = 0 if len(shape) == 1 else 1
        n = shape[0] * (shape[1] if len(shape) > 1 else 1)
        tensors[f"blk.0.{GGUF_NAMES[name]}.weight"] = (kind, shape[::-1], bytes(n * (4 if kind == 0 else 2)))
    return pairs, tensors | {"output_norm.weight": (0, [8], bytes(32))}


def bpe_pairs():
    vocab, merges = cut_vocabulary(40)
    tokens = sorted(vocab, key=vocab.get)
    return {"tokenizer.ggml.model": (STRING, "gpt2"), "tokenizer.ggml.pre": (STRING, "smollm"),
            "tokenizer.ggml.tokens": (STRING, tokens), "tokenizer.ggml.merges": (STRING, merges),
            "tokenizer.ggml.token_type": (I32, [3] + [1] * (len(tokens) - 1)),
            "tokenizer.ggml.bos_token_id": (U32, 0), "tokenizer.ggml.eos_token_id": (U32, 0),
            "tokenizer.ggml.add_bos_token": (BOOL, False),
            "tokenizer.chat_template": (STRING, "{% for m in messages %}{{ m.content }}{% endfor %}"),
            "tokenizer.chat_templates": (STRING, ["rag"]), "tokenizer.chat_template.rag": (STRING, "{{ bos_token }}")}


def spm_pairs():
    pieces = ["<unk>", "<s>", "</s>"] + [f"<0x{i:02X}>" for i in range(256)]
    pieces += ["▁", "▁a", "a", "b", "ab", "▁ab", "e", "r", "er", "▁<x>"]
    types = [2, 3, 3] + [6] * 256 + [1] * 9 + [4]
    return {"tokenizer.ggml.model": (STRING, "llama"), "tokenizer.ggml.tokens": (STRING, pieces),
            "tokenizer.ggml.scores": (F32, [0.0] * 259 + [float(-i) for i in range(10)]),
            "tokenizer.ggml.token_type": (I32, types), "tokenizer.ggml.bos_token_id": (U32, 1),
            "tokenizer.ggml.eos_token_id": (U32, 2), "tokenizer.ggml.unknown_token_id": (U32, 0),
            "tokenizer.ggml.add_space_prefix": (BOOL, True)}


def gguf_seeds():
    pairs, tensors = gguf_model()
    yield gguf(pairs, tensors)
    yield gguf({"general.architecture": pairs["general.architecture"]} | bpe_pairs(), {})
    yield gguf(spm_pairs(), {})
    scaled = {"llama.rope.scaling.type": (STRING, "yarn"), "llama.rope.scaling.factor": (F32, 4.0),
              "llama.rope.scaling.original_context_length": (U32, 16), "general.alignment": (U32, 32)}
    yield gguf(pairs | scaled, tensors)
    split = {"split.no": (U32, 0), "split.count": (U32, 2), "split.tensors.count": (I32, 2)}
    yield gguf(split, {"a": (12, [256, 1], bytes(144))})
    # A tensor of every type with a decoder: a block each, of the golden file.
    real = (GOLDEN / "gguf/types.gguf").read_bytes()
    blocks = {0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 10: (256, 84),
              11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 20: (32, 18), 23: (256, 136), 30: (1, 2)}
    yield gguf({"a": (U32, 1), "b": (STRING, ["x", "y"])},
               {f"t{k}": (k, [max(n, 4), 2], (real[-9000 - k:] * 2)[:max(n, 4) * 2 // n * size])
                for k, (n, size) in blocks.items()})
    for arch in ("gemma2", "phi3", "qwen3", "olmo2", "granite", "glm4"):
        of_arch = {k.replace("llama.", f"{arch}."): v for k, v in pairs.items()}
        yield gguf(of_arch | {"general.architecture": (STRING, arch)}, tensors)


# ---- tokenizers -----------------------------------------------------------------------------------------------------

def cut_vocabulary(n_merges):
    """A byte-level vocabulary: every byte, and the first merges."""
    model = json.loads((GOLDEN / "tokenizer/tokenizer.json").read_text())["model"]
    chars = sorted({c for t in model["vocab"] for c in t if len(c.encode()) <= 2} - set("<|>"))[:280]
    merges = []
    vocab = {"<|endoftext|>": 0}
    for c in chars + ["<", "|", ">"]:
        vocab.setdefault(c, len(vocab))
    for m in model["merges"]:
        a, b = m.split(" ") if isinstance(m, str) else m
        if a in vocab and b in vocab and len(merges) < n_merges:
            merges.append(f"{a} {b}")
            vocab.setdefault(a + b, len(vocab))
    return vocab, merges


def tokenizer_seeds():
    real = json.loads((GOLDEN / "tokenizer/tokenizer.json").read_text())
    vocab, merges = cut_vocabulary(60)
    real["model"]["vocab"], real["model"]["merges"] = vocab, merges
    real["added_tokens"] = [real["added_tokens"][0] | {"id": 0, "content": "<|endoftext|>"},
                            real["added_tokens"][1] | {"id": len(vocab), "lstrip": True, "rstrip": True}]
    yield text(real)
    for variant in json.loads((GOLDEN / "tokenizer/variants.json").read_text())["variants"]:
        yield text(real | {k: v for k, v in variant["patch"].items() if k not in ("model", "added_tokens")})
    kinds = json.loads((GOLDEN / "tokenizer/kinds.json").read_text())
    base = kinds["base"]
    keep = [f"<0x{i:02X}>" for i in range(256)] + ["<unk>", "<s>", "</s>", "▁"]
    spm_vocab = {t: i for i, t in enumerate(keep + list("abcdehlorswtu▁"[:13]) + ["▁a", "he", "▁he", "er"])}
    spm_merges = [m for m in ("▁ a", "h e", "▁ he", "e r")]
    base = base | {"model": base["model"] | {"vocab": spm_vocab, "merges": spm_merges},
                   "added_tokens": [t | {"id": spm_vocab[t["content"]]} for t in base["added_tokens"]]}
    for kind in kinds["kinds"]:
        patch = kind["files"].get("tokenizer.json") or {}
        model = {k: v for k, v in patch.get("model", {}).items() if k not in ("vocab", "merges")}
        added = [t for t in patch.get("added_tokens", []) if t["id"] > 1000]
        yield text(base | {k: v for k, v in patch.items() if k not in ("model", "added_tokens")} |
                   {"model": base["model"] | model, "added_tokens": base["added_tokens"] + added})


def tokenizer_config_seeds():
    chatml = (ROOT / "data/chat/templates/chatml.jinja").read_bytes()
    roles = {"bos_token": "<s>", "eos_token": "</s>"}
    yield MARK.join([text(roles | {"chat_template": chatml.decode(), "model_max_length": 10 ** 30}).encode(),
                     text({"pad_token": {"content": "</s>"}}).encode(), text({"eos_token_id": [5, 7]}).encode(),
                     text({"model_type": "llama", "eos_token_id": 5}).encode(), text({"a": 0, "<new>": 13}).encode()])
    yield MARK.join([text(roles | {"tokenizer_class": "LlamaTokenizer", "legacy": False}).encode(), b"", b"", b"", b"",
                     chatml, b"{{ bos_token }}{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}"])
    for path in sorted((ROOT / "data/chat/templates").glob("*.jinja")):
        yield MARK.join([text(roles | {"chat_template": [{"name": "default", "template": path.read_text()}]}).encode()])
    for kind in json.loads((GOLDEN / "tokenizer/kinds.json").read_text())["kinds"]:
        if "tokenizer_config.json" in kind["files"]:
            yield text(kind["files"]["tokenizer_config.json"])


def varint(v):
    out = b""
    while v > 0x7f:
        out += bytes([v & 0x7f | 0x80])
        v >>= 7
    return out + bytes([v])


def fields(data):
    """(number, bytes with tag) of the fields of a message of which all have a length."""
    def read(at):
        v, shift = 0, 0
        while True:
            v |= (data[at] & 0x7f) << shift
            at, shift = at + 1, shift + 7
            if data[at - 1] < 0x80:
                return v, at
    at = 0
    while at < len(data):
        tag, body = read(at)
        length, body = read(body)
        yield tag >> 3, data[at:body + length]
        at = body + length


def spm_seeds():
    for path in ("tokenizer/llama2-tokenizer.model", "chat/mistral-v3.model"):
        whole = list(fields((GOLDEN / path).read_bytes()))
        pieces, rest = [f for n, f in whole if n == 1], [f for n, f in whole if n != 1]
        yield b"".join(pieces[:300] + rest)
        yield b"".join(pieces[:20] + pieces[259:300] + rest)
    rules = (GOLDEN / "tokenizer/rules.model").read_bytes() # with a table of normalisation
    pieces, rest = [f for n, f in fields(rules) if n == 1], [f for n, f in fields(rules) if n != 1]
    yield rules
    for kind in (1, 2, 3, 4): # unigram, BPE, words, characters
        trainer = b"\x18" + bytes([kind])
        yield b"".join(pieces + [b"\x12" + varint(len(trainer)) + trainer] + rest[1:])


# ---- text -----------------------------------------------------------------------------------------------------------

def config_json_seeds():
    paths = sorted(GOLDEN.glob("arch/*/config.json")) + sorted(GOLDEN.glob("arch/*/config_v4.json"))
    for path in paths + [GOLDEN / "tiny/llama-mha/config.json"]:
        yield text(json.loads(path.read_text()))


def config_seeds():
    everything = next(s for s in c_strings("tests/support/config_rig.c") if b"quantization: {quant_type: int8" in s)
    yield everything + MARK + b"lora.r=8\ntraining.learning_rate=1e-4\ndata.train=[train.jsonl, more.jsonl]"
    for path in sorted((ROOT / "configs").glob("*.yaml")):
        source = re.sub(r"(?m)#.*$", "", path.read_text())
        source = re.sub(r"(path|train|eval|output_dir): *[^,}\n]+", lambda m: f"{m[1]}: " + {
            "path": "model", "train": "train.jsonl", "eval": "eval.jsonl", "output_dir": "out"}[m[1]], source)
        yield source.encode() + MARK + b"device.backend=cpu"


def rows_seeds():
    rows = [s for s in c_strings("tests/unit/test_dataset_fuzz.c") if s.startswith(b"{") and len(s) > 40]
    demo = (ROOT / "data/demo/train.jsonl").read_bytes().splitlines()[:3]
    whole = b"\n".join(rows)
    for row in rows + demo:
        yield b"a0" + row + b"\n"
    yield b"a1" + whole
    yield b"b0[" + b",\n".join(r for r in rows if b"NaN" not in r) + b"]"
    yield b"c0" + "A text. Größe 你好\n\n".encode() * 3
    yield b"d0" + gzip.compress(rows[0] + b"\n" + rows[1], mtime=0) + gzip.compress(b"\n" + rows[2], mtime=0)
    yield b"D0" + whole
    yield b"E0[" + rows[0] + b", " + rows[2] + b"]"
    yield b"F2[" + rows[1] + b"]"
    yield b"G4" + demo[0]
    yield b"e0" + bytes.fromhex("28b52ffd0458310000") + b"[{}]\n\n" + bytes(4)


def import_seeds():
    script = (ROOT / "tests/cli/import.sh").read_text()
    files = dict(re.findall(r"(?ms)^cat >(\S+) <<'?END'?\n(.*?)^END$", script))
    info = files.pop("data/dataset_info.json").replace(".jsonl", "/rows.jsonl").encode()
    for name, source in files.items():
        if name.endswith((".yml", ".yaml")):
            yield source.encode() + MARK + info
    yield files["mini.yaml"].encode()


def jinja_seeds():
    for path in sorted((ROOT / "data/chat/templates").glob("*.jinja")):
        yield path.read_bytes()
    for case in json.loads((GOLDEN / "jinja/statements.json").read_text())[::3]:
        yield case["template"]


# ---- words ----------------------------------------------------------------------------------------------------------

SOURCES = {
    "safetensors": ["model/formats/safetensors.c"],
    "index": ["model/formats/safetensors.c", "model/source_hf.c"],
    "bnb": ["model/formats/safetensors.c", "model/source_bnb.c"],
    "gguf": ["model/gguf_config.c", "model/gguf_rope.c", "model/formats/gguf_open.c", "data/tokenizer/tokenizer_gguf.c",
             "model/families.c"],
    "config_json": ["model/hf_config.c", "model/hf_rope.c", "model/families.c", "model/config_keys.c", "model/rope.c"],
    "tokenizer": ["data/tokenizer/tokenizer_json.c", "data/tokenizer/normalizer.c", "data/tokenizer/pretokenizer.c",
                  "data/tokenizer/pattern.c"],
    "tokenizer_config": ["data/tokenizer/tokenizer_settings.c", "data/tokenizer/tokenizer_templates.c",
                         "data/jinja/filters.c", "data/jinja/parse_stmt.c", "data/jinja/methods.c"],
    "spm": ["data/tokenizer/spm.c"],
    "config": ["trainer/config/config_schema.c"],
    "import": ["trainer/import/axolotl.c", "trainer/import/axolotl_data.c", "trainer/import/llama_factory.c",
               "trainer/import/llama_factory_data.c", "trainer/import/takes.c"],
    "rows": ["data/rows.c", "data/conversation_message.c", "data/conversation_tools.c", "data/conversation_formats.c",
             "data/dataset_formats.c", "data/dataset_tokens.c"],
    "jinja": ["data/jinja/lexer.c", "data/jinja/parse_stmt.c", "data/jinja/parse_expr.c", "data/jinja/filters.c",
              "data/jinja/tests.c", "data/jinja/methods.c", "data/jinja/globals.c"],
    "adapter": ["model/formats/safetensors.c", "model/adapter.c", "base/name_pattern.c"],
    "checkpoint": ["trainer/run/checkpoint.c", "trainer/run/output_dir.c", "trainer/run/metrics.c",
                   "model/formats/safetensors.c"],
}
MORE = ["18446744073709551615", "9223372036854775807", "-9223372036854775808", "4294967296", "2147483648", "1e308",
        "-1", "0", "null", "true", "[]", "{}", "../", "/", "\\u0000", "\\ud800", "%%%%"]


def words(name):
    found = set(MORE)
    for path in SOURCES[name]:
        for s in c_strings(path):
            if 1 < len(s) <= 40 and b"%" not in s and b" " not in s.strip():
                found.add(s.decode("latin-1"))
    quote = lambda w: "".join(c if 32 <= ord(c) < 127 and c not in '"\\' else f"\\x{ord(c):02X}" for c in w)
    return "".join(f'"{quote(w)}"\n' for w in sorted(found))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: make_seeds.py OUT")
    OUT = Path(sys.argv[1])
    for fuzzer in SOURCES:
        put(fuzzer, globals()[f"{fuzzer}_seeds"]())
        (OUT / f"{fuzzer}.dict").write_text(words(fuzzer))
