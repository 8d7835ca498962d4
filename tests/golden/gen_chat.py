#!/usr/bin/env python3
"""Makes tests/golden/chat/: conversations in chat templates as transformers renders and encodes them, with what of them
is trained; and Alpaca rows with the ids and labels of a reference training run.

    gen_chat.py [ALPACA.json EXPECTED.safetensors]

Needs transformers, tokenizers, sentencepiece, protobuf; for the two arguments safetensors.

The templates are written for these tests, one feature each and then in the manner of some families. {% generation %}
stands around what is to be trained, by hand; the program gets them without, and has to find it. It is written only amid
lines, so that the text is the same.

cases.json
  name, template, marked (null: not to be tried with its marks), files (of the model's directory, beside the tokenizer),
  spm (llama2-tokenizer.model, else tokenizer.json)
  cases: messages, tools, kwargs; text, ids, labels; prompt: the ids before the last answer"""
import json
import os
import re
import shutil
import sys
import tempfile

from sentencepiece import sentencepiece_model_pb2
from transformers import AutoTokenizer

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, "chat")
BPE = os.path.join(HERE, "tokenizer", "tokenizer.json")
SPM = os.path.join(HERE, "tokenizer", "llama2-tokenizer.model")
V3 = os.path.join(OUT, "mistral-v3.model")
U, A, S, T = "user", "assistant", "system", "tool"
NL = "{{ '\\n' }}"
G, E = "{% generation %}", "{% endgeneration %}"

# ---- one feature each ----

HEAD = "<|im_start|>{{ m.role }}" + NL
PROMPT = "{% if add_generation_prompt %}<|im_start|>assistant" + NL + "{% endif %}"


def turns(body, loop="m in messages", before="", prompt=PROMPT):
    return before + "{% for " + loop + " %}" + body + "{% endfor %}" + prompt


def answer(text="{{ m.content }}<|im_end|>", tail=NL, head=HEAD):
    """One message, of which an answer's text is trained, behind its head."""
    return ("{% if m.role == 'assistant' %}" + head + G + text + E + tail + "{% else %}" + HEAD + "{{ m.content }}<|im_end|>" + NL
            + "{% endif %}")


