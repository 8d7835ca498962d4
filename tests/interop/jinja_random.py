#!/usr/bin/env python3
"""Random expressions over nested values, rendered by Jinja2 (in the environment of Transformers) and by the engine in
data/jinja/: texts must be equal, and what one refuses the other must too, but for what the engine says it does not do.

    gcc -O2 -std=c11 -D_POSIX_C_SOURCE=200809L -I. tests/interop/jinja_driver.c data/jinja/*.c base/error.c base/mem.c \\
        -o jinja_driver -ljansson -lutf8proc -lm
    python3 tests/interop/jinja_random.py --driver ./jinja_driver --count 100000 --seed 1
"""

import argparse
import json
import random
import re
import signal
import subprocess
import sys
import warnings

from transformers.utils.chat_template_utils import _cached_compile_jinja_template

TEXTS = ["", "a", "Hello World", " x y ", "a,b,,c", "it's", 'say "hi"', "<b>&amp;</b>", "line1\nline2\n\n  line3", "tab\there",
         "ÀÉÎ straße ŉ", "日本語 😀", "ΟΔΟΣ Σ", "ǆ ﬁx İI", "42", " -7 ", "3.5", "1e3", "0x1f", "nan", "aXbXc", "ABC def", "a\r\nb\x0bc\x1cd\u2028e",
         "\\ back\x00nul", "%s and %d", "{} {0}", "a.b", "xx", "٣٤", "²", "é", "\u00a0 sp\u3000", "__x__", "\u200b\u00ad\ue000\x7f"]
VARS = {
    "s": "Hello World", "t": " padded\t", "u": "straße ΟΔΟΣ 日本", "e": "", "h": "<a href='x'>\"&</a>", "ml": "one\ntwo\r\n\n three\n",
    "i": 7, "z": 0, "neg": -13, "big": 9007199254740993, "f": 2.5, "g": -0.1, "w": 1e16, "tiny": 1e-07, "half": 0.5, "yes": True, "no": False, "nil": None,
    "l": [3, 1, 2], "ls": ["b", "A", "c", "B"], "lm": [1, "a", None, 2.0, True], "le": [], "ll": [[1, 2], [3], []],
    "ld": [{"k": "b", "v": 1, "n": {"x": 1}}, {"k": "A", "v": 2, "n": {"x": [5, 6]}}, {"k": "a", "v": None}, {"v": 3.5}],
    "lf": [1.5, 2.0, -3.25], "d": {"b": 1, "a": [1, {"x": "y"}], "C": None, "items": "shadow"}, "de": {}, "dn": {"x": {"y": {"z": 1}}, "_p": 2},
    "dm": {"k": 1.0, "true": True, "q": "it's \"q\"", "u": "é\n😀\x7f"},
}
NAMES = {"str": ["s", "t", "u", "e", "h", "ml"], "int": ["i", "z", "neg", "big"], "float": ["f", "g", "w", "tiny", "half"], "bool": ["yes", "no"],
         "list": ["l", "ls", "lm", "le", "ll", "ld", "lf"], "dict": ["d", "de", "dn", "dm"]}
TESTS0 = ["defined", "undefined", "none", "boolean", "true", "false", "integer", "float", "number", "string", "mapping", "iterable", "sequence",
          "callable", "escaped", "odd", "even", "lower", "upper", "filter", "test"]
TESTS1 = ["divisibleby", "sameas", "in", "eq", "equalto", "ne", "lt", "lessthan", "le", "gt", "greaterthan", "ge"]
ATTRIBUTES = ["k", "v", "n", "n.x", "n.x.0", "0", "x", "items", "k,v", "", "_p", "__class__", "1"]


