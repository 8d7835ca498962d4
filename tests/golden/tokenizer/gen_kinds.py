#!/usr/bin/env python3
"""Regenerates kinds.json with the reference libraries (tokenizers, transformers, sentencepiece):

  gen_kinds.py WIKI.txt

WIKI.txt: some English text, on which a small vocabulary of SentencePiece's kind is trained.

kinds.json
  texts    what all of them encode
  base     a tokenizer.json of BPE with byte fallback (Llama 2's settings), which the kinds patch
  kinds    name, `files` (name -> JSON; a tokenizer.json is a patch of `base`, null is llama2-tokenizer.model), ids as
           AutoTokenizer gives them for a directory with these files
  rows     rows of a data file under such files, as transformers encodes them: a conversation by apply_chat_template, a
           text with BOS unless it spells one, and with EOS
  presets  names of tokenizer.ggml.pre with the settings that the models' own tokenizer.json have, and the ids that
           they give with the vocabulary of tokenizer.json
"""
import copy
import json
import os
import random
import re
import shutil
import sys
import tempfile

from tokenizers import Tokenizer, models, normalizers, trainers
from transformers import AutoTokenizer

HERE = os.path.dirname(os.path.abspath(__file__))
MARK = "\u2581"


def path(name):
    return os.path.join(HERE, name)


def added(id, content, **flags):
    token = {"id": id, "content": content, "single_word": False, "lstrip": False, "rstrip": False,
             "normalized": False, "special": True}
    return {**token, **flags}


# ---- texts ----

TEXTS = ["", " ", "  ", "   ", "\n", "\n\n", "\t", " leading", "  two", "trailing ", "a  b   c    d", "a\n\nb", "\r\n",
         "Hello world", "<s>[INST] Hi [/INST] Hello. </s><s>[INST] Bye [/INST] See you. </s>", "<s> x", "<s>  x", "x</s> <s>y",
         "a</s>", "</s>\nb", "<unk>", "caf\u00e9", "cafe\u0301", "Cafe\u0301s", "\u2581a", "a\u2581b", "\u2581\u2581x", "\U0001f642",
         "\U0001f469\u200d\U0001f469\u200d\U0001f467 family", "\u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8", "\ud55c\uad6d\uc5b4", "\u0639\u0631\u0628\u064a",
         "\u0939\u093f\u0928\u094d\u0926\u0940", "\u0000", "a\u0000b", "\u00a0x\u2003y\u3000", "\u200bz", "\u180e", "1234567", "3.14159 12 345",
         "\u00bd\u2153\u2167\u0663", "I'LL we'Re can't 'S", "HTTPServer camelCase ABCdef", "def f(x):\n    return x\n\n\n", "http://x.y/z?a=b",
         "$%^&*()--==++`~|", "\u3002\uff0c\u3001\u2026", "(a.b,c!d?e)", "don't \u017fs 'Ve", "\u01c4\u01c5 \u02b0\u02b1", " \u0301x", "tab\t tab \t\n x",
         "<|left|>", "  <|left|>  ", "a <|right|>  b", "a <|both|> \n b", "word<|one|>word <|one|> <|one|>", "<|one|>.",
         "normal norm normals anormal", "<|im_start|>user\nHi<|im_end|>\n", "x\u2028y\u0085z", "\U000e0001", "12\u0301 a\u0301\u0302"]
PIECES = ["  ", " ", "\t", "\n", "\u00a0", "a", "The", " and", "'ll", "12345", "\u0663", "$%^", "caf\u00e9", "cafe\u0301", "<s>", "</s>",
          "<|left|>", "<|right|>", "<|both|>", "<|one|>", "norm", "\U0001f642", "\u65e5\u672c", "\u2581", "\u0000"]


def texts():
    draw = random.Random(5)
    return TEXTS + ["".join(draw.choice(PIECES) for _ in range(draw.randint(2, 10))) for _ in range(40)]


# ---- a small vocabulary of SentencePiece's kind ----

