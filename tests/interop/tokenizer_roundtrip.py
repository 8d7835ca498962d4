#!/usr/bin/env python3
"""Does a tokenizer that qlora-train wrote load in transformers, and give the same ids?

  tokenizer_roundtrip.py DIR CASES.json COLUMN [TOKENIZER]

DIR: a directory with tokenizer.json and tokenizer_config.json, as `export` writes them.
CASES.json: a list of {"text", COLUMN: ids} (tests/golden/tokenizer/cases.json, column smollm2 or llama2_sp).
TOKENIZER: the model that DIR was written from; given with the environment variable QLORA_TRAIN (the program),
`qlora-train tokenize` is asked for the ids of TOKENIZER as well. Exit status 1 on any difference.
"""
import json
import os
import subprocess
import sys

from transformers import AutoTokenizer


def native_ids(model, texts, plain):
    lines = "".join(json.dumps({"text": t}) + "\n" for t in texts)
    command = [os.environ["QLORA_TRAIN"], "tokenize", model] + (["--plain"] if plain else [])
    out = subprocess.run(command, input=lines, capture_output=True, text=True, check=True).stdout
    return [json.loads(line)["input_ids"] for line in out.splitlines()]


def compare(what, got, want, texts):
    bad = [i for i in range(len(texts)) if got[i] != want[i]]
    print(f"{what}: {len(texts) - len(bad)} of {len(texts)}")
    for i in bad[:5]:
        print(f"  {texts[i]!r}\n    got      {got[i]}\n    expected {want[i]}")
    return not bad


def main():
    directory, cases_file, column = sys.argv[1:4]
    with open(cases_file, encoding="utf-8") as f:
        cases = json.load(f)
    texts, want = [c["text"] for c in cases], [c[column] for c in cases]
    tok = AutoTokenizer.from_pretrained(directory)
    print(f"{type(tok).__name__}: bos {tok.bos_token!r}, eos {tok.eos_token!r}, pad {tok.pad_token!r}, "
          f"max length {tok.model_max_length}, chat template {'yes' if tok.chat_template else 'no'}")
    plain = column == "llama2_sp"    # to SentencePiece itself control tokens in the text are text
    options = {"add_special_tokens": False, "split_special_tokens": plain}
    ok = compare("transformers", [tok(t, **options).input_ids for t in texts], want, texts)
    if len(sys.argv) > 4:
        ok &= compare("qlora-train", native_ids(sys.argv[4], texts, plain), want, texts)
    if column == "smollm2":
        back = [tok.decode(ids) for ids in want]
        ok &= compare("decoded by transformers", back, texts, texts)
    sys.exit(0 if ok else 1)


if __name__ == "__main__":
    main()
