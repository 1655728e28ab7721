"""scripts/bench: runs the rows, judges them, writes the report. Started by scripts/bench."""
import argparse
import json
import os
import pathlib
import signal
import sys
import tempfile
import time

import drivers
import machine
import plot
import report
import rows
import servers

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130


def positive(kind):
    def parse(text):
        value = kind(text)
        if value <= 0:
            raise ValueError
        return value
    parse.__name__ = "positive number"
    return parse


def parse(arguments):
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description="Compares brain-server with Redis, memcached, an Erlang node and a plain ei "
        "program, and judges each row. A complete run (less than 20 minutes on a quiet machine) writes "
        "docs/benchmarks.md, .svg and .json; a part only prints.")
    parser.add_argument("--rounds", type=positive(int), help="rounds of each row (5)")
    parser.add_argument("--seconds", type=positive(float), help="of one measurement (1.5)")
    parser.add_argument("--rows", metavar="PATTERN", help="only rows whose names match this regular expression")
    parser.add_argument("--quick", action="store_true",
                        help="a trial: 1 round of 0.5 s, 100,000 objects instead of a million")
    parser.add_argument("--json", metavar="FILE", type=pathlib.Path, help="write the figures of this run there too")
    parser.add_argument("--list", action="store_true", help="the rows, their servers and targets")
    parser.add_argument("--report", action="store_true", help="write the report of docs/benchmarks.json again")
    return parser.parse_args(arguments)


def settings_of(options):
    if options.quick:
        return drivers.Settings(options.rounds or 1, options.seconds or 0.5, 0.2, 3.0, 100000)
    return drivers.Settings(options.rounds or 5, options.seconds or 1.5)


def print_list():
    for row in rows.ROWS:
        print(f"{row.name:16} {row.title}\n{'':16} {', '.join(row.servers)}")
        for target in row.targets:
            against = f" {target.against}" if target.against else ""
            of = f"{target.judged}: " if target.judged else ""
            print(f"{'':16} {of}{target.metric}{against} {report.asked(target)}")


def run_row(row, settings, build, cores):
    # /var/tmp is on a disk where /tmp may be in RAM; journals are to be written to a disk.
    with tempfile.TemporaryDirectory(prefix="brain-bench-", dir="/var/tmp") as directory:
        room = servers.Room(build, directory, cores)
        try:
            return drivers.DRIVERS[row.driver](room, row, settings)
        finally:
            room.close()


def run(chosen, settings, build):
    cores, processors = machine.choose_cores(), len(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores.generator})
    start = time.monotonic()
    results = {"machine": machine.describe(ROOT, cores, processors), "settings": vars(settings), "rows": {}}
    for row in chosen:
        results["rows"][row.name] = run_row(row, settings, build, cores)
        results["duration"] = time.monotonic() - start
        print(report.terminal_row(row, results["rows"][row.name]), end="\n\n", flush=True)
    return results


def write_report(results):
    report.write(DOCS / "benchmarks.md", results)
    (DOCS / "benchmarks.svg").write_text(plot.svg(results), encoding="utf-8")
    print("written: docs/benchmarks.md and docs/benchmarks.svg")


def write_json(path, results):
    path.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def main(arguments):
    options = parse(arguments)
    if options.list:
        print_list()
        return 0
    try:
        if options.report:
            write_report(json.loads((DOCS / "benchmarks.json").read_text(encoding="utf-8")))
            return 0
        chosen = rows.select(options.rows)
        if not chosen:
            print(f"scripts/bench: no row matches {options.rows}; see scripts/bench --list", file=sys.stderr)
            return EXIT_USAGE
        results = run(chosen, settings_of(options), pathlib.Path(os.environ["BRAIN_BENCH_BUILD"]))
        if options.json:
            write_json(options.json, results)
        print(f"{report.summary(results)} ({results['duration'] / 60:.1f} minutes)")
        if report.disturbance_text(results):
            print(report.disturbance_text(results), end="")
        if not options.rows and not options.quick:
            write_json(DOCS / "benchmarks.json", results)
            write_report(results)
    except servers.Failure as failure:
        print(f"scripts/bench: {failure}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        print("\nscripts/bench: interrupted; nothing is written", file=sys.stderr)
        return EXIT_INTERRUPTED
    return EXIT_FAILED if report.counts(results)[2] else 0


def interrupt(*_):
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGINT, interrupt)  # also where it was started ignoring it
    signal.signal(signal.SIGTERM, interrupt)
    signal.signal(signal.SIGHUP, interrupt)
    sys.exit(main(sys.argv[1:]))
