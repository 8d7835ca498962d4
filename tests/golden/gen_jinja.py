#!/usr/bin/env python3
"""Expressions of Jinja templates (operators, str() and repr(), filters, tests, methods, globals) with what Jinja2 makes of
them in the environment that Transformers renders chat templates in: jinja/expressions.json.

    python3 tests/golden/gen_jinja.py      # needs transformers >= 5.24, jinja2 >= 3.1.6

A case has "name", "template", "vars" (those it reads) and either "text" or "error": true. Some have "date", at the
midnight of which strftime_now() stands.
"""

import datetime
import json
import os

import jinja2.meta
from transformers.utils.chat_template_utils import _cached_compile_jinja_template

VARS = {
    "s": "Hello World", "pad": " \tpadded\n ", "u": "straße ΟΔΟΣ 日本 😀", "e": "", "h": "<a href='x'>\"&</a>", "ml": "one\ntwo\r\n\n three\n",
    "quotes": "it's", "dq": 'say "hi"', "both": "'\"", "odd": "a\\b\x00\x1f\x7f\u00ad\u200b\u2028\ue000\U000e0001é", "sep": "a,b,,c",
    "i": 7, "z": 0, "neg": -13, "huge": 9223372036854775807, "f": 2.5, "w": 1e16, "tiny": 1e-05, "third": 0.1, "yes": True, "nil": None,
    "l": [3, 1, 2], "ls": ["b", "A", "c", "B", "a"], "lm": [1, "a", None, 2.0, True, [], {}], "le": [], "ll": [[1, 2], [3], []],
    "ld": [{"k": "b", "v": 1, "n": {"x": 1}}, {"k": "A", "v": 2, "n": {"x": [5, 6]}}, {"k": "a", "v": None}, {"v": 3}],
    "d": {"b": 1, "a": [1, {"x": "y"}], "C": None, "items": "shadow"}, "de": {}, "deep": {"x": {"y": {"z": [1, {"q": "é\n"}]}}},
}

