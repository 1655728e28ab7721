"""What `scripts/scale --moves` measures: a node that joins, one that drains and leaves (SIGTERM), one that is killed, while
clients go on reading. One cluster for each number of nodes and share of dirty objects:

    N nodes with their objects; one more joins; it gets objects of its own; it drains; it comes back, gets them again
    and is killed.

A request's wait is from the moment at which the first member installed the new view (the log says when), or from when it
was due, whichever is later, until its answer: the detection of a death (manager_lease) is not in it. Counted are those
that were under way then, or were due as long after it as the longest wait lasted; of a drain all from SIGTERM on. The
members' objects and the leaver's are asked for at rates of their own; dirty ones have the lowest numbers.

Clients are usually on machines of their own, and here on the members': so that their own waiting for a core is not taken
for the cluster's, the load goes before everything else, where that is permitted (root). The warehouse is one that has been
in use: its directories are there (docs/decisions/0008), of which each would cost the first look at it an upload."""
import contextlib
import datetime
import os
import re
import shutil
import signal
import statistics
import time

import machine
from scale_cluster import INTERRUPTS, Failure, ScaleCluster, problem_of

VALUE = 100
LEASE = {True: 3000, False: 10000}  # ms; up to 10 nodes, more
CALM = 1.5                          # s before a change, and after it
LEAVERS_PROBES = 256                # reads of the leaver's objects that wait for a death, about


def log_time(text):
    """Seconds since the epoch of a line of the log."""
    return datetime.datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%f%z").timestamp()


def views_in(member):
    """[(when it was installed, members)] since the member's last start."""
    found = re.findall(r"^(\S+) info  (?:joined(?: again)? the cluster: )?view \d+[^:,]*[:,] (\d+) members",
                       member.server.log, re.MULTILINE)
    return [(log_time(when), int(count)) for when, count in found]


class Probe:
    """Reads of one change, as scale_load wrote them down."""

    def __init__(self, path, offset_ns):
        self.lines = []
        with open(path) as file:
            for line in file:
                due, answered, size, key, _, _, verdict = line.split()
                self.lines.append(((int(due) + offset_ns) / 1e9, (int(answered) + offset_ns) / 1e9, size, int(key),
                                   verdict == "right"))

    def waits(self, begin, end, chosen):
        """ms, sorted, of the reads that were under way at `begin` or due by `end` or as long after `begin` as the
        longest of those took."""
        found = [(due, (answered - max(due, begin)) * 1e3) for due, answered, size, key, _ in self.lines
                 if answered >= begin and chosen(size, key)]
        longest = max((wait for due, wait in found if due <= begin + CALM), default=0)
        return sorted(wait for due, wait in found if due <= max(end, begin + longest / 1e3))