class Maker:
    def __init__(self, rng):
        self.rng = rng

    def pick(self, *options):
        return self.rng.choice(options)

    def literal(self, text):
        """As a string of the template."""
        out = ""
        for c in text:
            if c in "'\\":
                out += "\\" + c
            elif ord(c) < 32 or ord(c) == 127:
                out += {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(c, f"\\x{ord(c):02x}")
            else:
                out += c
        return f"'{out}'"

    def make(self, kind, depth):
        r = self.rng
        if r.random() < 0.06:
            kind = self.pick("str", "int", "float", "bool", "list", "dict", "none", "undefined", "tuple", "gen", "markup", "view")
        if kind == "any":
            kind = self.pick("str", "str", "int", "float", "bool", "list", "dict", "tuple", "gen", "markup", "view", "none", "undefined")
        if depth <= 0:
            return self.leaf(kind)
        return "(" + getattr(self, "make_" + kind)(depth - 1) + ")" if r.random() < 0.85 else self.leaf(kind)

    def leaf(self, kind):
        r = self.rng
        if kind in NAMES and r.random() < 0.55:
            return r.choice(NAMES[kind])
        if kind == "str":
            return self.literal(r.choice(TEXTS))
        if kind == "int":
            return str(r.choice([0, 1, 2, 3, 5, 10, -1, -2, 100]))
        if kind == "float":
            return r.choice(["0.0", "1.5", "-2.5", "1e20", "0.1", "2.675", "1e-5", "123456789.125"])
        if kind == "bool":
            return self.pick("true", "false")
        if kind == "list":
            return "[" + ", ".join(self.leaf(self.pick("int", "str", "float", "bool", "none")) for _ in range(r.randint(0, 3))) + "]"
        if kind == "tuple":
            return "(" + "".join(self.leaf(self.pick("int", "str")) + ", " for _ in range(r.randint(0, 3))) + ")"
        if kind == "dict":
            return "{" + ", ".join(self.leaf(self.pick("str", "str", "int", "bool", "none")) + ": " + self.leaf(self.pick("int", "str", "list"))
                                   for _ in range(r.randint(0, 3))) + "}"
        if kind == "markup":
            return "(" + self.leaf("str") + self.pick("|safe", "|escape", "|e") + ")"
        if kind == "gen":
            return "(" + self.leaf("list") + self.pick("|select", "|map('string')", "|reverse", "|unique", "|batch(2)") + ")"
        if kind == "view":
            return self.pick("d.items()", "d.keys()", "dm.values()", "range(4)", "range(1, 10, 3)", "range(5, 0, -2)")
        return {"none": self.pick("nil", "none"), "undefined": self.pick("missing", "d.missing")}[kind]

    def make_none(self, _):
        return "none"

    def make_undefined(self, depth):
        return self.pick("missing", "d.nope", "l[99]", self.make("dict", depth) + ".zz", self.make("str", depth) + "[77]")

    def text(self, depth):
        return self.make(self.pick("str", "str", "str", "markup"), depth)

    def small(self):
        return str(self.rng.choice([0, 1, 2, 3, 4, 5, 7, 12, -1, -2]))

    def make_str(self, depth):
        s = self.text(depth)
        a = lambda: self.make("str", min(depth, 1))
        any_ = lambda: self.make("any", depth)
        method = self.pick(
            "upper()", "lower()", "title()", "capitalize()", "swapcase()", "casefold()", "strip()", "lstrip()", "rstrip()",
            f"strip({a()})", f"lstrip({a()})", f"rstrip({a()})", f"replace({a()}, {a()})", f"replace({a()}, {a()}, {self.small()})",
            f"center({self.small()})", f"ljust({self.small()}, '-')", f"rjust(12)", f"zfill({self.small()})", f"removeprefix({a()})",
            f"removesuffix({a()})", f"expandtabs({self.small()})", f"join({self.make(self.pick('list', 'str', 'gen', 'tuple'), depth)})",
            f"format({any_()}, {any_()}, x={any_()})")
        filter_ = self.pick(
            "upper", "lower", "title", "capitalize", "trim", f"trim({a()})", "string", f"replace({a()}, {a()})", f"replace({a()}, {a()}, {self.small()})",
            f"center({self.small()})", f"indent({self.pick('2', a(), '4, true', '3, false, true', 'first=true')})", f"truncate({self.small()})",
            f"truncate(9, true)", f"truncate(6, false, '…', 0)", f"default({any_()})", "forceescape", "urlencode", f"format({any_()})", "reverse", "first", "last")
        spec = self.pick("%s", "%d", "%5d", "%-6s|", "%05.1f", "%r", "%x", "%+d", "%c", "%%", "%e", "%.3g", "%(b)s", "%10.2s", "%i %s", "%#o", "% d", "%*d")
        braces = self.pick("{}", "{0}", "{1}-{0}", "{:>8}", "{:*^9}", "{!r}", "{x}", "{:,}", "{:.2f}", "{:05d}", "{:x}", "{:#b}", "{:+}", "{0[a]}", "{0.b}",
                           "{{}}", "{:10}|", "{:<4}", "{:e}", "{:%}", "{:_}", "{:s}", "{", "{:{}}", "{:=+7}")
        return self.pick(
            f"{s}.{method}", f"{s}.{method}", f"{s}|{filter_}", f"{s}|{filter_}", f"{any_()}|{filter_}",
            f"{s} + {self.text(depth)}", f"{any_()} ~ {any_()}", f"{s} * {self.small()}", f"{self.small()} * {s}",
            f"{s}[{self.small()}]", f"{s}[{self.slice()}]", f"{any_()}|tojson({self.json_args()})", f"{any_()}|string",
            f"{self.make(self.pick('list', 'gen', 'tuple', 'dict', 'view'), depth)}|join({self.pick('', a(), a() + ', attribute=' + self.attribute())})",
            f"'{spec}' % {any_()}", f"'{spec} {spec}' % ({any_()}, {any_()})", f"'{spec}'|format({any_()})", f"'{braces}'.format({any_()}, {any_()}, x={any_()})",
            f"'{braces}{braces}'.format({any_()}, {any_()})", f"{s} if {self.make('bool', depth)} else {any_()}", f"{s} or {any_()}", f"{s} and {any_()}")

    def json_args(self):
        return self.pick("", "", "indent=2", "indent=0", "indent='\\t'", "sort_keys=true", "separators=(',', ':')", "ensure_ascii=true", "indent=4, sort_keys=true",
                         "true", "indent=none", "indent=1, separators=('|', '=')")

    def slice(self):
        part = lambda: self.pick("", "", self.small())
        return f"{part()}:{part()}" + self.pick("", "", ":" + self.small(), ":-1")

    def attribute(self):
        return self.literal(self.rng.choice(ATTRIBUTES)) if self.rng.random() < 0.9 else "0"

    def make_markup(self, depth):
        return f"{self.make('any', depth)}{self.pick('|safe', '|escape', '|forceescape')}"

    def make_int(self, depth):
        x = lambda: self.make(self.pick("int", "int", "bool"), depth)
        s = self.text(depth)
        a = self.make("str", min(depth, 1))
        return self.pick(
            f"{x()} + {x()}", f"{x()} - {x()}", f"{x()} * {x()}", f"{x()} // {x()}", f"{x()} % {x()}", f"{x()} ** {self.pick('0', '1', '2', '3')}", f"-{x()}", f"+{x()}",
            f"{self.make('any', depth)}|length", f"{self.make('any', depth)}|int", f"{s}|int({self.small()}, {self.pick('10', '16', '0', '2', '36', '8')})",
            f"{x()}|abs", f"{s}|wordcount", f"{s}.find({a})", f"{s}.rfind({a})", f"{s}.count({a})", f"{s}.find({a}, {self.small()}, {self.small()})", f"{s}.index({a})",
            f"{self.make('list', depth)}.index({self.make('any', 1)})", f"{self.make('list', depth)}.count({self.make('any', 1)})",
            f"{x()}|round({self.pick('', '-1', '2')})", f"{self.make('list', depth)}|sum", f"{s}.count({a}, {self.small()})")

    def make_float(self, depth):
        x = lambda: self.make(self.pick("float", "float", "int"), depth)
        return self.pick(
            f"{x()} + {x()}", f"{x()} - {x()}", f"{x()} * {x()}", f"{x()} / {x()}", f"{x()} // {x()}", f"{x()} % {x()}", f"{x()} ** {self.pick('2', '0.5', '-1')}",
            f"{self.make('any', depth)}|float", f"{x()}|round({self.small()})", f"{x()}|round({self.small()}, {self.pick(chr(39) + 'ceil' + chr(39), chr(39) + 'floor' + chr(39))})",
            f"{x()}|abs", f"-{x()}", f"{self.make('list', depth)}|sum(start=0.5)")

    def make_bool(self, depth):
        any_ = lambda: self.make("any", depth)
        s = self.text(depth)
        a = self.make("str", min(depth, 1))
        same = self.pick("str", "int", "float", "list", "tuple", "dict")
        return self.pick(
            f"{any_()} == {any_()}", f"{any_()} != {any_()}", f"{self.make(same, depth)} {self.pick('<', '<=', '>', '>=', '==', '!=')} {self.make(same, depth)}",
            f"{any_()} in {self.make(self.pick('list', 'dict', 'str', 'tuple', 'gen', 'view'), depth)}", f"{any_()} not in {any_()}", f"not {any_()}",
            f"{any_()} is {self.pick('', 'not ')}{self.rng.choice(TESTS0)}", f"{any_()} is {self.rng.choice(TESTS1)}({any_()})", f"{any_()} is sameas(none)",
            f"{s}.startswith({a})", f"{s}.endswith({a})", f"{s}.startswith(({a}, 'H'), {self.small()})", f"{s}.{self.pick('isdigit', 'isalpha', 'isalnum', 'isspace', 'isupper', 'islower', 'isnumeric', 'isdecimal', 'istitle', 'isascii', 'isprintable')}()",
            f"{self.make('int', depth)} < {self.make('float', depth)} <= {self.make('int', depth)}", f"{self.make('float', depth)}.is_integer()")

    def make_list(self, depth):
        seq = lambda: self.make(self.pick("list", "list", "tuple", "gen", "dict", "view", "str"), depth)
        s = self.text(depth)
        a = self.make("str", min(depth, 1))
        flags = self.pick("", "reverse=true", "case_sensitive=true", f"attribute={self.attribute()}", f"true, attribute={self.attribute()}")
        return self.pick(
            f"[{', '.join(self.make('any', depth) for _ in range(self.rng.randint(0, 3)))}]", f"{self.make('list', depth)} + {self.make('list', depth)}",
            f"{self.make('list', depth)} * {self.pick('0', '1', '2', '3', '-1')}", f"{self.make('list', depth)}[{self.slice()}]", f"{seq()}|list", f"{seq()}|sort({flags})",
            f"{s}.split()", f"{s}.split({a})", f"{s}.split({a}, {self.small()})", f"{s}.rsplit({a}, {self.small()})", f"{s}.split(none, {self.small()})", f"{s}.rsplit(maxsplit={self.small()})",
            f"{s}.splitlines()", f"{s}.splitlines(true)", f"{self.make('dict', depth)}|dictsort({self.pick('', 'true', 'by=' + chr(39) + 'value' + chr(39), 'reverse=true')})",
            f"{seq()}|groupby({self.attribute()}{self.pick('', ', default=1', ', case_sensitive=true')})", f"{self.make('gen', depth)}|list", f"{self.make('gen', depth)}|list",
            f"{self.make('list', depth)}.copy()")

    def make_tuple(self, depth):
        s = self.text(depth)
        a = self.make("str", min(depth, 1))
        return self.pick(f"({self.make('any', depth)},)", f"({self.make('any', depth)}, {self.make('any', depth)})", f"{s}.partition({a})", f"{s}.rpartition({a})",
                         f"{self.make('tuple', depth)} + {self.make('tuple', depth)}", f"{self.make('tuple', depth)}[{self.slice()}]", "()",
                         f"{self.make('dict', depth)}|items|first", f"(ld|groupby('k'))[0]")

    def make_dict(self, depth):
        key = lambda: self.make(self.pick("str", "str", "int", "bool", "tuple", "float", "none"), min(depth, 1))
        return self.pick("{" + ", ".join(f"{key()}: {self.make('any', depth)}" for _ in range(self.rng.randint(0, 3))) + "}",
                         f"dict(a={self.make('any', depth)}, b=1)", f"dict({self.make('dict', depth)}, z=2)", f"dict({self.make('list', depth)})", f"{self.make('dict', depth)}.copy()",
                         "ld[0]", "dn.x", "dn['x']['y']")

    def make_gen(self, depth):
        seq = self.make(self.pick("list", "list", "tuple", "gen", "dict", "view", "str", "none", "undefined"), depth)
        name = self.pick("upper", "string", "length", "int", "first", "tojson", "abs", "list", "float", "trim", "title", "last", "sum", "escape", "nofilter")
        test = self.pick("", ", " + self.literal(self.rng.choice(TESTS0)), f", {self.literal(self.rng.choice(TESTS1))}, {self.make('any', min(depth, 1))}")
        return self.pick(f"{seq}|map({self.literal(name)})", f"{seq}|map(attribute={self.attribute()})", f"{seq}|map(attribute={self.attribute()}, default={self.make('any', 1)})",
                         f"{seq}|map('default', {self.make('any', 1)}, true)", f"{seq}|{self.pick('select', 'reject')}({test[2:]})",
                         f"{seq}|{self.pick('selectattr', 'rejectattr')}({self.attribute()}{test})", f"{seq}|unique({self.pick('', 'true', 'attribute=' + self.attribute())})",
                         f"{seq}|batch({self.small()}{self.pick('', ', 0')})", f"{seq}|slice({self.small()}{self.pick('', ', 0')})", f"{seq}|reverse", f"{self.make('dict', depth)}|items")

    def make_view(self, depth):
        n = self.small
        return self.pick(f"{self.make('dict', depth)}.{self.pick('items', 'keys', 'values')}()", f"range({n()})", f"range({n()}, {n()}, {n()})", f"range({n()}, 9)",
                         f"range(9)[{self.slice()}]")

    def expression(self):
        r = self.rng
        depth = r.choice([1, 2, 2, 3, 3])
        e = self.make("any", depth)
        o = self.make("any", 1)
        form = r.random()
        if form < 0.05:
            e = f"{e}.{self.pick('a', 'b', 'x', 'items', 'k', 'keys', 'append', '__class__', '_p', 'nope', 'get', 'grouper', 'list')}"
        elif form < 0.12:
            e = f"{e}[{o}]"
        elif form < 0.15:
            e = f"{e}.get({o}{self.pick('', ', 1')})"
        elif form < 0.2:
            e = f"{e}|{self.pick('min', 'max', 'first', 'last', 'length', 'count')}"
        elif form < 0.22:
            e = f"{e}|{self.pick('min', 'max')}(attribute={self.attribute()})"
        elif form < 0.23:
            e = f"{e}|attr({self.literal(self.rng.choice(['items', 'upper', 'a', '__class__', 'x']))})"
        shown = r.random()
        if shown < 0.25:
            return "{% for x in " + e + " %}{{ x }};{% else %}none{% endfor %}"
        if shown < 0.4:
            return "{{ " + e + "|tojson }}"
        return "{{ " + e + " }}"


ENVIRONMENT = _cached_compile_jinja_template("").environment
REFUSED = re.compile("64 bits|not supported|as text|neither smaller|too long|too large|too wide|nested too|cannot be raised to a fractional|sandbox has at most|cannot be sliced")


def python_render(template, timeout):
    signal.setitimer(signal.ITIMER_REAL, timeout)
    try:
        text = ENVIRONMENT.from_string(template).render(**VARS)
        text.encode()
        return {"text": text}
    except TimeoutError:
        return None
    except Exception as e:  # whatever Jinja or Python raise
        return {"error": f"{type(e).__name__}: {e}"}
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def on_alarm(*_):
    raise TimeoutError


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--driver", required=True)
    parser.add_argument("--count", type=int, default=10000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--show", type=int, default=20)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGALRM, on_alarm)
    maker = Maker(random.Random(args.seed))
    driver = subprocess.Popen([args.driver], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    counts = {"equal": 0, "both refuse": 0, "refused here": 0, "skipped": 0, "different": 0}
    reasons = {}
    for _ in range(args.count):
        template = maker.expression()
        theirs = python_render(template, 2)
        if theirs is None:
            counts["skipped"] += 1
            continue
        driver.stdin.write(json.dumps({"template": template, "vars": VARS}) + "\n")
        driver.stdin.flush()
        line = driver.stdout.readline()
        if not line:
            print("the driver died of", template)
            sys.exit(1)
        ours = json.loads(line)
        address = "text" in theirs and re.search(r" at 0x[0-9a-f]{6}|<class|<dict_|<list_rev|_Group|<generator|<built-in", theirs["text"])
        if "error" in theirs and re.match("NameError: name '(nan|inf)'", theirs["error"]):
            counts["skipped"] += 1  # Jinja folds 'nan'|float into the name nan
        elif "error" in theirs and "error" in ours:
            counts["both refuse"] += 1
        elif "error" in ours and (address or REFUSED.search(ours["error"])):
            counts["refused here"] += 1
            reason = re.sub(r"^t:\d+:\d+: ", "", ours["error"])[:40]
            reasons[reason] = reasons.get(reason, 0) + 1
        elif ours == theirs:
            counts["equal"] += 1
        else:
            counts["different"] += 1
            if counts["different"] <= args.show:
                print(f"{template}\n  Jinja2: {str(theirs)[:300]}\n  here:   {str(ours)[:300]}")
    print(counts)
    for reason, n in sorted(reasons.items(), key=lambda x: -x[1])[:25]:
        print(f"  {n:6} {reason}")
    sys.exit(counts["different"] > 0)


if __name__ == "__main__":
    main()
