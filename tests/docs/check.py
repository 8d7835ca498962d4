"""check.py PROGRAM: what the documentation names is there. Every relative link and anchor of every Markdown file; every key
of the config, command and option that code in them names, by `print schema` and `--help`. Ends with "N passed, N failed, N
skipped"."""
import json
import re
import subprocess
import sys

import markdown
from markdown import ROOT

PROGRAM = sys.argv[1]
SECTIONS = ("model", "quantization", "lora", "data", "training", "device")
# What begins like a key of the config and is none: files, modules of a model, and parts of the source.
NO_KEYS = re.compile(
    r"(model|data|lora|training|device)\.(safetensors|gguf|jsonl|h|c|cc|py|sh)\b"
    r"|model\.(layers|language_model|generate)\b|lora\.(grad|master|compute)\b"
    r"|lora\.lora_apha\b"  # the misspelt key of an example
)
# Options of other programs that the documentation names without the program before them.
OTHERS = {
    "--bind-to", "--oversubscribe", "--mca", "--allow-run-as-root", "--host",  # mpirun
    "--mpi", "--signal", "--requeue", "--full", "--array", "--ntasks-per-node", "--gpus-per-node", "--cpus-per-task",
    "--kill-on-bad-exit",  # Slurm
    "--lora",  # llama.cpp
    "--preserve-status",  # timeout
    "--stop-timeout", "--memory", "--build-arg",  # Podman and Docker
}


def help_of(*command):
    return subprocess.run([PROGRAM, *command, "--help"], capture_output=True, text=True, check=True).stdout


def options_in(text):
    return set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", text))


class Check:
    def __init__(self):
        self.bad, self.counts = [], {}
        schema = json.loads(subprocess.run([PROGRAM, "print", "schema"], capture_output=True, text=True, check=True).stdout)
        self.keys = {s: set(schema["properties"][s]["properties"]) for s in SECTIONS}
        assert all(self.keys.values())
        top = help_of()
        names = set(re.findall(r"^  qlora-train ([a-z][a-z-]*)", top, re.M))
        assert {"plan", "export", "inspect"} <= names, names
        self.options = {name: options_in(help_of(name)) | {"--help"} for name in names if name != "train"}
        self.options["train"] = options_in(top) - set().union(*self.options.values()) | {"--help", "--version"}
        scripts = [p for d in ("scripts", "tests") for p in (ROOT / d).rglob("*") if p.suffix in (".sh", ".py")]
        self.all_options = set().union(OTHERS, *self.options.values(), *(options_in(p.read_text()) for p in scripts))

    def judge(self, kind, where, fine, what):
        self.counts[kind] = self.counts.get(kind, 0) + 1
        if not fine:
            self.bad.append(f"{where}: {what}")

    def links(self, path, prose):
        for line, target in markdown.links(prose):
            name, _, anchor = target.partition("#")
            to = (path.parent / name).resolve() if name else path
            where = f"{path.relative_to(ROOT)}:{line}"
            self.judge("links", where, to.exists(), f"{target}: there is no such file")
            if anchor and to.suffix == ".md" and to.exists():
                self.judge("anchors", where, anchor in markdown.anchors(to), f"{target}: there is no such heading")

    def key_names(self, where, text):
        for found in re.finditer(r"(?<![\w/.-])(%s)\.([a-z][a-z0-9_]*)(?![\w*])" % "|".join(SECTIONS), text):
            if not NO_KEYS.match(text, found.start()):
                self.judge("keys", where, found[2] in self.keys[found[1]], f"{found[0]}: no key of the config")

    def command_lines(self, where, text):
        """Commands of the program in a shell's text: which, and with which options."""
        text = re.sub(r"\\\n\s*", " ", text)
        for found in re.finditer(r"(?:^|[\s`(;&|])(?:build/)?qlora-train((?:[ ][^\n;&|#<>)`]*)?)", text):
            words = re.sub(r"'[^']*'|\"[^\"]*\"", "X", found[1]).split()
            line_before = text[text.rfind("\n", 0, found.start()) + 1 : found.start() + 1]
            if not words or re.search(r"\.(sh|py) |(podman|docker) build ", line_before):  # what something else is given
                continue
            name = words[0] if words[0] in self.options else "train"
            if name == "train" and not re.search(r"\.ya?ml$|^CONFIG|^--(help|version)$|^train$|^X$|^COMMAND$|^\.\.\.$", words[0]):
                self.judge("commands", where, False, f"qlora-train {words[0]}: no command")
                continue
            self.judge("commands", where, True, "")
            for option in (w.split("=")[0] for w in words if w.startswith("--")):
                self.judge("options", where, option in self.options[name], f"qlora-train {name}: no option {option}")

    def code(self, path, blocks, prose):
        for line, span in markdown.code_spans(prose):
            where = f"{path.relative_to(ROOT)}:{line}"
            member = path.name == "logs.md" and f"`{span}`" in prose[line - 1][2:].split("|")[0]  # logs.py has looked at it
            if not member or not prose[line - 1].startswith("| "):
                self.key_names(where, span)
            if span.startswith(("qlora-train ", "build/qlora-train ")):
                self.command_lines(where, span)
            elif span.startswith("--"):
                for option in options_in(span):
                    self.judge("options", where, option in self.all_options, f"{option}: no program has this option")
        for block in blocks:
            if block.language in ("text", "python"):
                continue
            self.key_names(block, block.text)
            self.command_lines(block, block.text)
            if block.language == "yaml":
                for name in re.findall(r"(?:^|[{,])\s*([a-z][a-z0-9_]*):", block.text, re.M):
                    known = name in SECTIONS or any(name in keys for keys in self.keys.values())
                    self.judge("keys", block, known, f"{name}: no key of the config")

    def all(self):
        for path in markdown.files():
            blocks, prose = markdown.split(path)
            self.links(path, prose)
            if path.name != "CHANGELOG.md":  # tells of what there was
                self.code(path, blocks, prose)
        for line in self.bad:
            print(line)
        print("checked:", ", ".join(f"{n} {kind}" for kind, n in sorted(self.counts.items())))
        missing = {"links", "anchors", "keys", "commands", "options"} - set(self.counts)
        if missing:
            print("none was found of:", *missing)
        failed = len(self.bad) + len(missing)
        print(f"{sum(self.counts.values()) - len(self.bad)} passed, {failed} failed, 0 skipped")
        return 1 if failed else 0


sys.exit(Check().all())