FEATURES = {
    "plain": turns(answer()),
    "trimmed": turns(answer("{{ m.content | trim }}<|im_end|>")),
    "whole line": turns("{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>' + '\\n' }}"),
    "by index": turns("{% set m = messages[i] %}" + answer(), "i in range(messages | length)"),
    "end in a variable": turns(answer("{{ m.content }}{{ end }}"), before="{% set end = eos_token %}"),
    "macro": "{% macro turn(m, end='<|im_end|>') %}" + HEAD + "{{ m.content }}{{ end }}" + NL + "{% endmacro %}"
             + turns("{{ turn(m) }}"),
    # The turn's end is not EOS, and more than white space is never behind it.
    "end of its own": turns(answer().replace("<|im_end|>", "<repo_name>")),
    # EOS directly behind the template's own end: the first of them ends the answer.
    "two ends": turns(answer(tail=NL + "<|endoftext|>")),
    "open": turns("{% if m.role == 'assistant' %}Answer: " + G + "{{ m.content }}" + E + NL + "{% else %}Question: {{ m.content }}"
                  + NL + "{% endif %}", prompt="{% if add_generation_prompt %}Answer: {% endif %}"),
    # White space of the prompt that a token of the answer shares: that token is the prompt's.
    "space in the prompt": turns("{% if m.role == 'assistant' %}Answer:" + G + " {{ m.content }}<|im_end|>" + E + NL
                                 + "{% else %}Question: {{ m.content }}" + NL + "{% endif %}",
                                 prompt="{% if add_generation_prompt %}Answer:{% endif %}"),
    # The prompt opens a block of reasoning, which an earlier answer has empty: they part between two line feeds.
    "thinking prompt": turns(answer(NL + "<issue_start>" + NL + "{{ m.content }}<|im_end|>", head=HEAD + "<gh_stars>" + NL),
                             prompt="{% if add_generation_prompt %}<|im_start|>assistant" + NL + "<gh_stars>" + NL + "{% endif %}"),
    # The prompt is for another kind of answer: what the two have in common is not trained.
    "prompt of another kind": turns(answer(head=HEAD + "<gh_stars>"),
                                    prompt="{% if add_generation_prompt %}<|im_start|>assistant" + NL + "<gh_stars><issue_start>{% endif %}"),
    # A header that the prompt does not have to its end is the answer's from the last token on.
    "header parts": turns("{% if m.role == 'assistant' %}<|im_start|>" + G + "assistant_one" + NL + "{{ m.content }}<|im_end|>" + E + NL
                          + "{% else %}" + HEAD + "{{ m.content }}<|im_end|>" + NL + "{% endif %}"),
    # Nothing is added before an answer: it begins where the turn before ends.
    "no prompt": turns("{% if m.role == 'assistant' %}" + G + "{{ m.content }}<|im_end|>" + E + "{% else %}[{{ m.content }}]{% endif %}", prompt=""),
    # The system text is at the last question, so that earlier text is elsewhere when an answer is to be given.
    "system last": "{% if messages[0].role == 'system' %}{% set s = messages[0].content + ': ' %}{% set ms = messages[1:] %}{% else %}"
                   "{% set s = '' %}{% set ms = messages %}{% endif %}{% set ns = namespace(last=0) %}{% for m in ms %}"
                   "{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}"
                   + turns("{% if m.role == 'user' %}[{{ s if loop.index0 == ns.last else '' }}{{ m.content }}]{% else %}" + G
                           + "{{ m.content }}<|im_end|>" + E + "{% endif %}", "m in ms", prompt=""),
    # After a tool's result nothing is added, but an answer has the header all the same.
    "prompt after users": turns(answer(), prompt="{% if add_generation_prompt and messages[-1].role == 'user' %}<|im_start|>assistant" + NL + "{% endif %}"),
    # Refuses to render what comes before a first answer.
    "needs a first message": turns(answer(), before="{% if messages[0].role == 'tool' %}{% endif %}"),
    "built list": "{% set ns = namespace(all=[]) %}{% for m in messages %}{% set ns.all = ns.all + [{'role': m.role, 'content': m.content}] %}"
                  "{% endfor %}" + turns(answer(), "m in ns.all"),
}

# ---- in the manner of families ----

TOOLS_TEXT = ("{% if tools %}<|im_start|>system" + NL + "{% if messages[0].role == 'system' %}{{ messages[0].content }}{{ '\\n\\n' }}{% endif %}"
              "Tools:{% for t in tools %}" + NL + "{{ t | tojson }}{% endfor %}<|im_end|>" + NL +
              "{% elif messages[0].role == 'system' %}<|im_start|>system" + NL + "{{ messages[0].content }}<|im_end|>" + NL + "{% endif %}")
CALLS = ("{% for c in m.tool_calls or [] %}{% if m.content or not loop.first %}" + NL + "{% endif %}<file_sep>" + NL +
         "{\"name\": \"{{ c.function.name }}\", \"arguments\": {{ c.function.arguments | tojson }}}" + NL + "<filename>{% endfor %}")
# Qwen 3: reasoning of the answers to the last question alone, tools in tags, results in the user's turn.
QWEN = (TOOLS_TEXT + "{% set ns = namespace(last=0) %}{% for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}"
        "{% endif %}{% endfor %}{% for m in messages %}{% if m.role == 'tool' %}{% if loop.previtem.role != 'tool' %}<|im_start|>user{% endif %}"
        + NL + "<jupyter_start>{{ m.content }}<jupyter_text>{% if loop.last or loop.nextitem.role != 'tool' %}<|im_end|>" + NL + "{% endif %}"
        "{% elif m.role == 'assistant' %}<|im_start|>assistant" + NL + G + "{% if loop.index0 > ns.last %}<gh_stars>" + NL +
        "{{ m.reasoning_content or '' }}" + NL + "<issue_start>{{ '\\n\\n' }}{% endif %}{{ m.content }}" + CALLS + "<|im_end|>" + E + NL +
        "{% elif m.role == 'user' or not loop.first %}" + HEAD + "{{ m.content }}<|im_end|>" + NL + "{% endif %}{% endfor %}" + PROMPT)
