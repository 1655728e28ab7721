"""scripts/scale: a cluster of many real nodes under a load spread evenly, and what one more node costs; with --moves
how long claims wait when a node comes, leaves or dies. Started by scripts/scale."""
import argparse
import json
import os
import pathlib
import resource
import shutil
import sys
import tempfile
import time

import machine
from scale_cluster import INTERRUPTS, Failure, ScaleCluster, Span, Stop, problem_of

ROOT = pathlib.Path(__file__).resolve().parents[2]
WARMUP = 2.0
CARRIED_P99_MS = 100  # --find-rate: a rate is carried when p99 of the small requests is at most this, and nothing is wrong


def say(text=""):
    print(text, flush=True)


def print_table(head, rows):
    say("| " + " | ".join(head) + " |")
    say("|" + "|".join([" --- "] + [" --: "] * (len(head) - 1)) + "|")
    for row in rows:
        say("| " + " | ".join(row) + " |")


def number(value, digits=3):
    """Three significant digits."""
    if value == 0:
        return "0"
    text = f"{value:.{digits}g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{float(text):g}" if "e" in text else text


# ---- one cluster ----------------------------------------------------------------------------------


def objects_of(options):
    return {"small_keys": options.small_objects, "small_size": options.small_size,
            "large_keys": options.large_objects, "large_size": options.large_size, "seed": options.seed}


def idle_figures(asking, span, nodes):
    """Of one node and second, without requests. `asking`: between two snapshots with nothing between them, so what the
    asking itself costs."""
    per = nodes * span.seconds
    return {
        "descriptors": sum(span.after.descriptors) / nodes, "links": span.after.total("peers", "links") / nodes,
        "rss_mb": sum(span.after.rss) / nodes / 1e6, "cpu_ms": max(0.0, span.cpu() - asking.cpu()) * 1e3 / per,
        "sent_bytes": max(0, span.grown("dist", "bytes_sent") - asking.grown("dist", "bytes_sent")) / per, "messages": span.grown("peers", "sent") / per,
        "etcd_requests": span.grown("managers", "requests") / per,
        "etcd_cpu_ms": (span.after.etcd_cpu - span.before.etcd_cpu) * 1e3 / per}


def load_figures(span, report, nodes):
    requests = span.grown("command", "gets") + span.grown("command", "sets")
    return {
        "report": report, "troubles": span.troubles(), "problem": problem_of(report), "requests": requests,
        "forwarded": span.grown("cluster", "forwards_sent"), "handoffs": span.grown("cluster", "handoffs"),
        "misses": span.grown("object", "misses"), "long_turns": span.grown("loop", "long_turns"),
        "longest_turn_ms": span.after.most("loop", "longest_turn_us") / 1e3,
        "cpu_cores": span.cpu() / span.seconds, "load_cores": report["cpu_seconds"] / report["seconds"],
        "etcd_cores": (span.after.etcd_cpu - span.before.etcd_cpu) / span.seconds,
        "sent_mb": span.grown("dist", "bytes_sent") / 1e6 / span.seconds,
        "rss_gb": sum(span.after.rss) / 1e9, "owned_least": span.after.least("cluster", "owned"),
        "owned_most": span.after.most("cluster", "owned"), "seconds": span.seconds}


def measure_load(running, options, rate, large, seconds):
    before = running.snapshot()
    report = running.load(seconds + WARMUP + 60, **objects_of(options), small_rate=rate - large, large_rate=large,
                          reads=options.reads, seconds=seconds, warmup=WARMUP)
    return load_figures(Span(before, running.snapshot()), report, running.nodes)


def is_carried(figures):
    small = figures["report"]["small"]["all"]
    return (not figures["problem"] and not figures["troubles"] and small["count"] > 0
            and small["p99_ms"] <= CARRIED_P99_MS)


def find_rate(running, options):
    """The highest rate, of those tried, that was carried for a tenth of the time; large requests in proportion."""
    seconds = max(3.0, options.seconds / 10)
    share, low, high, best = options.large / options.rate, 0.0, None, None
    rate = options.rate
    for _ in range(options.steps):
        figures = measure_load(running, options, rate, rate * share, seconds)
        carried = is_carried(figures)
        say(f"{rate:,.0f} requests/s for {seconds:.0f} s: {'carried' if carried else 'not carried'}, "
            f"p99 of the small ones {number(figures['report']['small']['all'].get('p99_ms', 0))} ms, nodes "
            f"{number(figures['cpu_cores'])} cores{'; ' + figures['problem'] if figures['problem'] else ''}")
        if carried:
            low, best = rate, figures
        else:
            high = rate
            time.sleep(2)  # what is left of it
        rate = rate * 2 if high is None else (low + high) / 2
        if high is not None and high - low < 0.1 * high:
            break
    return low, best


