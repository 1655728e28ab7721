#!/usr/bin/env python3
"""Each script tells how it is used, at once: --help installs, builds and does nothing. (scripts/run is not asked: its --help is
that of the server, which it builds.)"""
import pathlib
import subprocess
import sys

SCRIPTS = pathlib.Path(__file__).resolve().parents[3] / "scripts"


def problem(script):
    try:
        done = subprocess.run([str(script), "--help"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              cwd="/", timeout=60, check=False, text=True)
    except subprocess.TimeoutExpired:
        return "does something else"
    if done.returncode != 0 or done.stderr:
        return f"status {done.returncode}, {done.stderr!r}"
    return None if f"scripts/{script.name} " in done.stdout + " " or f"scripts/{script.name}:" in done.stdout else done.stdout


def main():
    scripts = sorted(path for path in SCRIPTS.iterdir() if path.is_file() and path.name != "run")
    wrong = {script.name: said for script in scripts if (said := problem(script))}
    for name, said in wrong.items():
        print(f"scripts/{name} --help: {said}")
    assert len(scripts) > 5, "where are the scripts?"
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
