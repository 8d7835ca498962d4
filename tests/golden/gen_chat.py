"""Makes tests/golden/chat/: conversations rendered by the published Jinja templates of each family, with the ids that
the families' own code gives, and Alpaca rows with the ids and labels of a reference training run.

    gen_chat.py [ALPACA.json EXPECTED.safetensors]

Needs transformers (its Jinja environment), tokenizers, sentencepiece, protobuf; for the two arguments safetensors. The templates
below are those of the models named beside them. `ids`: byte-level BPE tokenizes the rendered text; SentencePiece is
called as Meta's and Mistral's own code calls it."""
import json
import os
import sys

import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Tokenizer
from transformers.utils.chat_template_utils import render_jinja_template

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, "chat")
BPE = os.path.join(HERE, "tokenizer", "tokenizer.json")
SPM = os.path.join(HERE, "tokenizer", "llama2-tokenizer.model")
V3 = os.path.join(OUT, "mistral-v3.model")
NL = "\\n"  # an escape inside a Jinja literal

# SmolLM2-135M-Instruct (newlines inside the literals, as in its GGUF)
SMOLLM2 = """{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system
You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>
' }}{% endif %}{{'<|im_start|>' + message['role'] + '
' + message['content'] + '<|im_end|>' + '
'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant
' }}{% endif %}"""

# Qwen2.5-7B-Instruct
TOOLS = r"""{{- "# Tools\n\nYou may call one or more functions to assist with the user query.\n\nYou are provided with function signatures within <tools></tools> XML tags:\n<tools>" }}
    {%- for tool in tools %}
        {{- "\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\n</tools>\n\nFor each function call, return a json object with function name and arguments within <tool_call></tool_call> XML tags:\n<tool_call>\n{\"name\": <function-name>, \"arguments\": <args-json-object>}\n</tool_call><|im_end|>\n" }}"""
QWEN25 = r"""{%- if tools %}
    {{- '<|im_start|>system\n' }}
    {%- if messages[0]['role'] == 'system' %}
        {{- messages[0]['content'] }}
    {%- else %}
        {{- 'You are Qwen, created by Alibaba Cloud. You are a helpful assistant.' }}
    {%- endif %}
    {{- "\n\n" }}""" + TOOLS + r"""
{%- else %}
    {%- if messages[0]['role'] == 'system' %}
        {{- '<|im_start|>system\n' + messages[0]['content'] + '<|im_end|>\n' }}
    {%- else %}
        {{- '<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n' }}
    {%- endif %}
{%- endif %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) or (message.role == "assistant" and not message.tool_calls) %}
        {{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>' + '\n' }}
    {%- elif message.role == "assistant" %}
        {{- '<|im_start|>' + message.role }}
        {%- if message.content %}
            {{- '\n' + message.content }}
        {%- endif %}
        {%- for tool_call in message.tool_calls %}
            {%- if tool_call.function is defined %}
                {%- set tool_call = tool_call.function %}
            {%- endif %}
            {{- '\n<tool_call>\n{"name": "' }}
            {{- tool_call.name }}
            {{- '", "arguments": ' }}
            {{- tool_call.arguments | tojson }}
            {{- '}\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\n' }}
    {%- elif message.role == "tool" %}
        {%- if (loop.index0 == 0) or (messages[loop.index0 - 1].role != "tool") %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\n<tool_response>\n' }}
        {{- message.content }}
        {{- '\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}
            {{- '<|im_end|>\n' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
{%- endif %}
"""

# Qwen3-8B
QWEN3 = r"""{%- if tools %}
    {{- '<|im_start|>system\n' }}
    {%- if messages[0].role == 'system' %}
        {{- messages[0].content + '\n\n' }}
    {%- endif %}
    """ + TOOLS + r"""
{%- else %}
    {%- if messages[0].role == 'system' %}
        {{- '<|im_start|>system\n' + messages[0].content + '<|im_end|>\n' }}
    {%- endif %}
{%- endif %}
{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.content is string %}
        {%- set content = message.content %}
    {%- else %}
        {%- set content = '' %}
    {%- endif %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\n' + content + '<|im_end|>' + '\n' }}
    {%- elif message.role == "assistant" %}
        {%- set reasoning_content = '' %}
        {%- if message.reasoning_content is string %}
            {%- set reasoning_content = message.reasoning_content %}
        {%- else %}
            {%- if '</think>' in content %}
                {%- set reasoning_content = content.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') %}
                {%- set content = content.split('</think>')[-1].lstrip('\n') %}
            {%- endif %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query_index %}
            {%- if loop.last or (not loop.last and reasoning_content) %}
                {{- '<|im_start|>' + message.role + '\n<think>\n' + reasoning_content.strip('\n') + '\n</think>\n\n' + content.lstrip('\n') }}
            {%- else %}
                {{- '<|im_start|>' + message.role + '\n' + content }}
            {%- endif %}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\n' + content }}
        {%- endif %}
        {%- if message.tool_calls %}
            {%- for tool_call in message.tool_calls %}
                {%- if (loop.first and content) or (not loop.first) %}
                    {{- '\n' }}
                {%- endif %}
                {%- if tool_call.function %}
                    {%- set tool_call = tool_call.function %}
                {%- endif %}
                {{- '<tool_call>\n{"name": "' }}
                {{- tool_call.name }}
                {{- '", "arguments": ' }}
                {%- if tool_call.arguments is string %}
                    {{- tool_call.arguments }}
                {%- else %}
                    {{- tool_call.arguments | tojson }}
                {%- endif %}
                {{- '}\n</tool_call>' }}
            {%- endfor %}
        {%- endif %}
        {{- '<|im_end|>\n' }}
    {%- elif message.role == "tool" %}
        {%- if loop.first or (messages[loop.index0 - 1].role != "tool") %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\n<tool_response>\n' }}
        {{- content }}
        {{- '\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}
            {{- '<|im_end|>\n' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\n\n</think>\n\n' }}
    {%- endif %}
{%- endif %}"""

