#!/usr/bin/env python3
"""Statements, white space, scoping, loops and macros of Jinja templates, with what Jinja2 makes of them in the
environment that Transformers renders chat templates in: jinja/statements.json.

    python3 tests/golden/gen_jinja_statements.py      # needs transformers >= 5.24, jinja2 >= 3.1.6

A case has "name", "template", "vars" and either "text" or "error": true, where Jinja2 refuses the template, or refuses to
render it. A case may have "date", what strftime_now() knows.
"""

import json
import os

from transformers.utils.chat_template_utils import _compile_jinja_template

MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": " hi <you> "},
    {"role": "assistant", "content": "Hello!\n", "n": 3},
    {"role": "user", "content": "Grüße 你好 😀"},
]
VARS = {
    "messages": MESSAGES,
    "tools": None,
    "bos_token": "<s>",
    "add_generation_prompt": True,
    "n": 3,
    "items": [1, 2, 3, 4],
    "pairs": [["a", 1], ["b", 2]],
    "tree": [{"v": 1, "c": [{"v": 2, "c": []}, {"v": 3, "c": [{"v": 4, "c": []}]}]}, {"v": 5, "c": []}],
    "empty": [],
    "d": {"k": "v", "items": "shadow"},
}

# One group a list; a case is a template.
GROUPS = {
    "space": [
        "", "\n", "\n\n", "a\n", "a\n\n", "a\r\nb\rc\n", "a\r\n",
        "  {% if true %}  \n  x  \n  {% endif %}  \n  y",
        "a {%- if true -%} b {%- endif -%} c",
        "a\n\n  {%- if true %}\n b\n{% endif -%}\n\n c",
        "a  {%+ if true %} b {% endif +%}\nc",
        "  {%+ if true +%}\nx{% endif %}",
        "{% if true %}\n\nx\n\n{% endif %}\n\ny",
        "{{ n }}\nx", "{{ n -}}\n\n x", "x \n {{- n }}", "  {{ n }}", "x {{- n -}} y", "\t{% set a = 1 %}\t{{ a }}",
        "x {% set a = 1 %}\ny", "x\n   {% set a = 1 %}\ny", "x\n . {% set a = 1 %}\ny",
        "{# c #}\nx", "  {# c #}\nx", "a {#- c -#} b", "a\n{#+ c +#}\nb", "a{# {{ x }} {% if %} #}b", "a {#-#} b", "{##}x",
        "{# a\nb #}\n{{ n }}", "a\n  {#- c #}\n b",
        "{%if true%}x{%endif%}", "{%- if true -%}\n x \n{%- endif -%}\n", "{%\nif\ntrue\n%}x{%\nendif\n%}",
        "\u00a0{%- if true -%}\u3000x\u2003{%- endif %}", "x\x0b\x0c{%- if true %}y{% endif %}", "{{\u00a0n\u3000}}",
        "{ { n } } {n} {%% }} %} #}", "a { b", "a {", "{", "{{ '}}' }} {{ \"%}\" }}",
        "{{ {'a': {'b': 1}}['a']['b'] }}", "{{ {'a': {}}}}", "{{ {} }}{{ {'a':{'b':{}}} }}",
        "{{-1}}", "{{- 1 }}", "{{+1}}", "{{ -1 }}", "{%- set x = -1 -%}{{x}}",
        "  {% raw %}  {{ x }} {% if %}  {% endraw %}  ", "a\n  {%- raw -%}\n {{ x }}\n {%- endraw -%}\n b",
        "{% raw %}\nx\n{% endraw %}\ny", "  {% raw %}a{% endraw %}\n  {% raw %}\n  {% endraw %}\nb",
        "{%+ raw %} {# {% endraw +%}\nb", "{% raw -%}\n  {%- endraw %}x", "{%raw%}{%endraw%}", "{% raw %}{% raw %}{% endraw %}",
        "x\n    {% if true %}\n    y\n    {% else %}\n    z\n    {% endif %}\nw\n",
        "{% for i in items %}\n{{ i }}\n{% endfor %}\n", "{% for i in items -%}\n  {{ i }}\n{%- endfor %}\n",
        "line1\n  {{- n }} {% if true %} t {% endif %}\n  {#- c #}\nend",
        "{% if true %}{% endif %}  \n{% if true %}  {% endif %}", "{{ n }}  {% if true %}\n{% endif %}",
        "{{ 'a' }}\n  {% if true %}{% endif %}", "\n  {% if true %}{% endif %}  \n\n",
        "{% set x = 'a\nb' %}{{ x }}", "{% set x = 'a\r\nb' %}{{ x }}",
        "{#", "a{#", "{% raw %}", "a{% raw -%}\n",
    ],
    "literals": [
        r"""{{ 'a\nb\t\'\"\\' }}{{ "\x41\u00e9\U0001f600\101\0\a\b\f\v\r" }}""", r"{{ '\q\d\é' }}", r"{{ '\400' }}",
        "{{ 'a' 'b' \"c\" }}", "{{ 'a'\n'b' }}", r"{{ 'a\
b' }}",
        "{{ 1_000 }} {{ 0x1F }} {{ 0b101 }} {{ 0o17 }} {{ 0X_ff }} {{ 00 }} {{ 0_0 }} {{ 1_0.5_0 }} {{ 1e3 }} {{ 1.5e-3 }} {{ 2E+2 }}",
        "{{ true }}{{ True }}{{ false }}{{ False }}{{ none }}{{ None }}",
        "{{ [] }}{{ [1,] }}{{ [1, 'a', [2]] }}{{ () }}{{ (1,) }}{{ (1, 2) }}{{ (1) }}{{ {} }}{{ {'a': 1, 2: 'b',} }}",
        "{{ 1, 2 }}", "{{ 1, }}", "{{ items[0] }}{{ items.0 }}{{ pairs.0.1 }}{{ pairs[1][0] }}", "{{ {1: 2}.1 }}",
        "{{ äö is undefined }}{% set äö = 1 %}{{ äö }}", "{{ 9223372036854775807 }}", "{{ '你好'[1] }}",
    ],
    "expressions": [
        "{{ 1 + 2 * 3 - 4 / 2 // 1 % 3 ** 2 }}", "{{ 2 ** 3 ** 2 }}", "{{ -2 ** 2 }}", "{{ 2 ** -1 }}", "{{ - - 1 }}{{ -+1 }}",
        "{{ +true }}{{ +1.5 }}", "{{ 1 ~ 2 + 3 ~ 'a' }}", "{{ 'a' ~ none ~ 1.0 ~ [1] }}", "{{ 1 + 2 ~ 3 * 4 }}",
        "{{ 1 < 2 < 3 }}{{ 1 < 3 < 2 }}{{ 3 > 2 >= 2 != 1 }}{{ 1 == 1.0 == true }}", "{{ 1 in items }}{{ 9 not in items }}",
        "{{ not 1 == 2 }}{{ not true and false }}{{ not (true and false) }}", "{{ 1 and 0 or 'x' }}{{ '' or none or 0 }}{{ 0 and x.y }}",
        "{{ 'a' if true }}{{ 'a' if false }}{{ 'a' if false else 'b' if false else 'c' }}",
        "{{ ('a' if false) is undefined }}", "{{ 1 if x else 2 if y else 3 }}", "{{ (1, 2)[1] }}{{ [1,2,3][1:] }}{{ 'abcdef'[::-1] }}",
        "{{ items[:2] }}{{ items[-2:] }}{{ items[::2] }}{{ items[1:-1:1] }}{{ items[::-1] }}{{ items[:] }}{{ items[5:] }}",
        "{{ messages[0].role }}{{ messages[0]['role'] }}{{ messages[-1]['content'][:3] }}", "{{ d.k }}{{ d['k'] }}{{ d['items'] }}",
        "{{ x.y is defined if x is defined else 'no' }}", "{{ d.nothing }}{{ d['nothing'] }}", "{{ d.nothing is defined }}{{ d.k is not none }}",
        "{{ (1 if false) ~ 'a' }}", "{{ 1 is defined and 2 }}", "{{ x is undefined or x.y }}", "{{ [x] }}{{ x }}{{ [x, y] == [y, x] }}",
        "{{ 5 is divisibleby 5 }}{{ 4 is not divisibleby 3 }}{{ 1 is in [1, 2] }}{{ 'k' is in d }}{{ none is sameas none }}{{ 1 is eq 1 }}",
        "{{ 4 is divisibleby(2) and 3 }}{{ 3 is odd }}{{ not 3 is odd }}{{ 1 + 1 is even }}", "{{ 'x' is string is true }}",
        "{{ -1|abs }}{{ 'a,b'|upper }}{{ 'x'|upper ~ 'y' }}{{ 1 + 2|abs }}{{ (1 + 2)|string ~ 'z' }}",
        "{{ range(3) | list }}{{ range(1, 7, 2)|list }}{{ 'a-b'.split('-')[1].upper() }}{{ 'x'|upper|lower() }}",
        "{{ dict(a=1, **{'b': 2}) }}{{ dict(*[[['k', 1]]]) }}", "{{ '%s-%d'|format('a', 3) }}", "{{ x.y.z if x }}",
        "{{ namespace(a=1).a }}", "{{ messages | length }}{{ messages|map(attribute='role')|list }}", "{{ (messages|first).role }}",
        "{{ {'a': 1}.a + {'b': 2}['b'] }}", "{{ 'k' in d and d.k == 'v' }}", "{{ 1 .__class__ }}", "{{ ''.join(['a', 'b']) }}",
        "{{ {1: 'a', true: 'b', 1.0: 'c'} }}", "{{ 'a' < 'b' }}{{ [1, 2] < [1, 3] }}", "{{ 7 // 2 }}{{ -7 // 2 }}{{ -7 % 3 }}{{ 7.5 // 2 }}{{ 1 / 2 }}",
        "{{ ['a', 'b'] | join(', ') if items else '' }}", "{{ items|length > 3 and 'many' or 'few' }}", "{{ x|default('dflt') }}{{ x | default('a') | upper }}",
        "{{ n is number and n > 2 }}", "{{ (n)(1) if false else 2 }}", "{{ 'a' 'b' ~ 'c' }}", "{{ [1, 2,\n 3] }}", "{{ items[1 + 1] }}{{ items[n - 4] }}",
    ],
    "if": [
        "{% if 0 %}a{% elif [] %}b{% elif n %}c{% else %}d{% endif %}", "{% if x %}a{% endif %}b", "{% if not x %}a{% endif %}",
        "{% if false %}{{ x.y.z }}{% else %}ok{% endif %}", "{% if true: %}x{% endif %}", "{% if 1, 2 %}x{% endif %}",
        "{% if true %}{% if false %}a{% else %}b{% endif %}{% endif %}", "{% if messages %}m{% endif %}{% if empty %}e{% endif %}{% if tools %}t{% endif %}",
        "{% if n == 3 %}{% set z = 1 %}{% endif %}{{ z }}", "{% if n == 4 %}{% set z = 1 %}{% endif %}{{ z is defined }}",
        "{% if n == 4 %}{% set bos_token = 'new' %}{% endif %}{{ bos_token }}", "{% if n == 3 %}{% set bos_token = 'new' %}{% endif %}{{ bos_token }}",
        "{% if n == 4 %}{% set bos_token = 'x' %}{% else %}{{ bos_token }}{% endif %}",
    ],
    "set": [
        "{% set a = 1 %}{{ a }}{% set a = a + 1 %}{{ a }}", "{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set a, b = b, a %}{{ a }}{{ b }}",
        "{% set (a, b), c = [[1, 2], 3] %}{{ a }}{{ b }}{{ c }}", "{% set a, = [1] %}{{ a }}", "{% set a = 1, %}{{ a }}", "{% set (a) = 2 %}{{ a }}",
        "{% set a %} x {{ n }} {% endset %}[{{ a }}]", "{% set a | trim | upper %} x {{ n }} {% endset %}[{{ a }}]", "{% set a %}{% endset %}[{{ a }}]{{ a is string }}",
        "{% set ns = namespace(a=1, b='x') %}{% set ns.a = ns.a + 1 %}{{ ns.a }}{{ ns.b }}{{ ns.c is defined }}",
        "{% set ns = namespace() %}{% for i in items %}{% set ns.last = i %}{% endfor %}{{ ns.last }}",
        "{% set ns = namespace() %}{% set ns.t %}a{{ n }}{% endset %}{{ ns.t }}", "{% set ns = namespace() %}{% set ns.a, ns.b = 1, 2 %}{{ ns.a }}{{ ns.b }}",
        "{% set ns = namespace({'a': 1}, b=2) %}{{ ns.a }}{{ ns['b'] }}", "{% set a = b = 1 %}", "{% set x = {'a': 1} %}{% set x.a = 2 %}", "{% set q.a = 2 %}",
        "{% set ns = namespace() %}{% set ns._a = 1 %}", "{% set a, b = 1 %}", "{% set a, b = [1] %}", "{% set a, b = 'xy' %}{{ a }}{{ b }}", "{% set true = 1 %}",
        "{% set 1 = 1 %}", "{% set [a] = [1] %}", "{% set a.b.c = 1 %}", "{% set a %}x", "{% set a = %}", "{% set = 1 %}", "{% set bos_token = bos_token + 'x' %}{{ bos_token }}",
        "{% set a = 1 if false %}{{ a is defined }}", "{% set f | nofilter %}x{% endset %}", "{% set loop = 1 %}{{ loop }}", "{% set range = 1 %}{{ range }}",
        "{% set a = 'x' %}{% set b %}{% set a = 'y' %}{{ a }}{% endset %}{{ a }}{{ b }}",
    ],
    "scope": [
        "{% set a = 1 %}{% for i in items %}{% set a = a + i %}{{ a }},{% endfor %}{{ a }}", "{% for i in items %}{% set q = i %}{% endfor %}{{ q is defined }}{{ i is defined }}",
        "{% for n in items %}{{ n }}{% endfor %}{{ n }}", "{% for i in items %}{% if i == 2 %}{% set f = 'x' %}{% endif %}{{ f }}{{ i }}{% endfor %}",
        "{% for i in items %}{{ z }}{% set z = i %}{{ z }};{% endfor %}", "{% for i in items %}{{ tools2 }}{% endfor %}{% set tools2 = 'x' %}{{ tools2 }}",
        "{% for i in [1] %}{{ bos_token }}{% endfor %}{% set bos_token = 'x' %}{{ bos_token }}", "{{ bos_token }}{% for i in [1] %}{{ bos_token }}{% endfor %}{% set bos_token = 'x' %}{{ bos_token }}",
        "{% macro f() %}{{ bos_token }}{% endmacro %}{{ f() }}{% set bos_token = 'x' %}{{ f() }}", "{% set a = 1 %}{% macro f() %}{{ a }}{% endmacro %}{{ f() }}{% set a = 2 %}{{ f() }}",
        "{% macro f() %}{% set a = 5 %}{{ a }}{% endmacro %}{% set a = 1 %}{{ f() }}{{ a }}", "{% for i in items %}{% macro f() %}{{ i }}{% endmacro %}{{ f() }}{% endfor %}",
        "{% for i in items %}{% for j in [1, 2] %}{{ i }}{{ j }}{% set i = 9 %}{% endfor %}{{ i }};{% endfor %}", "{% with a = 1, b = 2 %}{{ a }}{{ b }}{% set c = 3 %}{% endwith %}{{ a is defined }}{{ c is defined }}",
        "{% set a = 1 %}{% with a = 2, b = a %}{{ a }}{{ b }}{% endwith %}{{ a }}", "{% with %}{% set z = 1 %}{{ z }}{% endwith %}{{ z is defined }}", "{% with (a, b) = (1, 2) %}{{ a }}{{ b }}{% endwith %}",
        "{% set x %}{% set inner = 1 %}{{ inner }}{% endset %}{{ inner is defined }}", "{% filter upper %}{% set inner = 'a' %}{{ inner }}{% endfilter %}{{ inner is defined }}",
        "{% generation %}{% set g = 1 %}{{ g }}{% endgeneration %}{{ g is defined }}", "{% macro f(n) %}{{ n }}{% endmacro %}{{ f(7) }}{{ n }}{{ f() }}",
        "{% for m in messages %}{% set n = m.n or n %}{{ n }}{% endfor %}", "{% for m in messages if m.role == role %}x{% endfor %}{% set role = 'user' %}",
        "{% set role = 'user' %}{% for m in messages if m.role == role %}{{ loop.index }}{{ m.content }}{% endfor %}", "{% for i in items %}{% if loop.first %}{% set a = 'first' %}{% else %}{% set a = 'other' %}{% endif %}{{ a }} {% endfor %}",
        "{% set messages = messages[1:] %}{% for m in messages %}{{ m.role }}{% endfor %}", "{% macro a() %}A{{ b() }}{% endmacro %}{% macro b() %}B{% endmacro %}{{ a() }}", "{% macro a() %}{{ b() }}{% endmacro %}{{ a() }}{% macro b() %}B{% endmacro %}",
    ],
    "for": [
        "{% for i in items %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.depth }}{{ loop.depth0 }} {% endfor %}",
        "{% for i in items if i is odd %}{{ i }}:{{ loop.index }}/{{ loop.length }}{{ loop.last }}{{ loop.revindex }} {% endfor %}", "{% for i in items if i > 9 %}{{ i }}{% else %}none{% endfor %}",
        "{% for i in items if i > 1 %}{{ loop.previtem }}<{{ i }}>{{ loop.nextitem }} {% endfor %}", "{% for i in items %}{{ loop.previtem is defined }}{{ loop.nextitem is defined }}{% endfor %}",
        "{% for k, v in pairs %}{{ k }}={{ v }}{% endfor %}", "{% for (k, v), i in [[[1, 2], 3]] %}{{ k }}{{ v }}{{ i }}{% endfor %}", "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}", "{% for k in d %}{{ k }}{% endfor %}",
        "{% for k, v in d|items %}{{ k }}={{ v }};{% endfor %}", "{% for c in 'añb' %}[{{ c }}]{% endfor %}", "{% for i in empty %}a{% else %}b{% endfor %}", "{% for i in nothing %}a{% else %}b{% endfor %}", "{% for i in none %}{% endfor %}", "{% for i in 5 %}{% endfor %}",
        "{% for i in 1, 2, 3 %}{{ i }}{% endfor %}", "{% for i in [1, 2] + [3] %}{{ i }}{% endfor %}", "{% for i in range(3) %}{{ i }}{% endfor %}", "{% for i in range(n, 0, -1) %}{{ i }}{% endfor %}",
        "{% for i in items %}{% if i == 2 %}{% continue %}{% endif %}{% if i == 4 %}{% break %}{% endif %}{{ i }}{% endfor %}", "{% for i in items %}{% for j in items %}{% if j > i %}{% break %}{% endif %}{{ j }}{% endfor %};{% endfor %}",
        "{% for i in items %}{% break %}{% else %}x{% endfor %}", "{% for i in items %}{% continue %}{% else %}x{% endfor %}", "{% for i in items %}{% for j in empty %}{% else %}{% break %}{% endfor %}{{ i }}{% endfor %}end",
        "{% for i in items %}{% set x %}a{% if i == 2 %}{% break %}{% endif %}{% endset %}{{ x }}{{ i }}{% endfor %}", "{% for i in items %}{% filter upper %}a{% if i == 2 %}{% continue %}{% endif %}b{% endfilter %}{{ i }}{% endfor %}", "{% for i in items %}{% with a = i %}{% if a == 2 %}{% break %}{% endif %}{{ a }}{% endwith %}{% endfor %}",
        "{% break %}", "{% continue %}", "{% for i in items %}{% macro f() %}{% break %}{% endmacro %}{% endfor %}", "{% for i in items %}{% generation %}{% break %}{% endgeneration %}{% endfor %}", "{% for i in items %}{% else %}{% break %}{% endfor %}",
        "{% for i in items %}{{ loop.cycle('a', 'b') }}{{ loop.changed(i // 3) }}{% endfor %}", "{% for i in items %}{{ loop.cycle() }}{% endfor %}", "{% for i in items %}{% for j in [1] %}{{ loop.index }}{% endfor %}{{ loop.index }}{% endfor %}",
        "{% for i in items %}{% set outer = loop %}{% for j in [7, 8] %}{{ outer.index }}.{{ loop.index }} {% endfor %}{% endfor %}", "{% for i in items %}{{ loop['index'] }}{{ loop.nothing is defined }}{% endfor %}", "{{ loop }}{{ loop is defined }}",
        "{% for i in items %}{% macro f() %}{{ loop.index }}{% endmacro %}{{ f() }}{% endfor %}", "{% macro f(l) %}{{ l.index }}/{{ l.length }}{% endmacro %}{% for i in items %}{{ f(loop) }} {% endfor %}",
        "{% for x in tree recursive %}{{ x.v }}@{{ loop.depth }}{% if x.c %}({{ loop(x.c) }}){% endif %}{% endfor %}", "{% for x in tree recursive %}{{ x.v }}{% if x.c %}[{{ loop(x.c)|upper }}]{% endif %}{% else %}E{% endfor %}", "{% for x in tree %}{{ loop(x.c) }}{% endfor %}",
        "{% for x in tree recursive %}{{ x.v }}{{ loop(x.c) }}{% else %}-{% endfor %}", "{% for x in tree if x.v < 5 recursive %}{{ x.v }}{% if x.c %}({{ loop(x.c) }}){% endif %}{% endfor %}", "{% for loop in items %}{% endfor %}", "{% for i in items %}{% set loop = 1 %}{% endfor %}",
        "{% for i in items: %}{{ i }}{% endfor %}", "{% for i, j in items %}{% endfor %}", "{% for a, b in pairs if b > 1 %}{{ a }}{{ loop.previtem is defined }}{{ loop.length }}{% endfor %}", "{% for i in items|reverse %}{{ i }}{% endfor %}",
        "{% set ns = namespace(k=0) %}{% for i in items if i > ns.k %}{{ i }}{% set ns.k = i + 1 %}{% endfor %}", "{% set ns = namespace(k=0) %}{% for i in items if i > ns.k %}{{ i }}{{ loop.last }}{% set ns.k = i + 1 %}{% endfor %}", "{% for i in items if loop is defined %}{{ i }}{% endfor %}",
        "{% for i in (items if n else []) %}{{ i }}{% endfor %}", "{% for m in messages %}{% for k, v in m.items() %}{{ k }}:{{ v }};{% endfor %}{{ loop.index }}\n{% endfor %}", "{% for i in items | map('string') %}{{ i }}{{ loop.length }}{{ loop.last }}{% endfor %}",
        "{% for m in messages | selectattr('role', 'equalto', 'user') %}{{ m.content }}{% if not loop.last %}|{% endif %}{% endfor %}", "{% for a in [[1, 2], [3]] %}{% for b in a %}{{ b }}{% if not loop.last %},{% endif %}{% endfor %}{% if not loop.last %};{% endif %}{% endfor %}", "{% for i in items %}{% if loop.index is divisibleby 2 %}{{ i }}{% endif %}{% endfor %}",
        "{% for true in items %}{% endfor %}", "{% for i of items %}{% endfor %}", "{% for i in %}{% endfor %}", "{% for i in items %}", "{% for i in items %}{% endif %}", "{% for in items %}{% endfor %}", "{% for x.y in items %}{% endfor %}",
    ],
    "macro": [
        "{% macro f(a, b=2) %}[{{ a }},{{ b }}]{% endmacro %}{{ f(1) }}{{ f(1, 3) }}{{ f(b=4, a=5) }}{{ f() }}{{ f(1, b=6) }}", "{% macro f(a, b=a) %}{{ a }}{{ b }}{% endmacro %}{{ f(1) }}{{ f(b=3) }}", "{% macro f(a=b, b=2) %}{{ a }}{{ b }}{% endmacro %}{{ f() }}{{ f(b=3) }}",
        "{% macro f(a) %}{{ a is defined }}{% endmacro %}{{ f() }}{{ f(none) }}{{ f(q) }}", "{% macro f(a=1) %}{{ a is defined }}{% endmacro %}{{ f(q) }}", "{% macro f() %}{% endmacro %}{{ f(1) }}", "{% macro f(a) %}{% endmacro %}{{ f(1, 2) }}", "{% macro f(a) %}{% endmacro %}{{ f(c=2) }}", "{% macro f(a) %}{% endmacro %}{{ f(1, a=2) }}",
        "{% macro f(a) %}{{ a }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ f(1, 2, 3, x=4) }}{{ f() }}{{ f(1) }}", "{% macro f() %}{{ kwargs.x }}{% endmacro %}{{ f(x=4) }}", "{% macro f(kwargs) %}{{ kwargs }}{% endmacro %}{{ f(1) }}", "{% macro f() %}{% set kwargs = 1 %}{{ kwargs }}{% endmacro %}{{ f(x=1) }}",
        "{% macro f() %}<{{ caller() }}>{% endmacro %}{% call f() %}x{{ n }}{% endcall %}", "{% macro f() %}{% for i in items %}<{{ caller(i) }}>{% endfor %}{% endmacro %}{% call(i) f() %}x{{ i }}{% endcall %}", "{% macro f(a) %}{{ a }}{{ caller(1, b=2) }}{% endmacro %}{% call(x, b=7) f('q') %}{{ x }}{{ b }}{% endcall %}",
        "{% macro f() %}x{% endmacro %}{% call f() %}y{% endcall %}", "{% macro f(caller=none) %}{{ caller }}{% endmacro %}{{ f() }}", "{% macro f() %}{{ caller is defined }}{% endmacro %}{{ f() }}", "{% macro f() %}{{ caller() }}{% endmacro %}{{ f() }}", "{% macro f(caller) %}{{ caller() }}{% endmacro %}{{ f() }}",
        "{% macro f(caller=none) %}{{ caller() }}{% endmacro %}{% call f() %}x{% endcall %}", "{% call nothing() %}x{% endcall %}", "{% call n %}x{% endcall %}", "{% call f()|upper %}x{% endcall %}", "{% macro o() %}<{% call i() %}{{ caller() }}{% endcall %}>{% endmacro %}{% macro i() %}({{ caller() }}){% endmacro %}{% call o() %}x{% endcall %}",
        "{% macro f(n) %}{{ n }}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(5) }}", "{% macro f(x) %}{{ x }}{% endmacro %}{{ f('a') | upper }}{{ f('a') ~ 'b' }}{{ f('a') + 'b' }}{{ f('a') is string }}", "{% macro f(x) %}\n  {{ x }}\n{% endmacro %}\n{{ f(1) }}|{{ f(2)|trim }}|",
        "{% macro f(x) -%}\n  {{ x }}\n{%- endmacro %}\n{{ f(1) }}|", "{% macro f(x, x) %}{% endmacro %}", "{% macro f(a=1, b) %}{% endmacro %}", "{% macro f %}{% endmacro %}", "{% macro none() %}{% endmacro %}", "{% macro f(True) %}{% endmacro %}", "{% with false = 1 %}{% endwith %}", "{% macro () %}{% endmacro %}", "{% macro f(a b) %}{% endmacro %}", "{% macro f(a,) %}{{ a }}{% endmacro %}{{ f(1) }}", "{% macro f() %}",
        "{% macro f(a, b) %}{{ a }}{{ b }}{% endmacro %}{{ f(*[1, 2]) }}{{ f(*[1], **{'b': 2}) }}{{ f(**d) }}", "{% macro f(a, b) %}{{ a }}{{ b }}{% endmacro %}{{ f(*[1], b=3) }}{{ f(b=3, *[1]) }}", "{% macro f(a) %}{{ a }}{% endmacro %}{{ f(a=1, **{'a': 2}) }}", "{% macro f(a) %}{{ a }}{% endmacro %}{{ f(a=1, a=2) }}", "{% macro f(a) %}{{ a }}{% endmacro %}{{ f(a=1, 2) }}", "{{ dict(**5) }}", "{{ dict(*5) }}",
        "{% macro f(x) %}{% if x %}{% generation %}{{ x }}{% endgeneration %}{% endif %}{% endmacro %}{{ f('a') }}{{ f('') }}", "{% set m = {'f': n} %}{% macro g(x) %}<{{ x }}>{% endmacro %}{% set m = {'g': g} %}{{ m.g(1) }}", "{% macro g(x) %}<{{ x }}>{% endmacro %}{% set ns = namespace(f=g) %}{{ ns.f(3) }}", "{% macro g(x) %}{{ x }}{% endmacro %}{{ g is callable }}{{ g is defined }}{{ n is callable }}",
        "{% macro schema(s, depth) %}{% for k, v in s.items() %}\n{{ '  ' * depth }}{{ k }}{% if v is mapping %}{{ schema(v, depth + 1) }}{% else %}: {{ v }}{% endif %}{% endfor %}{% endmacro %}{{ schema({'a': {'b': 1, 'c': {'d': 2}}, 'e': 3}, 0) }}",
        "{% macro g(a, b=1) %}{{ varargs }}{% endmacro %}{{ g.name }}{{ g.arguments }}{{ g.caller }}{{ g.catch_varargs }}{{ g['catch_kwargs'] }}{{ g.nothing is defined }}", "{% macro f() %}{{ caller.name }}{{ caller.arguments }}{% endmacro %}{% call(x) f() %}{% endcall %}",
        "{{ n() }}", "{{ nothing() }}", "{{ nothing.f() }}", "{{ d.k() }}", "{{ messages[0].foo() }}", "{{ 'a'.nomethod() }}", "{{ raise_exception('no way') }}", "{% if n == 3 %}{{ raise_exception('three') }}{% endif %}",
    ],
    "blocks": [
        "{% filter upper %}a{{ n }}b{% endfilter %}", "{% filter upper | trim %} a {% endfilter %}", "{% filter replace('a', 'b') %}aXa{% endfilter %}", "{% filter nothing %}x{% endfilter %}", "{% filter %}x{% endfilter %}", "{% filter indent(2) %}a\nb{% endfilter %}",
        "{% filter length %}abc{% endfilter %}", "{% filter first %}abc{% endfilter %}", "{% filter first %}{% endfilter %}", "{% set a | length %}abc{% endset %}{{ a + 1 }}", "{% call dict() %}{% endcall %}", "{% call namespace(a=1) %}x{% endcall %}", "{% call 'a'.upper() %}x{% endcall %}", "{% if false %}{{ n|no.filter }}{% endif %}{{ 1 }}",
        "{% print n %}{% print 1, 'a' %}", "{% generation %}x{{ n }}{% endgeneration %}", "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}", "{% generation %}\n  x\n{% endgeneration %}\ny", "{% generation %}x", "{% generation x %}{% endgeneration %}",
        "{% generation %}{{ loop is defined }}{{ n }}{% endgeneration %}", "{% for i in items %}{% generation %}{{ loop.index }}{{ i }}{% endgeneration %}{% endfor %}", "{% set x %}{% generation %}a{% endgeneration %}b{% endset %}{{ x }}", "{% generation %}{% generation %}x{% endgeneration %}{% endgeneration %}",
        "{% with a = 1 %}{{ a }}{% endwith %}", "{% with a = 1 b = 2 %}{% endwith %}", "{% with a %}{% endwith %}", "{% block x %}{% endblock", "{% include 'x' %}", "{% import 'x' as y %}", "{% from 'x' import y %}", "{% extends 'x' %}", "{% do items.append(1) %}", "{% trans %}x{% endtrans %}", "{% unknown %}", "{% endif %}", "{% else %}", "{% %}", "{{ }}", "{{", "{%", "{{ n", "{% if n", "{{ n }", "{{ n %}", "{% if true }}", "{# x", "{% raw %}x", "{% if true %}", "{% if true %}{% else %}{% elif 1 %}{% endif %}", "{% if %}{% endif %}", "{% if true %}{% endfor %}",
        "{{ n|nofilter }}", "{{ n is notest }}", "{% if false %}{{ n|nofilter }}{% else %}b{% endif %}", "{% if n is notest %}{% endif %}", "{% if false %}{% for i in items %}{{ i|nofilter }}{% endfor %}{% endif %}", "{% if false %}{% for i in items|nofilter %}{% endfor %}{% endif %}",
        "{{ n|nofilter if false else 'b' }}", "{{ 1 if true else n is notest }}", "{{ 1 if n|nofilter else 2 }}", "{% for i in items %}{% if i > 9 %}{{ i|nofilter }}{% endif %}{{ i }}{% endfor %}", "{% if false %}{% set a | nofilter %}{% endset %}{% endif %}", "{% if false %}{% filter nofilter %}{% endfilter %}{% endif %}", "{% if false %}{% macro f(a=n|nofilter) %}{% endmacro %}{% endif %}", "{% if false %}{% with a = n|nofilter %}{% endwith %}{% endif %}", "{% for i in items if i|nofilter %}{% endfor %}", "{% if false %}{{ (n|nofilter)|upper }}{% endif %}", "{% if false %}{{ 1 + }}{% endif %}", "{{ (1 }}", "{{ 1) }}", "{{ [1) }}", "{{ 'abc }}", "{{ 1 2 }}", "{{ n. }}", "{{ n.'a' }}", "{{ n[ }}", "{{ n[] }}", "{{ {1} }}", "{{ {'a' 1} }}", "{{ a ? b }}", "{{ a & b }}", "{{ $ }}", "{{ a = 1 }}", "{{ not }}", "{{ 1 is }}", "{{ 1 | }}", "{{ 1 if }}", "{{ 1 if 2 else }}", "{{ a.b.c }}", "{{ none.x }}{{ 1 .x }}", "{{ none.x.y }}", "{{ 1 + 'a' }}", "{{ 'a' + 1 }}", "{{ 1 < 'a' }}", "{{ 1 in 2 }}", "{{ items['a'] }}", "{{ items[99] is defined }}", "{{ -'a' }}", "{{ +'a' }}", "{{ not x.y }}", "{{ x + 1 }}", "{{ x < 1 }}", "{{ x == 1 }}{{ x != 1 }}{{ x in [] }}", "{{ 1 // 0 }}", "{{ {[]: 1} }}", "{{ 3 is divisibleby }}", "{{ x is divisibleby 2 is true is false }}", "{{ 1 is is }}", "{{ f(*a, *b) }}", "{{ f(**a, *b) }}", "{{ f(a b) }}", "{{ f(a,,b) }}", "{{ [,] }}", "{{ 007 }}", "{{ 1__0 }}", "{{ 1.5.5 }}", "{{ 'a'.0 }}", "{{ '\\x4' }}", "{{ 1e400 }}",
    ],
}


def render(template, variables):
    try:
        return {"text": _compile_jinja_template(template).render(**variables)}
    except Exception:  # whatever Python raises: the template is refused
        return {"error": True}


def used(template):
    return {k: v for k, v in VARS.items() if k in template}


def main():
    cases = []
    for group, templates in GROUPS.items():
        for i, template in enumerate(templates):
            variables = used(template)
            cases.append({"name": f"{group} {i}", "template": template, "vars": variables, **render(template, variables)})
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "jinja", "statements.json")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8", newline="\n") as f:
        f.write("[\n" + ",\n".join(json.dumps(c, ensure_ascii=False) for c in cases) + "\n]\n")


if __name__ == "__main__":
    main()