# Llama 3.1: dates in the system turn, trimmed texts, one call as JSON.
LLAMA3 = ("{{ bos_token }}{% set date = date_string or '26 Jul 2024' %}{% if messages[0].role == 'system' %}{% set s = messages[0].content | trim %}"
          "{% set ms = messages[1:] %}{% else %}{% set s = '' %}{% set ms = messages %}{% endif %}<repo_name>system<reponame>{{ '\\n\\n' }}"
          "Today: {{ date }}{{ '\\n\\n' }}{% if tools is not none %}{% for t in tools %}{{ t | tojson(indent=4) }}{{ '\\n\\n' }}{% endfor %}"
          "{% endif %}{{ s }}<file_sep>{% for m in ms %}{% if m.tool_calls %}{% if m.tool_calls | length > 1 %}"
          "{{ raise_exception('one call at once') }}{% endif %}<repo_name>assistant<reponame>{{ '\\n\\n' }}" + G +
          "{\"name\": \"{{ m.tool_calls[0].function.name }}\", \"parameters\": {{ m.tool_calls[0].function.arguments | tojson }}}<filename>" + E +
          "{% elif m.role == 'tool' %}<repo_name>ipython<reponame>{{ '\\n\\n' }}{{ m.content | tojson if m.content is mapping else m.content }}<file_sep>"
          "{% else %}<repo_name>{{ m.role }}<reponame>{{ '\\n\\n' }}{% if m.role == 'assistant' %}" + G + "{{ m.content | trim }}<file_sep>" + E +
          "{% else %}{{ m.content | trim }}<file_sep>{% endif %}{% endif %}{% endfor %}{% if add_generation_prompt %}<repo_name>assistant<reponame>"
          "{{ '\\n\\n' }}{% endif %}")
MISTRAL = ("{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{% if tools and loop.index0 == messages | length - 1 - (messages[-1].role != 'user') %}"
           "<gh_stars>{{ tools | tojson }}<issue_start>{% endif %}<reponame>{{ m.content }}<file_sep>{% elif m.tool_calls %}" + G +
           "<filename>[{% for c in m.tool_calls %}{{ {'name': c.function.name, 'arguments': c.function.arguments} | tojson }}"
           "{{ '' if loop.last else ', ' }}{% endfor %}]{{ eos_token }}" + E + "{% elif m.role == 'tool' %}<issue_comment>{{ {'content': m.content} | tojson }}"
           "<issue_closed>{% else %}" + G + "{{ m.content }}{{ eos_token }}" + E + "{% endif %}{% endfor %}")
GEMMA = ("{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}{% for m in messages %}"
         "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}"
         "{% set role = 'model' if m.role == 'assistant' else m.role %}<repo_name>{{ role }}" + NL + "{% if m.role == 'assistant' %}" + G +
         "{{ m.content | trim }}<reponame>" + E + "{% else %}{{ m.content | trim }}<reponame>{% endif %}" + NL + "{% endfor %}{% if add_generation_prompt %}<repo_name>model" + NL + "{% endif %}")
PHI = ("{% for m in messages %}<|{{ m.role }}|>" + NL + "{% if m.role == 'assistant' %}" + G + "{{ m.content }}<repo_name>" + E +
       "{% else %}{{ m.content }}<repo_name>{% endif %}" + NL + "{% endfor %}{% if add_generation_prompt %}<|assistant|>" + NL + "{% else %}{{ eos_token }}{% endif %}")