# Llama-2-7b-chat-hf
LLAMA2 = (r"{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]"
          r"['content'] %}{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}"
          r"{% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
          r"{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
          r"{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\n' + system_message + "
          r"'\n<</SYS>>\n\n' + message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}"
          r"{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}"
          r"{% elif message['role'] == 'assistant' %}{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}")

# Meta-Llama-3-8B-Instruct
LLAMA3 = (r"{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + "
          r"message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}"
          r"{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}"
          r"{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}")

# Llama-3.1-8B-Instruct, without its branches for tools
LLAMA31 = r"""{{- bos_token }}
{%- if not date_string is defined %}
    {%- set date_string = "26 Jul 2024" %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\n\n" }}
{{- "Cutting Knowledge Date: December 2023\n" }}
{{- "Today Date: " + date_string + "\n\n" }}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}
{%- endif %}
"""

# Mistral-7B-Instruct-v0.2
MISTRAL1 = r"""{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('After the optional system message, conversation roles must alternate user/assistant/user/assistant/...') }}
    {%- endif %}
    {%- if message["role"] == "user" %}
        {%- if loop.first and system_message is defined %}
            {{- " [INST] " + system_message + "\n\n" + message["content"] + " [/INST]" }}
        {%- else %}
            {{- " [INST] " + message["content"] + " [/INST]" }}
        {%- endif %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"] + eos_token}}
    {%- endif %}
{%- endfor %}
"""

# Mistral-7B-Instruct-v0.3 and Mistral-Nemo-Instruct-2407, without their branches for tools
MISTRAL3 = r"""{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if loop.index0 >= loop_messages | length - 2 and system_message is defined %}
            {{- "[INST] " + system_message + "\n\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"]|trim + eos_token}}
    {%- endif %}
{%- endfor %}
"""
NEMO = MISTRAL3.replace('"[INST] "', '"[INST]"').replace('" " + message["content"]|trim', 'message["content"]')

# TinyLlama-1.1B-Chat, zephyr-7b-beta
ZEPHYR = r"""{% for message in messages %}
{% if message['role'] == 'user' %}
{{ '<|user|>\n' + message['content'] + eos_token }}
{% elif message['role'] == 'system' %}
{{ '<|system|>\n' + message['content'] + eos_token }}
{% elif message['role'] == 'assistant' %}
{{ '<|assistant|>\n'  + message['content'] + eos_token }}
{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}"""

# Names that the test vocabulary's own special tokens take on, in the order that it has them.
CHATML = {"<|endoftext|>": "<|endoftext|>"}
QWEN = {"<repo_name>": "<tool_call>", "<reponame>": "</tool_call>", "<file_sep>": "<tool_response>",
        "<filename>": "</tool_response>", "<gh_stars>": "<think>", "<issue_start>": "</think>"}
L3 = {"<|endoftext|>": "<|begin_of_text|>", "<repo_name>": "<|start_header_id|>", "<reponame>": "<|end_header_id|>",
      "<file_sep>": "<|eot_id|>", "<filename>": "<|end_of_text|>"}
M3 = {"<|endoftext|>": "<s>", "<repo_name>": "</s>", "<reponame>": "[INST]", "<file_sep>": "[/INST]"}

FAMILIES = [  # name, template, renamed tokens (None: SentencePiece), BOS, EOS, end of an assistant's turn
    ("smollm2", SMOLLM2, CHATML, "<|im_start|>", "<|im_end|>", "<|im_end|>"),
    ("qwen2.5", QWEN25, QWEN, None, "<|im_end|>", "<|im_end|>"),
    ("qwen3", QWEN3, QWEN, None, "<|im_end|>", "<|im_end|>"),
    ("llama3", LLAMA3, L3, "<|begin_of_text|>", "<|eot_id|>", "<|eot_id|>"),
    ("llama3.1", LLAMA31, L3, "<|begin_of_text|>", "<|eot_id|>", "<|eot_id|>"),
    ("mistral-nemo", NEMO, M3, "<s>", "</s>", "</s>"),
    ("llama2", LLAMA2, None, "<s>", "</s>", " </s>"),
    ("mistral-v0.2", MISTRAL1, None, "<s>", "</s>", "</s>"),
    ("mistral-v0.3", MISTRAL3, None, "<s>", "</s>", "</s>"),
    ("zephyr", ZEPHYR, None, "<s>", "</s>", "</s>"),
]

