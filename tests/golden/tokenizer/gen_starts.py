#!/usr/bin/env python3
"""Makes starts.json with the reference libraries (tokenizers, transformers): the byte of the text at which each token
begins, for some of the tokenizers and all texts of kinds.json and variants.json, which must be there.

Of `tokenizers` the offsets are those of characters; here they are bytes of UTF-8."""
import json

from gen_kinds import open_kind, path
from generate import patched

KINDS = ["llama2", "phi3", "phi3, normalized", "gemma", "gemma, normalized", "nfc", "digits", "metaspace first, split True",
         "metaspace never, split False", "LlamaTokenizer", "LlamaTokenizer, legacy", "tokenizer.model",
         "tokenizer.model, legacy"]
VARIANTS = ["llama-bpe", "qwen2", "digits", "added", "unknown"]


def load(name):
    with open(path(name), encoding="utf-8") as f:
        return json.load(f)


def starts(encoding, text):
    return [len(text[:a].encode()) for a, b in encoding.offsets]


def main():
    kinds, variants, base = load("kinds.json"), load("variants.json"), load("tokenizer.json")
    out = {"kinds": {}, "variants": {}}
    for k in kinds["kinds"]:
        if k["name"] in KINDS:
            t = open_kind(kinds["base"], k["files"])
            out["kinds"][k["name"]] = [starts(t(x, add_special_tokens=False)._encodings[0], x) for x in kinds["texts"]]
    for v in variants["variants"]:
        if v["name"] in VARIANTS:
            t = patched(base, v["patch"])
            out["variants"][v["name"]] = [starts(t.encode(x, add_special_tokens=False), x) for x in variants["texts"]]
    with open(path("starts.json"), "w", encoding="utf-8") as f:
        json.dump(out, f, separators=(",", ":"))
        f.write("\n")


if __name__ == "__main__":
    main()