def base(wiki):
    t = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    t.normalizer = normalizers.Sequence([normalizers.Prepend(MARK), normalizers.Replace(" ", MARK)])
    words = re.findall(r"\S+", open(wiki, encoding="utf-8").read()[:300000])
    letters = [chr(c) for c in range(33, 127)] + [MARK, "\u00e9", "\u65e5"]
    first = ["<unk>", "<s>", "</s>"] + [f"<0x{i:02X}>" for i in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=700, special_tokens=first, initial_alphabet=letters,
                                  limit_alphabet=len(letters), show_progress=False)
    t.train_from_iterator(words, trainer)
    root = json.loads(t.to_str())
    root["added_tokens"] = root["added_tokens"][:3]
    vocab, merges = root["model"]["vocab"], [" ".join(m) for m in root["model"]["merges"]]
    # Runs of spaces, which Llama's and Gemma's vocabularies have.
    for left, right in ((MARK, MARK), (MARK * 2, MARK), (MARK * 2, MARK * 2)):
        vocab[left + right] = len(vocab)
        merges.insert(0, f"{left} {right}") if left == MARK else merges.append(f"{left} {right}")
    root["model"]["merges"] = merges
    root["decoder"] = {"type": "Sequence", "decoders": [
        {"type": "Replace", "pattern": {"String": MARK}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}
    return root


# ---- kinds ----

PLAIN = {"tokenizer_class": "PreTrainedTokenizerFast"}
REPLACE = {"type": "Replace", "pattern": {"String": " "}, "content": MARK}


def regex(pattern, content):
    return {"type": "Replace", "pattern": {"Regex": pattern}, "content": content}


def metaspace(scheme, split):
    return {"normalizer": None, "pre_tokenizer": {"type": "Metaspace", "replacement": MARK, "prepend_scheme": scheme,
                                                  "split": split}}


def some_added(n, normalized):
    return [added(n, "<|left|>", lstrip=True, normalized=normalized),
            added(n + 1, "<|right|>", rstrip=True, normalized=normalized),
            added(n + 2, "<|both|>", lstrip=True, rstrip=True, special=False, normalized=normalized),
            added(n + 3, "<|one|>", single_word=True, special=False, normalized=normalized),
            added(n + 4, "norm", single_word=True, special=False, normalized=normalized),
            added(n + 5, "cafe\u0301", special=False, normalized=normalized)]


def kinds(b):
    n, pairs = len(b["model"]["vocab"]), [m.split(" ") for m in b["model"]["merges"]]
    gemma = {"normalizer": REPLACE, "pre_tokenizer": {"type": "Split", "pattern": {"String": " "},
                                                      "behavior": "MergedWithPrevious", "invert": False}}
    patches = {
        "llama2": {},
        "llama2, merges as pairs": {"model": {"merges": pairs}},
        "llama2, ignore_merges": {"model": {"ignore_merges": True}},
        "phi3": {"added_tokens": some_added(n, False)},
        "phi3, normalized": {"added_tokens": some_added(n, True)},
        "gemma": {**gemma, "added_tokens": some_added(n, False)},
        "gemma, normalized": {**gemma, "added_tokens": some_added(n, True) + [
            added(b["model"]["vocab"][MARK * 2], MARK * 2, special=False, normalized=True)]},
        "nfc": {"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}, REPLACE]},
                "added_tokens": some_added(n, True)},
        "sentencepiece 5": {"normalizer": {"type": "Sequence", "normalizers": [
            regex(r"\A +| +\z", ""), regex(" {2,}", " "), REPLACE, regex(r"\A" + MARK, MARK * 2)]},
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [metaspace("always", False)["pre_tokenizer"]]}},
        "digits": {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Digits", "individual_digits": True}, metaspace("first", True)["pre_tokenizer"]]}, "normalizer": None},
    }
    for scheme in ("always", "first", "never"):
        for split in (True, False):
            patches[f"metaspace {scheme}, split {split}"] = {**metaspace(scheme, split), "added_tokens": some_added(n, False)}
    out = {name: {"tokenizer.json": patch, "tokenizer_config.json": PLAIN} for name, patch in patches.items()}
    llama, extra = {"tokenizer_class": "LlamaTokenizer"}, {"added_tokens": some_added(n, False)}
    for name, config, model in (("", llama, "llama"), (", legacy", {**llama, "legacy": True}, "llama"),
                                (", not legacy", {**llama, "legacy": False}, "llama"),
                                (", fast", {"tokenizer_class": "LlamaTokenizerFast", "legacy": True}, "llama"),
                                (", no prefix", {**llama, "add_prefix_space": False}, "llama"),
                                (" of a mistral", {**llama, "legacy": False}, "mistral")):
        out["LlamaTokenizer" + name] = {"tokenizer.json": extra, "tokenizer_config.json": config,
                                        "config.json": {"model_type": model}}
    for name, config, model in (("", {}, "llama"), (", legacy", {"legacy": True}, "llama"), (", not legacy", {"legacy": False}, "llama"),
                                (" of a mistral", llama, "mistral"),
                                (" of a mistral, not legacy", {**llama, "legacy": False}, "mistral")):
        config = {**config, "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "added_tokens_decoder": {
            str(32000 + i): {k: v for k, v in t.items() if k != "id"}
            for i, t in enumerate(t for t in some_added(0, False) if t["content"] != "norm")}}
        out["tokenizer.model" + name] = {"tokenizer.model": None, "tokenizer_config.json": config,
                                         "config.json": {"model_type": model}}
    return out


def patched(b, patch):
    t = copy.deepcopy(b)
    t["model"].update(patch.get("model", {}))
    t["added_tokens"] += patch.get("added_tokens", [])
    t.update({k: v for k, v in patch.items() if k not in ("model", "added_tokens")})
    return t


def open_kind(b, files):
    with tempfile.TemporaryDirectory() as d:
        for name, value in files.items():
            if value is None:
                shutil.copy(path("llama2-tokenizer.model"), os.path.join(d, name))
                continue
            with open(os.path.join(d, name), "w", encoding="utf-8") as f:
                json.dump(patched(b, value) if name == "tokenizer.json" else value, f)
        return AutoTokenizer.from_pretrained(d)


# ---- rows ----

CHATML = ("{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' + '\\n' }}{% endfor %}")


def rows():
    special = {"lstrip": False, "rstrip": False, "normalized": False, "single_word": False, "special": True}
    tokens = {"0": "<unk>", "1": "<s>", "2": "</s>", "32000": "<|im_end|>", "32001": "<|im_start|>"}
    out = []
    for legacy in (False, True):
        config = {"tokenizer_class": "LlamaTokenizer", "legacy": legacy, "add_bos_token": True, "bos_token": "<s>",
                  "eos_token": "</s>", "unk_token": "<unk>", "chat_template": CHATML,
                  "added_tokens_decoder": {i: {"content": t, **special} for i, t in tokens.items()}}
        files = {"tokenizer.model": None, "tokenizer_config.json": config, "config.json": {"model_type": "llama"}}
        for row in ({"messages": [{"role": "user", "content": "Hi there"}, {"role": "assistant", "content": "Hello."}]},
                    {"text": "<s>[INST] Hi [/INST] Hello. </s><s>[INST] Bye [/INST] See you. "},
                    {"text": "[INST] Hi [/INST] Hello. </s><s>[INST] Bye"}, {"text": "<|im_start|>user\nHi there"}):
            out.append({"files": files, "row": row})
    return out


def encode_row(t, row):
    if "messages" in row:
        return t.apply_chat_template(row["messages"], return_dict=False)
    return t(row["text"], add_special_tokens=not row["text"].startswith("<s>")).input_ids + [t.eos_token_id]


# ---- pre-tokenizers by name ----

CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
CL100K = (CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"


def o200k(contractions, digits):
    return (rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+{contractions}|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*{contractions}"
            rf"|\p{{N}}{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")


GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
CJK = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"
BLOOM = r" ?[^(\s|.,!?…。，、।۔،)]+"
DEEPSEEK_V3 = (r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
               r"""| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+""")


def deepseek_llm():
    # Some of these letters have a canonical equivalent, so they are escaped.
    cased = ("A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af\u0370-"
             "\u0373\u0376\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5\u03f7-"
             "\u0481\u048a-\u052f\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba\u1cbd-\u1cbf"
             "\u1d00-\u1d2b\u1d6b-\u1d77\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d\u1f50-"
             "\u1f57\u1f59\u1f5b\u1f5d\u1f5f-\u1f7d\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc"
             "\u1fd0-\u1fd3\u1fd6-\u1fdb\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102\u2107\u210a-\u2113\u2115"
             "\u2119-\u211d\u2124\u2126\u2128\u212a-\u212d\u212f-\u2134\u2139\u213c-\u213f\u2145-\u2149\u214e"
             "\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4\u2ceb-\u2cee\u2cf2\u2cf3\ua640-\ua66d\ua680-\ua69b\ua722-"
             "\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf\ufb00-\ufb06\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a"
             "\U00010400-\U0001044f\U000104b0-\U000104d3\U000104d8-\U000104fb\U00010c80-\U00010cb2\U00010cc0-"
             "\U00010cf2\U000118a0-\U000118df\U0001e900-\U0001e943")
    return ["[\r\n]", rf"\s?[{cased}]+", r"\s?[!-/:-~！-／：-～‘-‟　-。]+", r"\s+$", CJK, r"\p{N}"]


# name -> patterns, the GPT-2 pattern at the end, other settings
PRESETS = {
    "gpt-2": ([], True, {}), "exaone4": ([], True, {}), "mpt": ([], True, {}),
    "olmo": ([], True, {"nfc": True}),
    "smollm": ([r"\p{N}"], True, {}), "refact": ([r"\p{N}"], True, {}), "starcoder": ([r"\p{N}"], True, {}),
    "command-r": ([r"\p{N}"], True, {"nfc": True}),
    "llama-bpe": ([CL100K % "{1,3}"], False, {"ignore_merges": True}),
    "llama3": ([CL100K % "{1,3}"], False, {"ignore_merges": True}),
    "falcon3": ([CL100K % "{1,3}"], False, {"ignore_merges": True}),
    "dbrx": ([CL100K % "{1,3}"], False, {}), "smaug-bpe": ([CL100K % "{1,3}"], False, {}),
    "glm4": ([CL100K % "{1,3}"], False, {}), "chatglm-bpe": ([CL100K % "{1,3}"], False, {}),
    "qwen2": ([CL100K % ""], False, {"nfc": True}), "stablelm2": ([CL100K % ""], False, {}),
    "qwen35": ([CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+"
                r"|\s+(?!\S)|\s+"], False, {"nfc": True}),
    "gpt-4o": ([o200k(CONTRACTIONS + "?", "{1,3}")], False, {}),
    "tekken": ([o200k("", "")], False, {"ignore_merges": True}),
    "deepseek-llm": (deepseek_llm(), False, {}),
    "deepseek-coder": (["[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", CJK, r"\p{N}"], False, {}),
    "deepseek-v3": ([r"\p{N}{1,3}", "[一-龥\u3040-ゟ゠-ヿ]+", DEEPSEEK_V3], False, {}),
    "seed-coder": ([CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+"],
                   False, {}),
    "falcon": ([r"[\p{P}\$\+<=>\^~\|`]+", GPT2, "[0-9][0-9][0-9]"], False, {}),
    "default": ([r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"], False, {}),
    "bloom": ([BLOOM], False, {}), "viking": ([BLOOM, r"\p{N}"], False, {}),
    "bailingmoe": ([r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]"
                    r"|\s+(?!\S)|\s+"], False, {}),
}


def encode_preset(smollm2, splits, gpt2, nfc=False, ignore_merges=False):
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": gpt2}
    t = copy.deepcopy(smollm2)
    t["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": s}, "behavior": "Isolated", "invert": False} for s in splits] + [byte_level]}
    t["normalizer"] = {"type": "NFC"} if nfc else None
    t["model"]["ignore_merges"] = ignore_merges
    return Tokenizer.from_str(json.dumps(t))


def main():
    b, lines = base(sys.argv[1]), texts()
    out = {"texts": lines, "base": b, "kinds": [], "rows": rows(), "presets": []}
    for name, files in kinds(b).items():
        t = open_kind(b, files)
        ids = [t(x, add_special_tokens=False).input_ids for x in lines]
        out["kinds"].append({"name": name, "files": files, "ids": ids})
    for row in out["rows"]:
        row["ids"] = encode_row(open_kind(b, row["files"]), row["row"])
    with open(path("tokenizer.json"), encoding="utf-8") as f:
        smollm2 = json.load(f)
    for name, (splits, gpt2, more) in PRESETS.items():
        t = encode_preset(smollm2, splits, gpt2, **more)
        out["presets"].append({"name": name, "ids": [t.encode(x, add_special_tokens=False).ids for x in lines]})
    with open(path("kinds.json"), "w", encoding="utf-8") as f:
        json.dump(out, f, ensure_ascii=True, separators=(",", ":"))
        f.write("\n")


if __name__ == "__main__":
    main()
