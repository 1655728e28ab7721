#!/usr/bin/env python3
"""docs/architecture.md and the tree say the same: its table has every room of cnode/, every header of include/brain/ and every
file, each once; a room includes headers of rooms above it only; and whatever the text names is there."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[3]
TEXT, TABLE = (ROOT / "docs/architecture.md").read_text().split("## Rooms and files")
CODE = {path: path.read_text() for path in sorted((ROOT / "cnode").rglob("*.[ch]")) + sorted((ROOT / "include").rglob("*.h"))}
WORDS = set(re.findall(r"\w+", "\n".join(CODE.values())))
# What the text quotes that is no name of the code.
OTHERS = {"sendmsg", "include/brain/", "cnode/"}


def quoted(text):
    return re.findall(r"`([^`]+)`", text)


def rows():
    """(room, headers of its contract, names of its files), in the order of the table."""
    for line in TABLE.splitlines():
        if line.startswith("| `"):
            room, contract, files = line.strip("| ").split(" | ")
            yield quoted(room)[0], quoted(contract), quoted(files)


def differences(what, told, there):
    for name in sorted(there - set(told)):
        yield f"{what}: {name} is not named"
    for name in sorted(set(told) - there):
        yield f"{what}: {name} is not there"
    for name in sorted({name for name in told if told.count(name) > 1}):
        yield f"{what}: {name} is named twice"


def included(room):
    for path, text in CODE.items():
        if path.is_relative_to(ROOT / "cnode" / room):
            for header in re.findall(r'#include [<"]brain/(\w+\.h)[>"]', text):
                yield path.relative_to(ROOT), header


def expanded(name):
    """`dist/{a,b}` is `dist/a` and `dist/b`."""
    if found := re.fullmatch(r"(.*)\{(.*)\}", name):
        return [found[1] + one for one in found[2].split(",")]
    return [name]


def is_there(name):
    """A file, a folder, or a word of the code; options and terms are words, too."""
    if re.search(r"[^\w./-]", name) or name in OTHERS:
        return True  # an example, not a name
    if "/" in name or name.endswith((".c", ".h")):
        return any((ROOT / top / (name + ending)).exists() for top in (".", "cnode", "include/brain") for ending in ("", ".c")) or \
            any(path.name == name for path in CODE)
    return name in WORDS or (ROOT / "cnode" / name).is_dir()


def main():
    wrong, told = [], list(rows())
    wrong += differences("rooms", [room for room, _, _ in told], {path.name for path in (ROOT / "cnode").iterdir() if path.is_dir()})
    wrong += differences("headers", [header for _, contract, _ in told for header in contract],
                         {path.name for path in (ROOT / "include/brain").glob("*.h")})
    place = {header: number for number, (_, contract, _) in enumerate(told) for header in contract}
    for number, (room, _, files) in enumerate(told):
        folder = ROOT / "cnode" / room
        there = {path.stem for path in folder.glob("*.c")} or {path.name for path in folder.iterdir() if path.is_dir()}
        wrong += differences(room, files, there)
        wrong += [f"{path} includes {header}, of a room below" for path, header in included(room) if place.get(header, -1) > number]
    prose = re.sub(r"^```.*?^```", "", TEXT, flags=re.MULTILINE | re.DOTALL)
    names = [one for name in quoted(prose) for one in expanded(name)]
    wrong += [f"the text names {name}, which is not there" for name in names if not is_there(name)]
    assert len(told) > 10 and len(names) > 30, "has the form of the page changed?"
    for line in wrong:
        print(f"docs/architecture.md: {line}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
