"""What the checks of the documentation read of a Markdown file: fenced blocks with their marks, code spans, headings, links."""
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^(\s*)(```+)\s*(\S*)\s*$")
MARK = re.compile(r"^\s*<!-- (not run|status):? (.*?) -->\s*$")


class Block:
    def __init__(self, path, line, language, mark):
        self.path, self.line, self.language, self.mark = path, line, language, mark
        self.text = ""

    def __str__(self):
        return f"{self.path.relative_to(ROOT)}:{self.line}"


def files():
    """Every Markdown file of the repository; of an unpacked archive all that lie in it, but for builds."""
    known = subprocess.run(["git", "-C", ROOT, "ls-files", "-co", "--exclude-standard", "*.md"], capture_output=True, text=True)
    if known.returncode == 0:
        return sorted(ROOT / name for name in known.stdout.split("\n") if name and (ROOT / name).exists())
    return sorted(p for p in ROOT.rglob("*.md") if not p.relative_to(ROOT).parts[0].startswith(("build", "models", "runs")))


def split(path):
    """(blocks, prose): the fenced blocks of a file, and its lines with those of blocks empty, so that line numbers stay."""
    blocks, prose, block, mark, indent = [], [], None, None, ""
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        fence = FENCE.match(line)
        if block is not None:
            prose.append("")
            if fence and not fence[3]:
                block = None
            else:
                block.text += line.removeprefix(indent) + "\n"
            continue
        if fence:
            indent = fence[1]
            block = Block(path, number, fence[3], mark)
            blocks.append(block)
            line = ""
        found = MARK.match(line)
        if found:
            mark = (found[1], found[2])
        elif line.strip() or fence:
            mark = None
        prose.append(line)
    if block is not None:
        raise SystemExit(f"{block}: the block has no end")
    return blocks, prose


def code_spans(prose):
    """(line, text) of each `code span`; one may go over a line's end."""
    text = "\n".join(prose)
    for found in re.finditer(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", text, re.S):
        yield text.count("\n", 0, found.start()) + 1, re.sub(r"\s*\n\s*", " ", found[2])


def anchors(path):
    """The anchors of a file's headings, as GitHub makes them."""
    seen, result = {}, set()
    for line in split(path)[1]:
        heading = re.match(r"^#{1,6}\s+(.*?)\s*#*\s*$", line)
        if heading:
            title = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading[1]).replace("`", "")
            slug = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
            count = seen[slug] = seen.get(slug, -1) + 1
            result.add(f"{slug}-{count}" if count else slug)
        result.update(re.findall(r'<a (?:id|name)="([^"]+)"', line))
    return result


def links(prose):
    """(line, target) of each link that is no address of the web."""
    text = re.sub(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", lambda m: re.sub(r"[^\n]", "x", m[0]), "\n".join(prose), flags=re.S)
    for found in re.finditer(r"\]\(\s*<?([^)\s>]+)>?[^)]*\)", text):
        if not re.match(r"[a-z]+:", found[1]):
            yield text.count("\n", 0, found.start()) + 1, found[1]
