#!/usr/bin/env python3
"""Rows of real data through published chat templates, and the time it takes, beside transformers.

    template_rows.py PROGRAM --templates FILE.jinja... --data FILE.json...

The data is ShareGPT (also with tools, function_call and observation) or Alpaca. Text and ids of every row are compared
with apply_chat_template of the same conversation; of each template x file the numbers of rows that are equal, otherwise,
and refused are printed, with the reason of the first that is refused. At the end tokens a second of both, on the rows of
the first template that both render."""
import argparse
import collections
import json
import os
import shutil
import subprocess
import tempfile
import time

from transformers import AutoTokenizer

HERE = os.path.dirname(os.path.abspath(__file__))
BPE = os.path.join(HERE, "..", "golden", "tokenizer", "tokenizer.json")
ROLES = {"human": "user", "gpt": "assistant", "system": "system", "observation": "tool"}


def messages_of(row):
    if "instruction" in row:
        text = row["instruction"] + ("\n\n" + row["input"] if row.get("input") else "")
        out = [{"role": "user", "content": text}, {"role": "assistant", "content": row["output"]}]
        return ([{"role": "system", "content": row["system"]}] if row.get("system") else []) + out, None
    out = [{"role": "system", "content": row["system"]}] if row.get("system") else []
    for m in row["conversations"]:
        if m["from"] == "function_call":
            call = json.loads(m["value"])
            out.append({"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": call}]})
        else:
            out.append({"role": ROLES[m["from"]], "content": m["value"]})
    tools = row.get("tools")
    tools = json.loads(tools) if isinstance(tools, str) and tools else tools
    return out, [t if "function" in t else {"type": "function", "function": t} for t in tools] if tools else None


def model_dir(folder, template):
    path = tempfile.mkdtemp(dir=folder)
    shutil.copy(BPE, os.path.join(path, "tokenizer.json"))
    shutil.copy(template, os.path.join(path, "chat_template.jinja"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}
    with open(os.path.join(path, "tokenizer_config.json"), "w") as f:
        json.dump(config, f)
    return path


def ours(program, data, model):
    done = subprocess.run([program, "inspect", data, "--model", model, "--jsonl"], capture_output=True, text=True)
    rows = {}
    for line in done.stdout.splitlines():
        row = json.loads(line)
        rows[row["row"]] = row
    return rows


def theirs(tok, row):
    messages, tools = messages_of(row)
    try:
        text = tok.apply_chat_template(messages, tools=tools, tokenize=False)
        return text, tok(text, add_special_tokens=False)["input_ids"]
    except Exception as e:  # a template may raise anything
        return None, f"{type(e).__name__}: {e}"


def compare(program, data, rows, model, tok):
    count, reason = collections.Counter(), None
    got = ours(program, data, model)
    for i, row in enumerate(rows, 1):
        text, ids = theirs(tok, row)
        mine = got.get(i, {"error": "no such row"})
        if "error" in mine:
            count["refused" if text is not None else "both refuse"] += 1
            reason = reason or mine["error"]
        elif text is None:
            count["only here"] += 1
        else:
            count["equal" if mine["text"] == text and mine["input_ids"] == ids else "OTHERWISE"] += 1
    return count, reason


def speed(program, rows, model, tok, folder):
    """The rows again and again, some 20 MB, so that the start does not count."""
    path = os.path.join(folder, "long.jsonl")
    times = 1 + 20_000_000 // sum(len(json.dumps(r)) for r in rows)
    with open(path, "w") as f:
        for _ in range(times):
            for row in rows:
                f.write(json.dumps(row) + "\n")
    begin = time.time()
    done = subprocess.run([program, "inspect", path, "--model", model], capture_output=True, text=True, check=True)
    mine = time.time() - begin
    line = next(x for x in done.stdout.splitlines() if "tokens" in x)
    begin, tokens = time.time(), 0
    for row in rows:
        tokens += len(theirs(tok, row)[1])
    other = time.time() - begin
    print(f"speed: here {times * tokens / mine:,.0f} tokens/s ({times * len(rows)} rows, {mine:.1f} s: {line.strip()}), "
          f"transformers {tokens / other:,.0f} tokens/s ({len(rows)} rows, {other:.1f} s)")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--templates", nargs="+", required=True)
    parser.add_argument("--data", nargs="+", required=True)
    a = parser.parse_args()
    timed, wrong = set(), 0
    with tempfile.TemporaryDirectory() as folder:
        for template in a.templates:
            model = model_dir(folder, template)
            tok = AutoTokenizer.from_pretrained(model)
            for data in a.data:
                with open(data) as f:
                    rows = json.load(f)
                count, reason = compare(a.program, data, rows, model, tok)
                wrong += count["OTHERWISE"]
                name = os.path.basename(template).removesuffix(".jinja")
                print(f"{name:48} {os.path.basename(data):30} {len(rows)} rows: "
                      + ", ".join(f"{n} {what}" for what, n in sorted(count.items()))
                      + (f"; first: {reason}" if reason else ""))
                if data not in timed and count["equal"] == len(rows):
                    timed.add(data)
                    speed(a.program, rows, model, tok, folder)
    raise SystemExit(wrong > 0)


if __name__ == "__main__":
    main()