# Groups of expressions; each becomes "{{ expression }}". What has a "{%" or "{{" is a whole template.
GROUPS = {
    "str": [
        "none", "true", "false", "i", "neg", "huge", "f", "w", "tiny", "third", "1.0", "100000000000000.0", "1234567890123456.0", "1e15", "1e16", "1e22", "123456789012345680.0",
        "0.0001", "0.00001", "1e-7", "-0.0", "1e308 * 10", "-(1e308 * 10)", "'nan'|float", "5e-324", "1.7976931348623157e308", "2.675", "1/3", "s", "e", "missing", "d.missing",
        "l", "lm", "ll", "d", "de", "deep", "()", "(1,)", "(1, 'a')", "[[]]", "[{}]", "{1: 2, 'a': none, none: 1.5, (1, 2): 'x'}", "[missing]", "[quotes, dq, both]", "[odd]", "[u]",
        "['\\n\\t\\r']", "range(3)", "range(1, 5)", "range(5, 0, -2)", "range(10)[2:8:3]", "d.keys()", "d.values()", "d.items()", "de.items()", "[h|safe]", "namespace(a=1, b='x')",
        "ld|groupby('k', default='')", "{{ s }}{{ i }}{{ none }}", "[true, false, none]", "{'a': {'b': [1.0]}}", "[1e16, 0.1]", "{true: 1, 1: 2}", "{1.0: 'a', 1: 'b'}", "lm|string", "nil|string"],
    "arithmetic": [
        "1 + 2", "1 + 2.0", "true + 1", "true + true", "huge - 1", "-huge - 1", "7 // 2", "-7 // 2", "7 // -2", "7 % 3", "-7 % 3", "7 % -3", "7.5 // 2", "-7.5 // 2",
        "7.5 % 2", "-7.5 % 2", "7 / 2", "4 / 2", "1 / 0", "1 // 0", "1 % 0", "1.0 / 0", "2 ** 10", "2 ** -1", "2 ** 0.5", "(-8) ** 3", "0 ** 0", "0 ** -1", "2 ** 62", "10 ** 18", "huge / 3",
        "9007199254740993 / 3", "-i", "+i", "-true", "+true", "-s", "-none", "'a' + 'b'", "'a' + 1", "1 + 'a'", "'a' * 3", "3 * 'ab'", "'a' * -1", "'a' * true", "'a' * 1.5", "[1] + [2]", "[1] + (2,)",
        "(1,) + (2,)", "[1, 2] * 2", "2 * (1,)", "[1] * 0", "l - l", "none + 1", "d + d", "missing + 1", "1 + missing", "'a' ~ 1 ~ none ~ 2.0 ~ missing ~ [1]", "i ~ s", "1 - 2 - 3", "2 ** 3 ** 2", "-2 ** 2",
        "5 % 3 * 2", "1 + 2 * 3 - 4 / 2", "0.1 + 0.2", "1e16 + 1", "w // 3", "f * i", "d.keys() + d.keys()", "range(2) + range(2)"],
    "compare": [
        "1 == 1.0", "1 == true", "0 == false", "'1' == 1", "none == false", "missing == missing", "missing == none", "l == [3, 1, 2]", "[1, 2] == (1, 2)", "(1, 2) == (1, 2)", "d == d", "{'a': 1, 'b': 2} == {'b': 2, 'a': 1.0}",
        "9007199254740993 == 9007199254740992.0", "9007199254740993 > 9007199254740992.0", "1 < 2", "1 < 1.5", "'a' < 'b'", "'a' < 'B'", "'é' < 'z'", "'\uffff' < '😀'", "[1, 2] < [1, 3]", "[1] < [1, 2]", "(1, 'a') < (1, 'b')",
        "[1, 'a'] < [1, 2]", "1 < 'a'", "none < 1", "[1] < (1,)", "d < d", "missing < 1", "true < 2", "1 < 2 < 3", "1 < 3 < 2", "1 == 1 == true", "'a' != 'b'", "1 != 1.0", "'ell' in s", "'' in s", "1 in s", "missing in s",
        "1 in l", "1.0 in l", "'1' in l", "[1, 2] in ll", "'b' in d", "1 in d", "[] in d", "none in d", "'x' not in d", "1 in none", "1 in 5", "1 in missing", "1 in range(3)", "('b', 1) in d.items()", "1 in d.values()", "'b' in d.keys()",
        "range(3) == range(3)", "range(3) == [0, 1, 2]", "d.keys() == d.keys()", "d.items() == d.items()", "1 in (l|select)", "not missing", "not ''", "not [0]", "0 or 'x'", "'' and 1", "[] or {} or none", "1 and 2 and 3"],
    "access": [
        "d.b", "d['b']", "d.a[1].x", "d['a'][1]['x']", "d.items", "d['items']", "d.missing", "d['missing']", "d.missing.x", "d.missing['x']", "missing.x", "nil.x", "nil['x']", "i.x", "l[0]", "l[-1]", "l[3]", "l[-4]", "l['0']", "l[1.0]",
        "l[true]", "s[0]", "s[-1]", "s[99]", "u[4]", "u[-1]", "s['x']", "l.0", "ll.0.1", "d.append", "l.append", "l.append is defined", "l.append(1)", "d.update({})", "d.pop('b')", "l.sort()", "l['append'] is defined", "s.__class__", "s.__class__.x",
        "d.__class__ is defined", "d['__class__']", "d._x", "{'_x': 1}._x", "{'__class__': 1}.__class__", "{'__foo__': 1}.__foo__", "{'keys': 1}.keys()", "{'keys': 1}['keys']", "d['keys'] is callable", "{[1]: 2}", "d[[1]]", "{1: 'a'}[1.0]", "{1: 'a'}[true]",
        "l[1:]", "l[:-1]", "l[::-1]", "l[::2]", "l[5:]", "l[-2:]", "l[2:0:-1]", "l[::0]", "l['a':]", "l[1.0:]", "l[none:none]", "l[true:]", "(1, 2, 3)[1:]", "s[1:4]", "s[::-1]", "s[-3:]", "u[::-1]", "u[4:9]", "u[-2:]", "e[1:]", "i[1:]", "d[1:]", "missing[1:]", "range(5)[1:3]|list",
        "range(5)[-1]", "d.keys()[0]", "(ld|groupby('k', default='')).0.grouper", "(ld|groupby('k', default='')).0.list|length", "(ld|groupby('k', default=''))[0][0]", "d|attr('b')", "d|attr('items')()|list", "s|attr('upper')()", "missing|attr('x')", "namespace(a=1).a", "namespace(a=1)['a']",
        "namespace(a=1).b", "namespace(_a=1)", "namespace({'x': 1}).x", "dict(a=1, b=[2])", "dict([('a', 1), (2, 3)])", "dict(d, z=1)", "dict([1])", "dict(1)"],
    "methods": [
        *(f"{v}.{m}()" for v in ("s", "u", "'ŉǆ İﬁ ΑΣ ΑΣ. Σ'", "'hello wORLD it\\'s 3rd'") for m in ("upper", "lower", "title", "capitalize", "swapcase", "casefold")),
        "pad.strip()", "pad.lstrip()", "pad.rstrip()", "'xxaxyx'.strip('x')", "'xyaxy'.strip('yx')", "'aé日'.rstrip('日é')", "s.strip('')", "s.strip(none)", "s.strip(1)", "'\u00a0\u3000x\u2003'.strip()", "'\x1c\x85x'.strip()", "pad.strip(chars=' ')",
        "sep.split(',')", "sep.split(',', 1)", "sep.split(',', -1)", "sep.split(',', maxsplit=2)", "sep.split(sep=',')", "pad.split()", "' a b  c '.split(none, 1)", "' a b  c '.split(maxsplit=0)", "' a b  c '.rsplit(none, 1)", "sep.rsplit(',', 1)", "sep.rsplit(',')", "'aaa'.split('aa')", "'aaa'.rsplit('aa')",
        "s.split('')", "e.split()", "e.split(',')", "s.split(1)", "ml.splitlines()", "ml.splitlines(true)", "ml.splitlines(keepends=true)", "'a\x0bb\x0cc\x1cd\x85e\u2028f\r\r\ng'.splitlines()", "e.splitlines()", "'\\n'.splitlines()",
        "s.startswith('He')", "s.startswith(('x', 'He'))", "s.startswith('W', 6)", "s.startswith('', 20)", "s.endswith('ld')", "s.endswith(('ld', 1))", "s.endswith((1, 'ld'))", "s.startswith(['He'])", "s.endswith('W', 0, 7)", "e.startswith('')",
        "s.replace('l', 'L')", "s.replace('l', 'L', 1)", "s.replace('', '-')", "s.replace('', '-', 2)", "e.replace('', 'x')", "s.replace('zz', 'x')", "s.replace('l', 1)", "u.replace('ß', 'ss')", "'aaa'.replace('aa', 'b')", "s.replace('l', 'L', 0)",
        "s.find('o')", "s.find('o', 5)", "s.find('o', 5, 6)", "s.find('z')", "s.rfind('o')", "s.rfind('o', 0, 6)", "s.find('')", "s.find('', 99)", "s.rfind('')", "u.find('日')", "u.rfind('日')", "s.index('W')", "s.index('z')", "s.rindex('o')", "s.count('l')", "s.count('')", "s.count('l', 4)", "'aaa'.count('aa')", "s.find(1)",
        "', '.join(ls)", "', '.join(l)", "'-'.join('abc')", "'-'.join([])", "'-'.join(d)", "'-'.join(missing)", "s.zfill(15)", "'-5'.zfill(4)", "'+5'.zfill(1)", "s.ljust(15, '.') ~ '|'", "s.rjust(15)", "s.center(14, '*')", "s.center(15, '*')", "s.center(3)", "'ab'.center(5, '*')", "s.center(15, 'xy')", "u.ljust(30, '日')",
        "s.partition(' ')", "s.partition('z')", "s.rpartition('o')", "s.rpartition('z')", "s.partition('')", "s.removeprefix('Hel')", "s.removesuffix('rld')", "s.removeprefix('x')", "s.removesuffix('')", "'a\\tb\\n\\tc'.expandtabs()", "'a\\tb'.expandtabs(4)", "'a\\tb'.expandtabs(0)",
        *(f"[{', '.join(repr(t) + '.' + m + '()' for t in ('', 'a', 'A', '1', '²', '½', '٣', '五', ' ', 'aB', 'Ab C', 'ß', 'ǅ', 'ª', 'Ⅷ', '_'))}]" for m in ("isdigit", "isdecimal", "isnumeric", "isalpha", "isalnum", "isspace", "isupper", "islower", "istitle", "isascii", "isprintable")),
        "d.keys()|list", "d.values()|list", "d.items()|list", "d.get('b')", "d.get('x')", "d.get('x', 5)", "d.get([])", "d.get('b', 5)", "d.get()", "d.keys()|length", "d.items()|length", "d.copy() == d", "l.index(1)", "l.index(9)", "l.count(1)", "l.copy()", "(1, 2).count(1)", "l.upper()", "s.nope()", "f.is_integer()", "2.0.is_integer()",
        "s.upper(1)", "s.upper", "s.upper() is callable", "s.upper is callable"],
    "percent": [
        "'%s' % s", "'%s' % none", "'%s' % l", "'%s' % (l,)", "'%s %s' % (1, 'a')", "'%s' % (1, 2)", "'%s %s' % 1", "'%d' % 3.99", "'%d' % -3.99", "'%d' % '3'", "'%d' % true", "'%i|%u' % (1, 2)", "'%5d|%-5d|%05d|%+d|% d' % (1, 2, 3, 4, 5)", "'%x %X %#x %o %#o' % (255, 255, 255, 8, 8)",
        "'%x' % -255", "'%x' % 1.5", "'%e %.2e %E' % (12345.678, 12345.678, 0.00012)", "'%f %.1f %.0f' % (1.25, 1.25, 2.5)", "'%g %g %G %.3g' % (1e10, 0.0001, 1e-10, 1234.5)", "'%8.3f|%-8.3f|%08.3f' % (1.5, 1.5, -1.5)", "'%s' % 1.0", "'%r' % s", "'%r %r' % ('a', 1.0)", "'%c%c' % ('a', 66)", "'%c' % 'ab'",
        "'%%' % ()", "'100%%' % ()", "'%' % 1", "'%y' % 1", "'abc' % 1", "'abc' % ()", "'abc' % l", "'abc' % d", "'abc' % (1,)", "'%(a)s %(b)d' % {'a': 1, 'b': 2}", "'%(a)s' % {'b': 1}", "'%(a)s' % 1", "'%10.3s|' % s", "'%-10s|' % 'ab'", "'%*d' % (5, 1)", "'%.*f' % (2, 1.005)", "'%5s' % 'é'",
        "'%s' % missing", "'%d' % missing", "'%d' % none", "'%.3d' % 5", "'%+.1f' % 2", "'%f' % ('inf'|float)", "'%05d' % -42", "'%s, %s!'|format('a', 'b')", "'%(x)s'|format(x=1)", "'%s'|format(1, x=1)", "'%s'|format", "'%d'|format('x')", "1|format"],
    "format": [
        "'{} {}'.format(1, 'a')", "'{1} {0}'.format(1, 'a')", "'{x}'.format(x=l)", "'{}'.format()", "'{0} {}'.format(1, 2)", "'{{}}'.format(1)", "'{'.format(1)", "'}'.format(1)", "'{!r} {!s}'.format('a', 'a')", "'{:5}|{:<5}|{:>5}|{:^5}|'.format(1, 1, 'a', 'a')", "'{:*^7}'.format('ab')",
        "'{:05d} {:+d} {: d}'.format(1, 2, 3)", "'{:,} {:,.2f} {:_}'.format(1234567, 1234567.891, 1234567)", "'{:x} {:X} {:#x} {:b} {:o}'.format(255, 255, 255, 5, 8)", "'{:.2f} {:e} {:g} {:%} {:.1%}'.format(1.005, 12345.6, 0.5, 0.25, 0.125)", "'{:.2}'.format('abc')", "'{:d}'.format(1.5)", "'{:d}'.format('a')",
        "'{:s}'.format(1)", "'{}'.format(none)", "'{:5}'.format(none)", "'{}'.format(missing)", "'{0[b]} {0.b}'.format(d)", "'{0[0]}'.format(l)", "'{0.__class__}'.format(d)", "'{x}'.format(1)", "'{:{}}'.format('a', 4)", "'{:{w}}|'.format('a', w=4)", "'{}'.format(1.0)", "'{:10}|'.format(1.5)", "'{:+} {:,} {:08} {:_} {:>9}|'.format(1.5, 1234567.25, -2.5, 1e16, -0.0)", "'{:=+7}'.format(42)",
        "'{:<07}'.format(42)", "'{}'.format(true)", "'{:d}'.format(true)", "'{:>6}'.format(true)", "'{!x}'.format(1)", "'{:07}'.format('ab')", "(h|safe).format('<')", "('<b>{}</b>'|safe).format('<i>')"],
    "markup": [
        "h|escape", "h|e", "h|safe", "(h|safe) + '<b>'", "'<b>' + (h|safe)", "(h|escape)|escape", "(h|escape)|forceescape", "h|forceescape", "(h|safe) ~ '<b>'", "('<%s>'|safe) % '<b>'", "('<%s %s>'|safe) % ('<b>', 1)", "('%(a)s'|safe) % {'a': '<'}", "('%r'|safe) % '<'", "('<'|safe) * 2", "('a'|safe) + 1", "[h|safe]|join('<')",
        "['<', '<'|safe]|join", "(', '|safe).join(['<', 1])", "('a,b'|safe).split(',')", "('ab'|safe).upper() + '<'", "('ab'|safe)[0] + '<'", "('ab'|safe).replace('a', '<')", "('ab'|safe)|replace('a', '<')", "'ab'|replace('a', '<'|safe)", "('x'|safe) is escaped", "'x' is escaped", "('x'|safe) is string", "('x'|safe)|string is escaped",
        "('a b'|safe)|title is escaped", "('a'|safe)|upper is escaped", "('a'|safe)|trim is escaped", "('a\\nb'|safe)|indent('<')", "('x'|safe)|tojson", "5|safe", "none|safe", "l|safe", "('<'|safe) == '<'", "'<' in ('<'|safe)", "('a'|safe).center(5, '<')", "('ab'|safe)|list", "('ab'|safe)|first", "('ab'|safe)|last is escaped", "('ab'|safe)|reverse is escaped"],
    "tojson": [
        "s|tojson", "u|tojson", "h|tojson", "odd|tojson", "both|tojson", "i|tojson", "f|tojson", "w|tojson", "tiny|tojson", "1.0|tojson", "'nan'|float|tojson", "[1e308 * 10, -1e308 * 10]|tojson", "none|tojson", "true|tojson", "l|tojson", "lm|tojson", "d|tojson", "deep|tojson", "(1, 'a')|tojson", "[]|tojson", "{}|tojson", "{1: 2, none: 3, true: 4, 1.5: 5}|tojson",
        "{(1, 2): 3}|tojson", "missing|tojson", "[missing]|tojson", "range(3)|tojson", "d.items()|tojson", "(l|map('string'))|tojson", "(l|map('string')|list)|tojson", "d|items|list|tojson", "namespace(a=1)|tojson", "deep|tojson(indent=2)", "deep|tojson(indent=4)", "deep|tojson(indent=0)", "deep|tojson(indent='--')", "deep|tojson(indent=-1)", "[[], {}, [[]]]|tojson(indent=2)",
        "d|tojson(sort_keys=true)", "{'b': 1, 'a': {'d': 1, 'c': 2}}|tojson(sort_keys=true)", "{1: 1, 'a': 2}|tojson(sort_keys=true)", "d|tojson(separators=(',', ':'))", "d|tojson(separators=[',', ':'], indent=1)", "d|tojson(separators=',')", "d|tojson(separators=none)", "u|tojson(ensure_ascii=true)", "u|tojson(true)", "odd|tojson(true)", "d|tojson(false, 2)", "d|tojson(indent='x', sort_keys=true)", "d|tojson(nope=1)",
        "d|tojson(indent=1.5)", "tiny|tojson(indent=2)", "ld|tojson(indent=3)", "(d|tojson) + '<'", "(d|tojson) is escaped", "loop|tojson"],
    "text filters": [
        "s|upper", "5|upper", "none|lower", "missing|upper", "s|capitalize", "'hELLO wORLD'|capitalize", "'hello-world (foo) [bar] {x} <y> it\\'s 3rd'|title", "u|title", "'ΑΣ ΑΣ-ΑΣ'|title", "'ǆ ﬁ'|title", "pad|trim", "'xxaxx'|trim('x')", "5|trim", "pad|trim(chars=' ')", "s|replace('l', 'L')", "s|replace('l', 'L', 1)", "s|replace('l', 5)", "5|replace(5, 6)", "s|replace('', '-')", "s|replace('l')",
        "s|replace(old='l', new='')", "s|center(15)", "s|center(14) ~ '|'", "s|center", "5|center(4) ~ '|'", "ml|indent", "ml|indent(2)", "ml|indent(2, true)", "ml|indent(2, blank=true)", "ml|indent(first=true)", "ml|indent('> ')", "ml|indent('> ', true, true)", "e|indent", "e|indent(first=true)", "'a\\n'|indent", "'\\n\\na'|indent(1)", "5|indent", "'a\x0bb\x85c'|indent(1)", "ml|indent(-1)", "ml|indent(1.5)",
        "'foo bar baz qux'|truncate(9)", "'foo bar baz qux'|truncate(9, true)", "'foo bar baz qux'|truncate(11)", "'foo bar baz qux'|truncate(11, false, '...', 0)", "s|truncate(2)", "s|truncate(5, leeway=0, end='')", "'one two  three_four'|wordcount", "u|wordcount", "5|wordcount", "e|wordcount", "'a-b c\\'d ² ½'|wordcount", "s|string", "l|string", "'a b/c?d=é&'|urlencode", "{'a b': 'c/d', 'e': 1}|urlencode", "[('a', 1)]|urlencode",
        "5|urlencode", "s|length", "u|length", "s|reverse", "u|reverse", "s|first", "s|last", "e|first", "e|last", "s|list", "u|list", "s|upper(1)", "s|nofilter"],
    "number filters": [
        "'42'|int", "'42.9'|int", "' 42 '|int", "'-7'|int", "'abc'|int", "'abc'|int(5)", "'abc'|int(default=none)", "'0x1f'|int(0, 16)", "'1f'|int(base=16)", "'0x1f'|int", "'0b101'|int(0, 2)", "'0o17'|int(0, 8)", "'0x1f'|int(0, 0)", "'012'|int(0, 0)", "'012'|int", "'1_000'|int", "'1__0'|int", "'_1'|int", "'٣٤'|int", "'1e3'|int", "'inf'|int", "'nan'|int", "''|int", "3.99|int", "-3.99|int", "true|int", "none|int", "none|int(9)", "[]|int", "missing|int", "('inf'|float)|int",
        "'zz'|int(0, 36)", "'9223372036854775807'|int", "'-9223372036854775808'|int", "'1'|int(0, 1)", "'1.5'|float", "' 1.5 '|float", "'1e3'|float", "'.5'|float", "'5.'|float", "'.'|float", "'inf'|float", "'-Infinity'|float", "'NaN'|float", "'1_0.5'|float", "'0x10'|float", "'abc'|float", "'abc'|float(1.5)", "7|float", "true|float", "none|float", "missing|float", "'1 2'|float", "huge|float",
        "-5|abs", "(-5)|abs", "(-2.5)|abs", "true|abs", "'a'|abs", "none|abs", "2.5|round", "3.5|round", "-2.5|round", "2.675|round(2)", "1.005|round(2)", "1234.5|round(-2)", "1250|round(-2)", "1350|round(-2)", "150.0|round(-2)", "50.0|round(-2)", "49.9|round(-2)", "7|round", "7|round(1)", "true|round", "2.1|round(0, 'ceil')", "2.9|round(0, 'floor')", "-2.1|round(0, 'ceil')", "2.123|round(2, 'ceil')", "2.129|round(2, 'floor')", "7|round(1, 'ceil')",
        "1234|round(-2, 'ceil')", "2.5|round(0, 'common')", "2.5|round(0, 'x')", "'a'|round", "none|round", "1e300|round(2)", "0.5|round", "1.5|round|int", "42.55|round(1, 'floor')", "('inf'|float)|round(1)", "('inf'|float)|round(0, 'ceil')"],
    "list filters": [
        "l|length", "d|length", "missing|length", "none|length", "5|length", "(l|map('string'))|length", "l|count", "d.items()|count", "l|first", "le|first", "d|first", "l|last", "le|last", "d|last", "(l|select)|last", "(l|select)|first", "5|first", "range(5)|last", "l|list", "d|list", "(1, 2)|list", "missing|list", "none|list", "5|list", "range(3)|list",
        "ls|join", "ls|join(', ')", "l|join('-')", "lm|join('|')", "ld|join(',', attribute='v')", "ld|join(',', 'k')", "s|join('.')", "d|join(',')", "missing|join", "none|join", "[[1], 'a']|join(1)", "ls|join(d='+')", "l|sum", "[1.5, 2]|sum", "le|sum", "le|sum(start=5)", "ls|sum", "ll|sum(start=[])", "ld|sum('v')", "[{'a': 1}, {'a': 2}]|sum(attribute='a')", "ls|sum(start='')", "[true, 2]|sum",
        "l|sort", "l|sort(true)", "l|sort(reverse=true)", "ls|sort", "ls|sort(case_sensitive=true)", "ls|sort(reverse=true)", "lm|sort", "d|sort", "ld|sort(attribute='v')", "[{'a': 2, 'b': 1}, {'a': 1, 'b': 2}, {'a': 1, 'b': 1}]|sort(attribute='a,b')", "[{'a': {'b': 2}}, {'a': {'b': 1}}]|sort(attribute='a.b')", "[[2, 'x'], [1, 'y']]|sort(attribute=0)", "[[2, 'x'], [1, 'y']]|sort(attribute='0')", "[{}, {}]|sort", "[none]|sort", "[missing]|sort", "[1, 'a']|sort", "[{'a': 1}]|sort(attribute='x')", "s|sort|join",
        "[(1, 'b'), (1, 'a'), (0, 'c')]|sort", "[true, 0, 2.5]|sort", "none|sort", "[[1, 'a'], [1, 2]]|sort", "d|dictsort", "{'b': 1, 'A': 3, 'a': 2}|dictsort", "{'b': 1, 'A': 3, 'a': 2}|dictsort(true)", "{'b': 1, 'A': 3, 'a': 2}|dictsort(false, 'value')", "{'b': 1, 'A': 3, 'a': 2}|dictsort(by='value', reverse=true)", "d|dictsort(by='x')", "d|dictsort(by='value')", "l|dictsort", "{1: 2, 'a': 3}|dictsort", "de|dictsort",
        "ls|unique|list", "ls|unique(true)|list", "[1, 1.0, true, '1']|unique|list", "ld|unique(attribute='k')|list|length", "ll|unique|list", "s|unique|join", "l|min", "l|max", "ls|min", "ls|max", "ls|min(case_sensitive=true)", "le|min", "lm|max", "[{'v': 1}, {'v': 2}]|max(attribute='v')", "[1, 1.0]|max", "[1.0, 1]|min", "['B', 'b']|max", "none|max", "[{}, {}]|max",
        "l|map('string')|list", "ld|map(attribute='v')|list", "ld|map(attribute='k', default='?')|list", "ld|map(attribute='n.x')|list", "[{'n': {'x': [5, 6]}}]|map(attribute='n.x.1')|list", "ld|map('length')|list", "l|map('round', 1)|list", "['a', none]|map('default', 'x', true)|list", "ls|map('upper')|join", "none|map('upper')|list", "missing|map('upper')|list", "0|map('upper')|list", "5|map('upper')|list", "l|map|list", "le|map|list", "l|map('nofilter')|list", "le|map('nofilter')|list", "l|map(attribute='x', nope=1)|list",
        "l|map(missing)|list", "s|map('upper')|list", "d|map('upper')|list", "lm|select|list", "lm|reject|list", "l|select('odd')|list", "l|reject('odd')|list", "l|select('>', 1)|list", "l|select('divisibleby', 2)|list", "l|select('in', [1, 2])|list", "l|select('nope')|list", "lm|select('string')|list", "none|select|list", "none|selectattr('x')|list", "missing|selectattr('x')|list", "5|select|list", "ld|selectattr('v')|list", "ld|selectattr('v', 'none')|list", "ld|selectattr('v', 'equalto', 2)|list",
        "ld|selectattr('k', 'defined')|map(attribute='v')|list", "ld|rejectattr('k', 'undefined')|list|length", "ld|rejectattr('v')|list", "ld|selectattr('n.x')|list", "ld|selectattr|list", "ll|selectattr(0)|list", "ll|selectattr('0', '==', 1)|list", "l|batch(2)|list", "l|batch(2, 'x')|list", "l|batch(5)|list", "le|batch(2)|list", "l|batch(0)|list", "l|batch|list", "l|batch(linecount=1)|list", "l|slice(2)|list", "l|slice(2, 'x')|list", "l|slice(5)|list", "l|slice(0)|list", "[1, 2, 3, 4, 5, 6, 7]|slice(3, 0)|list",
        "ld|groupby('v')", "ld|groupby('k', default='z')|map('first')|list", "ld|groupby('k', default='z', case_sensitive=true)|map('first')|list", "[{'c': 'X'}, {'c': 'x'}, {'c': 'y'}]|groupby('c')", "ll|groupby(0, default=9)|length", "l|reverse|list", "d|reverse|list", "(l|select)|reverse", "5|reverse", "none|reverse", "(1, 2)|reverse|list", "d|items|list", "missing|items|list", "l|items|list", "none|items|list", "{% set g = l|map('string') %}{{ g|list }}{{ g|list }}", "{% set g = l|select('nope') %}ok",
        "{% for x in ld|selectattr('k', 'defined') %}{{ loop.length }}{{ x.k }}{% endfor %}", "{% set g = l|select %}{{ g|first }}{{ g|first }}{{ g|list }}", "(l|select) is iterable", "(le|select) and 1", "nil|default('x')", "missing|default('x')", "missing|d('x')", "''|default('x')", "''|default('x', true)", "missing|default", "none|default('x', boolean=true)", "[]|default([1], true)|first", "missing|default(default_value=1)", "d.a.b.c|default(1)", "d.q.c|default(1)"],
    "tests": [
        *(f"[{', '.join(f'{v} is {t}' for v in ('s', 'e', 'i', 'f', 'yes', 'nil', 'l', 'd', '(1,)', 'missing', 'range(2)', 'd.items()', '(l|select)', 'namespace()', 'range', 's.upper'))}]"
          for t in ("defined", "undefined", "none", "boolean", "true", "false", "integer", "float", "number", "string", "mapping", "iterable", "sequence", "callable", "escaped")),
        "3 is odd", "2 is odd", "2.0 is even", "-3 is odd", "(-3) is odd", "true is odd", "'a' is odd", "none is even", "6 is divisibleby 3", "6 is divisibleby(4)", "6 is divisibleby 0", "6 is divisibleby", "'abc' is lower", "'aBc' is lower", "'ABC' is upper", "'' is lower", "5 is upper", "none is lower", "'upper' is filter", "'nope' is filter", "'odd' is test", "'nope' is test", "5 is filter", "[] is filter",
        "1 is sameas 1", "1 is sameas 1.0", "none is sameas none", "true is sameas true", "1 is sameas true", "l is sameas l", "l is sameas [3, 1, 2]", "1 is in [1]", "1 is in(l)", "'a' is in 'abc'", "1 is in 5", "1 is eq 1", "1 is equalto(1.0)", "1 is ==(1)", "1 is ne 2", "1 is lt 2", "1 is lessthan 1", "1 is le 1", "2 is gt 1", "2 is greaterthan 3", "2 is ge 2", "1 is lt 'a'", "missing is lt 1", "missing is eq missing", "1 is not odd", "not 1 is odd", "1 is nope", "s is string is true", "i is defined and i is number"],
    "globals": [
        "range(3)|list", "range(1, 4)|list", "range(5, 0, -2)|list", "range(0)|list", "range(3, 1)|list", "range(1, 2, 0)", "range(1.5)", "range('a')", "range(100000)|length", "range(100001)", "range(0, 1000000, 10)|length", "range()", "range(5)|sum", "{% set j = joiner('; ') %}{{ j() }}{{ j() }}{{ j() }}", "{% set j = joiner() %}{{ j() }}a{{ j() }}b", "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}{{ c.reset() }}{{ c.next() }}",
        "cycler()", "raise_exception('no')", "dict is callable", "range is defined", "strftime_now is defined", "{% set ns = namespace(x=0) %}{% for v in l %}{% set ns.x = ns.x + v %}{% endfor %}{{ ns.x }}", "{% set ns = namespace() %}{% set ns.a = [1] %}{{ ns.a + [2] }}{{ ns }}", "namespace(1)"],
}
DATED = ["strftime_now('%Y-%m-%d')", "strftime_now('%d %B %Y')", "strftime_now('%d %b %Y')", "strftime_now('%-d/%-m/%y')", "strftime_now('%A, %a %j %U %W %w %u %V %G %g')", "strftime_now('%H:%M:%S %I %p %f [%z] [%Z]')", "strftime_now('%e|%D|%F|%T|%R|%h|%C|%n|%t|%%')", "strftime_now('%c|%x|%X')",
         "strftime_now('日 %Y')", "strftime_now('')", "strftime_now(format='%Y')", "strftime_now()", "strftime_now(1)", "strftime_now is defined", "strftime_now('%_d %^a %0e %k %l %P')"]