# GLM: the next turn's first token ends the answer.
GLM = ("<repo_name>{% for m in messages %}{% if m.role == 'assistant' %}<filename>" + G + NL + "{{ m.content }}" + E +
       "{% else %}{% if loop.previtem is defined and loop.previtem.role == 'assistant' %}" + G + "<file_sep>" + E + "{% else %}<file_sep>{% endif %}" + NL +
       "{{ m.content }}{% endif %}{% endfor %}{% if add_generation_prompt %}<filename>{% endif %}")
ZEPHYR = ("{% for m in messages %}<|{{ m.role }}|>" + NL + "{% if m.role == 'assistant' %}" + G + "{{ m.content }}{{ eos_token }}" + E +
          "{% else %}{{ m.content }}{{ eos_token }}{% endif %}" + NL + "{% endfor %}{% if add_generation_prompt %}<|assistant|>" + NL + "{% endif %}")
TULU = ZEPHYR.replace("{% else %}{{ m.content }}{{ eos_token }}{% endif %}" + NL, "{% else %}{{ m.content }}{% endif %}" + NL)
LLAMA2 = ("{% if messages[0].role == 'system' %}{% set ms = messages[1:] %}{% set s = messages[0].content %}{% else %}{% set ms = messages %}"
          "{% set s = 'Speak like a sailor.' %}{% endif %}{% for m in ms %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
          "{{ raise_exception('roles must alternate') }}{% endif %}{% if m.role == 'user' %}{{ bos_token }}[INST] {% if loop.first %}<<SYS>>" + NL +
          "{{ s }}" + NL + "<</SYS>>{{ '\\n\\n' }}{% endif %}{{ m.content | trim }} [/INST]{% else %}" + G + " {{ m.content | trim }} {{ eos_token }}" + E + "{% endif %}{% endfor %}")


# ---- conversations ----

def m(role, content, **more):
    return {"role": role, "content": content, **more}


def call(name, **arguments):
    return {"type": "function", "function": {"name": name, "arguments": arguments}}


PLAIN = [m(U, "What is the capital of France?"), m(A, "Paris.")]
TWO = [m(U, "Hi there"), m(A, "Hello."), m(U, "And 12345 + 1?"), m(A, "12346")]
EDGES = [m(U, "  Größe und 大きさ 🙂 \n"), m(A, "\n First line\n\nsecond\tline  \n"), m(U, "…"), m(A, "```c\nint x;\n```")]
SYSTEM = [m(S, " Be brief. "), m(U, "Hi"), m(A, "Hello"), m(U, "Bye"), m(A, "See you")]
EMPTY = [m(U, "Say nothing."), m(A, ""), m(U, "Now?"), m(A, "Yes.")]
FIRST = [m(A, "Can I help?"), m(U, "No."), m(A, "Good.")]
RESULT = [m(U, "1 + 2?"), m(A, "add(1, 2)"), m(T, "3"), m(A, "It is 3.")]
THINK = [m(U, "1 + 2?"), m(A, "3", reasoning_content="Easy."), m(U, "And 4?"), m(A, "7", reasoning_content="Also\neasy.")]
TOOLS = [{"type": "function", "function": {"name": "add", "description": "Adds <numbers> & \"more\"", "parameters": {
    "type": "object", "properties": {"a": {"type": "number"}}}}}]
CALL = [m(U, "1 + 2?"), m(A, "", tool_calls=[call("add", a=1, b=[2.5, "é", None, True])]), m(T, "3"), m(A, "It is 3.")]
CALLS_TWO = [m(S, "Use the tools."), m(U, "1 + 2?"), m(A, "Let me see.", tool_calls=[call("add", a=1), call("add", a=2)]), m(T, "3"),
             m(T, "{\"r\": 4}"), m(A, "It is 3."), m(U, "Thanks"), m(A, "Welcome")]

# ---- models ----

BYTES = {"bos_token": "<|endoftext|>", "eos_token": "<|im_end|>"}


