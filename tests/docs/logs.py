"""logs.py RUN_DIR: the tables of docs/logs.md name what is in the files of a run, and nothing else. The run has evaluations
and keeps its best. Ends with "N passed, N failed, N skipped"."""
import json
import re
import sys
from pathlib import Path

from markdown import ROOT

BY_NAME_ALONE = {"run.json": ("model",)}  # members whose own are not named here: a model's


def paths(value, name=""):
    if isinstance(value, dict):
        for key, member in value.items():
            yield from paths(member, f"{name}.{key}" if name else key)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for member in value:
            yield from paths(member, f"{name}[]")
    else:
        yield name


def documented():
    """{file: members}, by the heading that a table stands under."""
    tables, name, prefix = {}, None, ""
    for line in (ROOT / "docs" / "logs.md").read_text(encoding="utf-8").split("\n"):
        heading = re.match(r"^## `(?:checkpoint-N/)?(.*)`$", line)
        if line.startswith("## "):
            name = heading[1] if heading else None
        row = re.match(r"^\| (.*?) \|", line)
        if name and row:
            below = re.match(r"member of `(.*)`", row[1])
            if row[1].startswith(("member", "column")):
                prefix = below[1] + "." if below else ""
            tables.setdefault(name, set()).update(prefix + m for m in re.findall(r"`([^`]*)`", row[1]) if not below)
    return tables


def written(run):
    checkpoint = sorted(run.glob("checkpoint-*"), key=lambda p: int(p.name.split("-")[1]))[-1]
    for file in sorted([*run.glob("*.jsonl"), run / "run.json", checkpoint / "trainer_state.json"]):
        text = file.read_text(encoding="utf-8")
        members = set()
        for value in map(json.loads, text.splitlines()) if file.suffix == ".jsonl" else [json.loads(text)]:
            members.update(paths(value))
        for name in BY_NAME_ALONE.get(file.name, ()):
            members = {name if m.startswith(name + ".") else m for m in members}
        yield file.name, members


passed = failed = 0
tables = documented()
for name, members in written(Path(sys.argv[1])):
    for what, extra in (("not in docs/logs.md", members - tables.get(name, set())), ("not written", tables.get(name, set()) - members)):
        for member in sorted(extra):
            print(f"{name}: {member}: {what}")
        failed += len(extra)
    passed += len(members & tables.get(name, set()))
    tables.pop(name, None)
for name in tables:
    print(f"docs/logs.md: {name}: no such file was written")
    failed += 1
print(f"{passed} passed, {failed} failed, 0 skipped")
sys.exit(1 if failed else 0)