class Moves:
    def __init__(self, options, running, percent, say):
        self.options, self.running, self.say = options, running, say
        self.nodes = running.nodes
        self.each = options.each
        self.percent = percent
        self.dirty = {"small": int(self.nodes * self.each * percent / 100), "large": int(self.each * percent / 100)}
        self.leaver = running.cluster.add(self.nodes + 1, running.build)
        self.round = 0  # each time that it comes it gets other objects: the former ones may be others' now
        self.survivors = running.members[:self.nodes]
        self.rows = []

    def keys(self, small=True, large=True, dirty=False):
        """Options of scale_load: the survivors' objects and the leaver's, or only the dirty ones."""
        first = self.round * self.each
        return {"small_keys": self.nodes * self.each if small else 0, "small_size": VALUE,
                "large_keys": first + self.each if large else 0, "large_size": VALUE, "large_from": first,
                "small_to": self.dirty["small"] if dirty else self.nodes * self.each,
                "large_to": first + (self.dirty["large"] if dirty else self.each)}

    # ---- objects --------------------------------------------------------------------------------

    def store(self, size, dirty=False):
        members = self.survivors if size == "small" else [self.leaver]
        self.running.fill(members=members, in_flight=64, **self.keys(size == "small", size == "large", dirty))

    def wait_clean(self, seconds=900):
        begin = time.monotonic()
        for member in self.running.members:
            while member.alive and member.metric("object", "dirty") > 0:
                if time.monotonic() - begin > seconds:
                    raise Failure(f"{member} still has {member.metric('object', 'dirty')} dirty objects after {seconds} s")
                time.sleep(0.5)

    def make_dirty(self):
        """So many, and the rest clean."""
        if self.percent < 100:
            self.wait_clean()
        if self.percent > 0:
            self.store("small", dirty=True)
        if self.percent > 0 and self.leaver.alive:
            self.store("large", dirty=True)
        self.running.wait_backed()

    def objects(self):
        alive = [member for member in self.running.members if member.alive]
        found = {member: member.info(30) for member in alive}
        return {member: info["cluster"] | {"dirty": info["object"]["dirty"]} for member, info in found.items()}

    # ---- a change -------------------------------------------------------------------------------

    def change(self, name, action, members_after):
        before = self.objects()
        trace = self.running.directory / f"trace-{name}"
        lease = self.running.options["manager_lease"] / 1e3
        leavers = LEAVERS_PROBES / (lease + CALM) if self.leaver.alive else 0
        load = self.running.begin_load(
            members=self.survivors, **self.keys(large=self.leaver.alive), seed=self.options.seed, small_rate=self.options.probes, large_rate=leavers, reads=100,
            seconds=120, warmup=0, in_flight=4096, timeout=30, trace=trace)
        with contextlib.suppress(PermissionError):
            os.sched_setscheduler(load.pid, os.SCHED_RR, os.sched_param(1))
        time.sleep(CALM)
        begin = time.time()
        action()
        self.wait_view(begin, members_after)
        time.sleep(CALM)
        load.send_signal(signal.SIGINT)
        report = self.running.end_load(load, 60)
        self.running.wait_whole(time.monotonic() + 60)
        self.row(name, before, self.objects(), begin, members_after, report,
                 Probe(trace, report["realtime_offset_ns"]))
        trace.unlink()

    def wait_view(self, begin, count, seconds=60):
        """All survivors installed a view of so many after `begin`."""
        deadline = time.monotonic() + seconds
        for member in self.survivors:
            while not any(when >= begin and members == count for when, members in views_in(member)):
                if time.monotonic() > deadline:
                    raise Failure(f"{member} did not install a view of {count} members within {seconds} s")
                time.sleep(0.1)

    def row(self, name, before, after, begin, count, report, probe):
        installed = [min(when for when, members in views_in(member) if when >= begin and members == count)
                     for member in self.survivors]
        view = min(installed)
        figures = {"change": name, "nodes": self.nodes, "dirty_percent": self.percent,
                   "dirty": sum(state["dirty"] for state in before.values()),
                   "owned": sum(state["owned"] for state in before.values()),
                   "view_after_s": view - begin, "view_spread_ms": (max(installed) - view) * 1e3,
                   "problem": problem_of(report)}
        if name == "join":
            figures["another_home"] = after[self.leaver]["directory"]
            figures["another_owner"] = after[self.leaver]["owned"]
        else:
            figures["another_home"] = before[self.leaver]["directory"]
            grown = sum(after[member]["owned"] - before[member]["owned"] for member in self.survivors)
            figures["another_owner"] = grown
        first_clean = self.round * self.each + self.dirty["large"]
        for kind, chosen in {"members": lambda size, key: size == "small",
                             "leavers_clean": lambda size, key: size == "large" and key >= first_clean,
                             "leavers_dirty": lambda size, key: size == "large" and key < first_clean}.items():
            waits = probe.waits(begin if name == "drain" else view, view, chosen)
            if waits:
                figures[kind] = {"count": len(waits), "median_ms": statistics.median(waits), "most_ms": waits[-1]}
        calm = [(answered - due) * 1e3 for due, answered, size, _, _ in probe.lines
                if size == "small" and answered < begin]
        figures["calm_ms"] = {"median_ms": statistics.median(calm), "most_ms": max(calm)} if calm else None
        self.rows.append(figures)
        self.say(f"{self.nodes} nodes, {self.percent:g} % dirty, {name}: "
                 f"{problem_of(report) or 'every request was answered, and right'}")

    # ---- all of them ----------------------------------------------------------------------------

    def join(self):
        with INTERRUPTS.held():
            self.leaver.start(wait=False)
        self.leaver.server.wait_ready(60)

    def drain(self):
        self.leaver.server.send_signal(signal.SIGTERM)
        status = self.leaver.server.wait(90)
        if status != 0:
            raise Failure(f"the leaver ended with status {status}:\n{self.leaver.server.log[-2000:]}")

    def kill(self):
        self.leaver.kill()

    def come_with_objects(self):
        if not self.leaver.alive:
            self.join()
            self.running.wait_whole(time.monotonic() + 60)
        self.round += 1
        self.store("large")
        self.make_dirty()

    def run(self):
        begin = time.monotonic()
        self.store("small")
        self.make_dirty()
        self.say(f"{self.nodes} nodes, {self.percent:g} % dirty: objects stored after {time.monotonic() - begin:.0f} s")
        wanted = self.options.changes
        if "join" in wanted:
            self.change("join", self.join, self.nodes + 1)
        for name, action in ("drain", self.drain), ("death", self.kill):
            if name in wanted:
                self.come_with_objects()
                self.change(name, action, self.nodes)
        return self.rows


HEAD = ["nodes, change", "dirty of all objects", "ids: another home", "another owner", "view after s", "members differ by ms",
        "wait ms: members' ids", "the leaver's, clean", "the leaver's, dirty", "without a change"]


def wait_text(waits):
    return f"{waits['median_ms']:.1f} / {waits['most_ms']:.1f}" if waits else ""


def table_row(row):
    sign = "+" if row["change"] == "join" else "-"
    nodes = row["nodes"] + (row["change"] != "join")
    return [f"{nodes} {sign} 1, {row['change']}", f"{row['dirty']:,} of {row['owned']:,}", f"{row['another_home']:,}",
            f"{row['another_owner']:,}", f"{row['view_after_s']:.2f}", f"{row['view_spread_ms']:.0f}",
            *(wait_text(row.get(kind)) for kind in ("members", "leavers_clean", "leavers_dirty")),
            wait_text(row["calm_ms"])]


def make_directories(files):
    """As they are when there are some 100,000 objects or more."""
    for first in range(256):
        for second in range(256):
            where = files / f"{first:02x}" / f"{second:02x}"
            where.mkdir(parents=True)
            (where / "zz-complete").touch()


def run(options, build, directory, say, print_table):
    rows = []
    for nodes in options.nodes:
        for percent in options.dirty:
            settings = {"manager_lease": LEASE[nodes <= 10], "server_exec_timeout": 20000, "handoff_uses": 0,
                        "max_dirty_ms": 20000 if percent < 100 else 0,
                        **dict(setting.partition("=")[::2] for setting in options.set)}
            where = directory / f"moves{nodes}-{percent:g}"
            with ScaleCluster(where, build, nodes, **settings) as running:
                make_directories(running.cluster.ftp.files)
                rows += Moves(options, running, percent, say).run()
            shutil.rmtree(where, ignore_errors=True)
    say()
    print_table(HEAD, [table_row(row) for row in rows])
    say(f"\nWaits: median / longest. Machine: {machine.processor()}")
    return rows