def config(bos, eos, **more):
    return {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": bos, "eos_token": eos, **more}


CHATML = [PLAIN, TWO, EDGES, SYSTEM, EMPTY]
LLAMA = {"tokenizer_class": "LlamaTokenizer", "legacy": False, "add_bos_token": True, "bos_token": "<s>", "eos_token": "</s>",
         "unk_token": "<unk>"}
LLAMA_FILES = {"tokenizer_config.json": LLAMA, "config.json": {"model_type": "llama"}}
LEGACY_FILES = {**LLAMA_FILES, "tokenizer_config.json": {**LLAMA, "legacy": True}}
NOT_EMPTY = [PLAIN, TWO, EDGES]
# Of two spaces and a word transformers 5 makes other pieces than SentencePiece itself.
PIECES = [PLAIN, TWO, json.loads(json.dumps(EDGES).replace("  ", " ")), SYSTEM, EMPTY]


def families():
    plain = {"tokenizer_config.json": config("<|endoftext|>", "<|im_end|>")}
    for name, template in FEATURES.items():
        rows = {"open": NOT_EMPTY, "needs a first message": [PLAIN, FIRST], "no prompt": [PLAIN, TWO, EDGES, EMPTY], "prompt after users": [PLAIN, RESULT],
                "system last": [PLAIN, TWO, SYSTEM]}.get(name, CHATML)
        yield name, template, plain, False, [(r, None, {}) for r in rows], name not in ("whole line", "macro")
    yield ("qwen 3", QWEN, plain, False, [(r, None, {}) for r in CHATML + [THINK]] + [(CALL, TOOLS, {}), (CALLS_TWO, TOOLS, {})], True)
    yield ("llama 3.1", LLAMA3, {"tokenizer_config.json": config("<|endoftext|>", "<file_sep>"), "generation_config.json": {"eos_token_id": [5, 6]}},
           False, [(r, None, {}) for r in CHATML] + [(CALL, TOOLS, {}), (PLAIN, None, {"date_string": "1 Jan 2025"})], True)
    yield ("mistral", MISTRAL, {"tokenizer_config.json": config("<|endoftext|>", "<repo_name>")}, False,
           [(r, None, {}) for r in NOT_EMPTY] + [(CALL, TOOLS, {})], True)
    yield ("gemma", GEMMA, {"tokenizer_config.json": config("<|endoftext|>", "<gh_stars>"), "generation_config.json": {"eos_token_id": [8, 4]}},
           False, [(r, None, {}) for r in NOT_EMPTY + [EMPTY]], True)
    yield ("phi", PHI, {"tokenizer_config.json": config("<|endoftext|>", "<|endoftext|>")}, False, [(r, None, {}) for r in CHATML], True)
    yield ("glm", GLM, {"tokenizer_config.json": config("<|endoftext|>", "<|endoftext|>"), "generation_config.json": {"eos_token_id": [0, 5]}},
           False, [(r, None, {}) for r in NOT_EMPTY], False)
    yield ("zephyr", ZEPHYR, LLAMA_FILES, True, [(r, None, {}) for r in PIECES], True)
    yield ("tulu", TULU, LLAMA_FILES, True, [(r, None, {}) for r in PIECES], True)
    yield ("zephyr, legacy", ZEPHYR, LEGACY_FILES, True, [(r, None, {}) for r in PIECES], True)
    yield ("llama 2", LLAMA2, LLAMA_FILES, True, [(r, None, {}) for r in PIECES[:4]], True)


def unmarked(template):
    return template.replace(G, "").replace(E, "")


def open_model(files, spm):
    with tempfile.TemporaryDirectory() as d:
        if spm:
            shutil.copy(SPM, os.path.join(d, "tokenizer.model"))
        else:
            shutil.copy(BPE, os.path.join(d, "tokenizer.json"))
        for name, value in files.items():
            with open(os.path.join(d, name), "w", encoding="utf-8") as f:
                json.dump(value, f)
        return AutoTokenizer.from_pretrained(d)


def spans_of(template, tok, messages, tools, kwargs):
    """The characters inside the marks: marks that are text are taken out again."""
    left, right = "\ue000", "\ue001"
    marked = tok.apply_chat_template(messages, tools=tools, tokenize=False, chat_template=template.replace(G, left).replace(E, right), **kwargs)
    spans, at = [], 0
    for part in re.split(f"({left}|{right})", marked):
        if part == left:
            spans.append([at, None])
        elif part == right:
            spans[-1][1] = at
        else:
            at += len(part)
    return spans


# Where marks cannot stand amid an expression: the same template with an answer's text written apart.
HAND = {"whole line": FEATURES["plain"], "macro": FEATURES["plain"]}


def case(name, template, tok, messages, tools, kwargs):
    bare = unmarked(template)
    text = tok.apply_chat_template(messages, tools=tools, tokenize=False, chat_template=bare, **kwargs)
    encoding = tok(text, add_special_tokens=False, return_offsets_mapping=True)
    spans = spans_of(HAND.get(name, template), tok, messages, tools, kwargs)
    labels = [i if any(a <= o[0] < b for a, b in spans) else -100 for i, o in zip(encoding.input_ids, encoding.offset_mapping)]
    before = messages[:-1] or messages
    prompt = tok.apply_chat_template(before, tools=tools, tokenize=False, chat_template=bare, add_generation_prompt=True, **kwargs)
    return {"messages": messages, "tools": tools, "kwargs": kwargs, "text": text, "ids": encoding.input_ids, "labels": labels,
            "prompt": tok(prompt, add_special_tokens=False).input_ids}


def cases():
    for name, template, files, spm, rows, try_marks in families():
        tok = open_model(files, spm)
        yield {"name": name, "template": unmarked(template), "marked": template if try_marks else None, "files": files,
               "spm": spm, "cases": [case(name, template, tok, *row) for row in rows]}


# ---- other files ----

def make_v3():
    """A cut of the Llama 2 vocabulary with Mistral's markers as control tokens."""
    p = sentencepiece_model_pb2.ModelProto()
    p.ParseFromString(open(SPM, "rb").read())
    characters = list(p.pieces[-3000:])
    del p.pieces[2000:]
    have = {x.piece for x in p.pieces}
    p.pieces.extend(x for x in characters if x.piece not in have and len(x.piece) == 1)
    for name in ("[INST]", "[/INST]"):
        p.pieces.add(piece=name, score=0, type=sentencepiece_model_pb2.ModelProto.SentencePiece.CONTROL)
    open(V3, "wb").write(p.SerializeToString())


def training_rows(alpaca, expected):
    from safetensors.numpy import load_file
    rows, want = json.load(open(alpaca, encoding="utf-8")), load_file(expected)
    out = []
    for step in range(30):
        ids, labels = want[f"train.{step:02d}.input_ids"], want[f"train.{step:02d}.labels"]
        for k in range(4):
            row = {key: rows[4 * step + k][key] for key in ("instruction", "input", "output")}
            n = max(i for i in range(len(labels[k])) if labels[k][i] != -100) + 1
            first = min(i for i in range(len(labels[k])) if labels[k][i] != -100)
            out.append({**row, "ids": ids[k][:n].tolist(), "first_trained": first})
    return out


def write_lines(name, rows):
    with open(os.path.join(OUT, name), "w", encoding="utf-8") as f:
        f.write("[\n" + ",\n".join(json.dumps(r, ensure_ascii=False, separators=(",", ":")) for r in rows) + "\n]\n")


if __name__ == "__main__":
    os.makedirs(OUT, exist_ok=True)
    make_v3()
    write_lines("cases.json", list(cases()))
    if len(sys.argv) > 2:
        write_lines("alpaca.json", training_rows(sys.argv[1], sys.argv[2]))
