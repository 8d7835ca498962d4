"""run.py PROGRAM SCRATCH [FILE...]: runs every ```sh block of README.md and docs/guides (or of FILE...), as it stands.

SCRATCH is what rig.sh made. README.md comes first; each guide begins with a copy of what its blocks left, so with the run
of the five minutes. Each block is a bash of its own. Marks are comments before a block: `<!-- not run: WHY -->`, and `<!--
status N -->` for one whose last command ends with N. Ends with "N passed, N failed, N skipped"."""
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import markdown
from markdown import ROOT

LANGUAGES = {"sh", "text", "yaml", "json", "python"}  # a block without a language is neither run nor said not to be
program, scratch = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
env = dict(os.environ, PATH=f"{scratch / 'bin'}:{os.environ['PATH']}", OMP_NUM_THREADS="2", OMP_WAIT_POLICY="passive", LC_ALL="C.UTF-8")


def run(block, place):
    """What is wrong with a block, or None."""
    want = int(block.mark[1]) if block.mark else 0
    try:
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", block.text], cwd=place, env=env, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", timeout=120)
    except subprocess.TimeoutExpired:
        return "takes more than 120 s"
    if done.returncode != want:
        return f"exit status {done.returncode}, expected {want}:\n{block.text}" + "".join(done.stdout.splitlines(True)[-15:])
    return None


def judge(block, place):
    """(what became of it, what is wrong)"""
    if block.language not in LANGUAGES:
        return "failed", f"a block of {block.language or 'no language'}; expected one of {', '.join(sorted(LANGUAGES))}"
    if block.language == "python":
        try:
            compile(block.text, str(block), "exec")
        except SyntaxError as e:
            return "failed", str(e)
        return "compiled", None
    if block.language != "sh":
        return ("failed", "a mark before what is not run") if block.mark else ("text", None)
    if block.mark and block.mark[0] == "not run":
        return ("marked", None) if len(block.mark[1]) > 5 else ("failed", "marked without a reason")
    wrong = run(block, place)
    return ("failed", wrong) if wrong else ("run", None)


def main():
    first = ROOT / "README.md"
    named = [Path(p).resolve() for p in sys.argv[3:]]
    guides = [p for p in named or sorted((ROOT / "docs" / "guides").glob("*.md")) if p != first]
    total = {}
    for path in [first, *guides]:
        place = scratch / "readme" if path == first else scratch / "guide"
        shutil.rmtree(scratch / "guide", ignore_errors=True)
        shutil.copytree(scratch / ("place" if path == first else "readme"), place, symlinks=True)
        counts, began = {}, time.monotonic()
        for block in markdown.split(path)[0]:
            result, wrong = judge(block, place)
            counts[result] = counts.get(result, 0) + 1
            if wrong:
                print(f"FAIL {block}: {wrong}")
            elif result == "marked":
                print(f"not run: {block}: {block.mark[1]}")
        if not counts.get("run"):
            counts["failed"] = counts.get("failed", 0) + 1
            print(f"FAIL {path.relative_to(ROOT)}: no block of it is run")
        print(f"{path.relative_to(ROOT)}: {', '.join(f'{n} {k}' for k, n in sorted(counts.items()))} ({time.monotonic() - began:.1f} s)")
        for key, n in counts.items():
            total[key] = total.get(key, 0) + n
    print("blocks:", ", ".join(f"{n} {k}" for k, n in sorted(total.items())))
    print(f"{total.get('run', 0) + total.get('compiled', 0)} passed, {total.get('failed', 0)} failed, 0 skipped")
    return 1 if total.get("failed") else 0


sys.exit(main())