DATES = ["2024-07-26", "2025-01-05", "2000-02-29", "1999-12-31"]


def main():
    env = _cached_compile_jinja_template("").environment
    cases = []

    def add(name, expression, date=None):
        template = expression if "{%" in expression or "{{ " in expression else "{{ " + expression + " }}"
        used = VARS
        if date:
            env.globals["strftime_now"] = lambda format: datetime.datetime.fromisoformat(date).strftime(format)
        else:
            env.globals.pop("strftime_now", None)
        try:
            names = jinja2.meta.find_undeclared_variables(env.parse(template))
            used = {k: v for k, v in VARS.items() if k in names}
            outcome = {"text": env.from_string(template).render(**VARS)}
            assert " at 0x" not in outcome["text"], template
        except AssertionError as e:
            if " at 0x" in str(e):
                raise
            outcome = {"error": True}
        except Exception:  # whatever Jinja2 or Python raise
            outcome = {"error": True}
        cases.append({"name": name, "template": template, "vars": used if used is not VARS else {}, **({"date": date} if date else {}), **outcome})

    for group, expressions in GROUPS.items():
        for n, expression in enumerate(expressions):
            add(f"{group} {n}", expression)
    for date in DATES:
        for n, expression in enumerate(DATED):
            add(f"date {date} {n}", expression, date)
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "jinja", "expressions.json")
    with open(path, "w") as f:
        f.write("[\n" + ",\n".join(json.dumps(c, ensure_ascii=True) for c in cases) + "\n]\n")
    print(len(cases), "cases,", sum("error" in c for c in cases), "of them errors")


main()
