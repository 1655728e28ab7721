"""docs/info.md: what each number of `info` counts, out of the tables that the rooms describe their metrics with
(include/brain/metrics.h). Written again by calling this; with --check it only says whether it would be the same."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/info.md"
HEAD = """# The numbers of `info`

`brain-console info`, or `gen_server:call({brain, Node}, info)`, answers a map with a map of numbers for each part. Counters begin at 0 with
each start of the process and only grow; the others (*now*) are what is there at the moment. Which of them to watch stands in
[operations.md](operations.md). This page is written by `scripts/lib/info_page.py` from the code.
"""
# In the order in which a request meets them; those of a member of a cluster last.
GROUPS = {"dist": "connections and the distribution protocol", "command": "requests", "object": "what is in RAM",
          "journal": "the journal", "warehouse": "the warehouse", "loop": "how long turns of the event loop take",
          "cluster": "a member: who owns what", "holdings": "a member: what waits for holders of copies", "replica": "a member with `replicate`",
          "peers": "a member: links to the others", "managers": "a member: etcd"}


def tables():
    """{name of a table: [(name, kind, words)]}."""
    found = {}
    for path in sorted((ROOT / "include").rglob("*.h")) + sorted((ROOT / "cnode").rglob("*.h")):
        for name, body in re.findall(r"^#define (\w+_METRICS)\(X\)((?:.*\\\n)*.*\n)", path.read_text(), re.MULTILINE):
            body = body.replace("\\\n", "\n")
            found[name] = [(field, kind, "".join(re.findall(r'"([^"]*)"', words)))
                           for field, kind, words in re.findall(r'X\((\w+),\s*(COUNTER|GAUGE),\s*((?:"[^"]*"\s*)+)\)', body)]
            assert len(found[name]) == body.count("X("), f"{path}: a row of {name} was not understood"
    return found


def groups():
    """{group: [names of its tables]}."""
    found = {}
    for path in sorted((ROOT / "cnode").rglob("*.c")):
        for group, name in re.findall(r'\*group = "(\w+)";[^}]{0,300}?(\w+_METRICS)\(METRICS_ROW\)', path.read_text()):
            found.setdefault(group, []).append(name)
    return found


def page():
    table, parts = tables(), groups()
    assert set(parts) == set(GROUPS), f"groups: {set(parts) ^ set(GROUPS)}"
    assert sorted(name for names in parts.values() for name in names) == sorted(table), "a table that no group shows"
    text = HEAD
    for group, what in GROUPS.items():
        text += f"\n## `{group}`: {what}\n\n| number | | counts |\n|---|---|---|\n"
        for name in parts[group]:
            for field, kind, words in table[name]:
                text += f"| `{field}` | {'now ' if kind == 'GAUGE' else ''}| {words} |\n"
    return text


def main():
    if sys.argv[1:] == ["--check"]:
        if PAGE.read_text() == page():
            return 0
        print("docs/info.md is not what the code says: scripts/lib/info_page.py writes it again")
        return 1
    PAGE.write_text(page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