def measure(options, build, directory, nodes):
    """{what: figures} of one cluster."""
    settings = dict(setting.partition("=")[::2] for setting in options.set)
    with ScaleCluster(directory / f"of{nodes}", build, nodes, **settings) as running:
        figures = {"nodes": nodes, "started": running.started, "views": running.snapshot().most("cluster",
                                                                                                 "views_installed")}
        say(f"{nodes} nodes: all ready after {running.started['ready']:.1f} s, all serving after "
            f"{running.started['serving']:.1f} s")
        if options.idle > 0:
            time.sleep(1)
            first, before = running.snapshot(), running.snapshot()
            time.sleep(options.idle)
            figures["idle"] = idle_figures(Span(first, before), Span(before, running.snapshot()), nodes)
        if options.rate > 0:
            begin = time.monotonic()
            running.fill(**objects_of(options), in_flight=2)
            running.wait_backed()
            say(f"{nodes} nodes: {options.small_objects:,} objects of {options.small_size:,} bytes and "
                f"{options.large_objects:,} of {options.large_size:,} stored after {time.monotonic() - begin:.1f} s")
            if options.find_rate:
                figures["found_rate"], figures["load"] = find_rate(running, options)
            else:
                figures["load"] = measure_load(running, options, options.rate, options.large, options.seconds)
        return figures


# ---- telling --------------------------------------------------------------------------------------


def latency_rows(all_figures):
    for figures in all_figures:
        load = figures.get("load")
        if not load:
            continue
        for size in ("small", "large"):
            for kind in ("get", "set"):
                latency = load["report"][size][kind]
                if latency["count"]:
                    yield [f"{figures['nodes']}, {size} {kind}", f"{latency['count']:,}",
                           *(number(latency[key]) for key in ("p50_ms", "p99_ms", "p999_ms", "most_ms"))]


def print_load(all_figures, options):
    with_load = [figures for figures in all_figures if figures.get("load")]
    if not with_load:
        return
    say()
    print_table(["nodes, requests", "answered", "p50 ms", "p99 ms", "p99.9 ms", "longest ms"],
                list(latency_rows(with_load)))
    say()
    rows = []
    for figures in with_load:
        load, report = figures["load"], figures["load"]["report"]
        rate = sum(report[size]["all"]["count"] for size in ("small", "large")) / options_seconds(figures, options)
        served = load["requests"]
        rows.append([str(figures["nodes"]), number(rate), f"{100 * (1 - load['forwarded'] / max(1, served)):.2f}",
                     str(load["handoffs"]), number(load["cpu_cores"]), number(load["load_cores"]),
                     number(load["etcd_cores"]), number(load["sent_mb"]), number(load["rss_gb"]),
                     number(report["late_most_ms"]), f"{load['owned_least']:,} to {load['owned_most']:,}"])
    print_table(["nodes", "requests/s", "local %", "handed off", "cores: nodes", "load", "etcd", "MB/s sent by nodes", "RSS GB",
                 "sent late by at most ms", "objects of a node"], rows)
    say()
    for figures in with_load:
        load = figures["load"]
        troubles = ", ".join(f"{name} {count}" for name, count in load["troubles"].items())
        say(f"{figures['nodes']} nodes: {load['problem'] or 'every request was answered, and right'}; "
            f"{troubles or 'no view changed, no lease or link was lost, nothing was dropped, refused or timed out'}")


def options_seconds(figures, options):
    return max(3.0, options.seconds / 10) if "found_rate" in figures else options.seconds


def slope(points):
    """Of the line through (x, y) that fits best."""
    count = len(points)
    mean_x, mean_y = sum(x for x, _ in points) / count, sum(y for _, y in points) / count
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0


IDLE_COLUMNS = [("descriptors", "file descriptors"), ("links", "links to members"), ("rss_mb", "RSS MB"),
                ("cpu_ms", "CPU ms/s"), ("sent_bytes", "bytes/s sent"), ("messages", "messages/s sent"),
                ("etcd_requests", "etcd requests/s"), ("etcd_cpu_ms", "etcd's CPU ms/s")]


def print_idle(all_figures):
    with_idle = [figures for figures in all_figures if figures.get("idle")]
    if not with_idle:
        return
    say()
    say("Idle, of one node:")
    say()
    rows = [[str(figures["nodes"]), *(number(figures["idle"][key]) for key, _ in IDLE_COLUMNS),
             f"{figures['started']['serving']:.1f}"] for figures in with_idle]
    if len(with_idle) > 1:
        rows.append(["each more adds", *(number(slope([(figures["nodes"], figures["idle"][key]) for figures in with_idle]))
                                         for key, _ in IDLE_COLUMNS), ""])
    print_table(["nodes", *(title for _, title in IDLE_COLUMNS), "all serve after s"], rows)