U, A = "user", "assistant"


def m(role, content, **more):
    return {"role": role, "content": content, **more}


CONVERSATIONS = [
    [m(U, "What is the capital of France?"), m(A, "Paris.")],
    [m("system", "Answer in one word."), m(U, "2 + 2 = ?"), m(A, "Four"), m(U, "And 12345 + 1?"), m(A, "12346")],
    [m(U, "  Größe und 大きさ 🙂\n\n- a\n- b  "), m(A, "First line\n\nsecond\tline  \n"), m(U, "Bitte weiter …"),
     m(A, "```c\nint main(void) { return 0; }\n```")],
    [m("system", " Be brief.\n"), m(U, "Hi"), m(A, " Hello")],
]
CALL = {"type": "function", "function": {"name": "add", "arguments": {"a": 1, "b": [2.5, "x"]}}}
TOOL_LIST = [{"type": "function", "function": {"name": "add", "description": "Adds numbers",
                                               "parameters": {"type": "object", "properties": {"a": {"type": "number"}}}}}]
TOOL_CONVERSATIONS = [
    [m("system", "Use the tools."), m(U, "1 + 2?"), m(A, "", tool_calls=[CALL, CALL]), m("tool", "3"), m("tool", "{\"r\": 4}"),
     m(A, "It is 3."), m(U, "Thanks"), m(A, "Welcome")],
    [m(U, "1 + 2?"), m(A, "Let me see.", tool_calls=[CALL]), m("tool", "3"), m(A, "It is 3.")],
]
THINK_CONVERSATIONS = [
    [m(U, "1 + 2?"), m(A, "<think>\nEasy.\n</think>\n\n3"), m(U, "And 4?"), m(A, "<think>\nAlso\neasy.\n</think>\n\n7")],
]


def renamed_bpe(names):
    text = open(BPE, encoding="utf-8").read()
    for old, new in names.items():
        text = text.replace(json.dumps(old), json.dumps(new))
    return Tokenizer.from_str(text)


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


def spm_ids(name, text):
    """As the families' own code does: text between control tokens is encoded by itself, without the space that
    SentencePiece puts there anyway."""
    sp = sentencepiece.SentencePieceProcessor(model_file=V3 if name == "mistral-v0.3" else SPM)
    controls = ["<s>", "</s>"] + (["[INST]", "[/INST]"] if name == "mistral-v0.3" else [])
    ids, rest = [], text
    while rest:
        at, control = min(((rest.find(c), c) for c in controls if c in rest), default=(len(rest), None))
        segment = rest[:at]
        ids += sp.encode(segment[1:] if segment.startswith(" ") else segment)
        if control:
            ids.append(sp.piece_to_id(control))
        rest = rest[at + len(control or ""):]
    return ids


def trained(name, messages, end):
    """What is trained of each answer: its text as the template writes it, and the end of the turn."""
    out = []
    for i, x in enumerate(messages):
        if x["role"] != A:
            continue
        s = x["content"]
        if name in ("llama2", "llama3", "llama3.1"):
            s = s.strip()
        if name == "mistral-v0.3":
            s = s.strip()
        if name in ("llama2", "mistral-v0.2", "mistral-v0.3"):
            s = " " + s
        if name == "qwen3" and "</think>" in s and i < max(j for j, y in enumerate(messages) if y["role"] == U):
            s = s.split("</think>")[-1].lstrip("\n")
        calls = ["<tool_call>\n" + json.dumps(c["function"]) + "\n</tool_call>" for c in x.get("tool_calls", [])]
        out.append("\n".join(([s] if s or not calls else []) + calls) + end)
    return out


def cases():
    for name, jinja, names, bos, eos, end in FAMILIES:
        qwen = name.startswith("qwen")
        todo = [(c, None) for c in CONVERSATIONS] + ([(c, TOOL_LIST) for c in TOOL_CONVERSATIONS] if qwen else [])
        todo += [(c, None) for c in THINK_CONVERSATIONS] if name == "qwen3" else []
        config = {"chat_template": jinja, "bos_token": bos, "eos_token": eos}
        yield {"family": name, "config": config, "tokens": names, "spm": names is None, "cases": [
            case(name, jinja, names, bos, eos, end, c, tools) for c, tools in todo]}


def case(name, jinja, names, bos, eos, end, messages, tools):
    def render(turns, **more):
        return render_jinja_template(conversations=[turns], chat_template=jinja, tools=tools, bos_token=bos or "",
                                     eos_token=eos, **more)[0][0]

    full = render(messages)
    prompt = render(messages[:-1], add_generation_prompt=True, enable_thinking=False)
    ids = spm_ids(name, full) if names is None else renamed_bpe(names).encode(full, add_special_tokens=False).ids
    return {"messages": messages, "tools": tools, "text": full, "prompt": prompt, "ids": ids,
            "trained": trained(name, messages, end)}


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
