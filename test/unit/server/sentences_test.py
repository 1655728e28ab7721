#!/usr/bin/env python3
"""What the server can log as a warning or an error stands in the table of docs/operations.md: what it means, what to do.

A row begins with sentences between backquotes, in which a word in capitals stands for what the format puts
in, and only `...` for more than that. Formats that are only a sentence made elsewhere ("%s") are not looked at, but for what keeps a node from starting
in its data_dir."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[3]
CALLS = (r"\blog_(?:error|warning)\(", r"\bsession_note\(\s*session,\s*LOG_(?:WARNING|ERROR),",
         r"\bsnprintf\(\s*sentence,\s*sizeof\(sentence\),")
STARTS = {"data_dir.c": r"\bsnprintf\(\s*why,\s*WAREHOUSE_TEXT,"}
PIECE = re.compile(r'\s*(?:"((?:[^"\\]|\\.)*)"|(PRI[a-zA-Z0-9]+|[A-Z][A-Z_]+))')
ROOMS = ("server", "managers", "dist", "journal", "warehouse", "cluster", "replica", "holdings")


def formats(path):
    """Each literal format of a call, with X for what it puts in."""
    text = path.read_text()
    for call in CALLS + tuple(STARTS[name] for name in STARTS if name == path.name):
        for found in re.finditer(call, text):
            at, parts = found.end(), []
            while piece := PIECE.match(text, at):
                parts.append("\0" if piece[2] else piece[1])
                at = piece.end()
            if parts:
                yield "".join(parts).replace('\\"', '"').replace("%\0", "X").replace("\0", "X")


def shown(text):
    return re.sub(r"%(?:\.\*|[-0-9.])*(?:z|l|ll)?[dusxXc]", "X", text)


def rows(table):
    for line in table.splitlines():
        if line.startswith("| `"):
            first = line.split(" | ")[0]
            yield from re.findall(r"`([^`]+)`", first)


def pattern_of(sentence):
    parts = re.split(r"( ?\.\.\.|\b[A-Z]+\b)", sentence)
    return re.compile("".join(".*" if part.strip() == "..." else r"\S+" if re.fullmatch(r"[A-Z]+", part) else re.escape(part)
                              for part in parts))


def is_told(sentence, told, patterns):
    """The row may say less, or what this program puts in there."""
    other = re.compile(re.sub("X+", ".*", re.escape(sentence)))
    return any(pattern.fullmatch(sentence) for pattern in patterns) or any(other.fullmatch(one) for one in told)


def main():
    table = (ROOT / "docs/operations.md").read_text().split("## Sentences of the log")[1]
    told = list(rows(table))
    patterns = [pattern_of(sentence) for sentence in told]
    missing, seen = [], 0
    for room in ROOMS:
        for path in sorted((ROOT / "cnode" / room).glob("*.c")):
            for text in formats(path):
                sentence = ("managers: " if room == "managers" else "") + shown(text)
                if not re.search("[a-z]{3}", sentence.replace("managers: ", "")):
                    continue
                seen += 1
                if not is_told(sentence, told, patterns):
                    missing.append(f"{path.relative_to(ROOT)}: {sentence}")
    assert seen > 40, f"only {seen} sentences found: has the way of logging changed?"
    for line in missing:
        print(f"not in docs/operations.md: {line}")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