def parse(arguments):
    parser = argparse.ArgumentParser(
        prog="scripts/scale", description="Runs that many real nodes with an etcd and a warehouse on this machine, stores "
        "objects through all of them, and asks random nodes for random objects at a fixed rate. Tells latencies, what was "
        "lost, and what one more node costs. With --moves: how long requests wait when a node comes, leaves or dies.")
    parser.add_argument("--nodes", metavar="N[,N...]", help="clusters of so many nodes, one after the other (100; --moves: 3)")
    parser.add_argument("--rate", type=float, default=5000, help="requests a second of all clients together (5000); 0: none")
    parser.add_argument("--large", type=float, default=1000, help="of them, those for a large object (1000)")
    parser.add_argument("--seconds", type=float, default=60, help="how long to measure (60)")
    parser.add_argument("--reads", type=float, default=80, metavar="PERCENT", help="gets; the others are acknowledged sets (80)")
    parser.add_argument("--small-objects", type=int, default=90000, metavar="N", help="(90000)")
    parser.add_argument("--small-size", type=int, default=500, metavar="BYTES", help="(500)")
    parser.add_argument("--large-objects", type=int, default=10000, metavar="N", help="(10000: 3 GB, twice with their copies)")
    parser.add_argument("--large-size", type=int, default=300000, metavar="BYTES", help="(300000)")
    parser.add_argument("--idle", type=float, default=20, metavar="S", help="measure the idle cluster so long before (20); 0: not")
    parser.add_argument("--find-rate", action="store_true", help="look for the highest rate that is carried, from --rate on")
    parser.add_argument("--steps", type=int, default=6, help="of --find-rate at most (6)")
    parser.add_argument("--moves", action="store_true", help="measure joins, leaves and deaths instead: see --dirty, --each")
    parser.add_argument("--dirty", default="0,10", metavar="PERCENT[,PERCENT]", help="--moves: objects the warehouse does not have (0,10)")
    parser.add_argument("--changes", default="join,drain,death", metavar="WHICH", help="--moves: of join,drain,death")
    parser.add_argument("--each", type=int, default=100000, metavar="N", help="--moves: objects of each node (100000)")
    parser.add_argument("--probes", type=float, default=2000, metavar="RATE", help="--moves: reads a second (2000)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], metavar="key=value", help="an option of every node")
    parser.add_argument("--json", metavar="FILE", type=pathlib.Path, help="write the figures there too")
    options = parser.parse_args(arguments)
    try:
        options.nodes = [int(text) for text in (options.nodes or ("3" if options.moves else "100")).split(",")]
        options.dirty = [float(text) for text in options.dirty.split(",")]
    except ValueError:
        parser.error("--nodes and --dirty take numbers with commas between")
    if not all(1 <= nodes <= 200 for nodes in options.nodes):
        parser.error("1 to 200 nodes")
    options.changes = options.changes.split(",")
    if not set(options.changes) <= {"join", "drain", "death"}:
        parser.error("--changes takes join, drain and death with commas between")
    options.large = min(options.large, options.rate)
    if options.large < 0 or not 0 < options.seconds <= 600:
        parser.error("--large is at least 0, --seconds at most 600")
    if any("=" not in setting for setting in options.set):
        parser.error("--set key=value")
    needed = 2.2 * (options.large_objects * options.large_size + options.small_objects * options.small_size)
    if options.rate > 0 and not options.moves and needed > 0.7 * machine.memory_bytes():
        parser.error(f"objects and copies would take {needed / 1e9:.0f} GB of RAM, which this machine does not have")
    return options


def allow_descriptors():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def run(options, build, directory):
    if options.moves:
        import scale_moves
        return scale_moves.run(options, build, directory, say, print_table)
    all_figures = []
    for nodes in options.nodes:
        all_figures.append(measure(options, build, directory, nodes))
        shutil.rmtree(directory / f"of{nodes}", ignore_errors=True)
    print_load(all_figures, options)
    print_idle(all_figures)
    for figures in all_figures:
        if "found_rate" in figures:
            say(f"\n{figures['nodes']} nodes: the highest rate that was carried is {figures['found_rate']:,.0f} requests/s")
    return all_figures


def main():
    options = parse(sys.argv[1:])

    INTERRUPTS.catch()
    allow_descriptors()
    build = pathlib.Path(os.environ.get("BRAIN_BENCH_BUILD", ROOT / "build-bench"))
    # --moves makes all of a warehouse's directories, which some disks take minutes to remove.
    in_ram = "/dev/shm" if options.moves and os.path.isdir("/dev/shm") else None
    directory = pathlib.Path(tempfile.mkdtemp(prefix="brain-scale.", dir=in_ram))
    status = 0
    try:
        figures = run(options, build, directory)
        if options.json:
            options.json.write_text(json.dumps(figures, indent=1) + "\n")
        if any(one.get("load") and (one["load"]["problem"] or one["load"]["troubles"]) for one in figures):
            status = 1
    except Stop:
        say("scale: stopped")
        status = 130
    except (Failure, AssertionError) as problem:
        say(f"scale: {problem}")
        status = 1
    finally:
        with INTERRUPTS.held(forget=True):
            shutil.rmtree(directory, ignore_errors=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
