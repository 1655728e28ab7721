"""A cluster of many real nodes on this machine, what the kernel and the nodes tell about it, and the load on it
(scale_load). For scripts/scale."""
import collections
import contextlib
import io
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "system"))

import machine  # noqa: E402
from cluster import Cluster  # noqa: E402
from dist_client import Closed  # noqa: E402
from harness import COOKIE, die_with_parent  # noqa: E402

# What cluster.py shortens for tests is as users have it. Objects stay in RAM and dirty unless something asks for a
# dump: the warehouse is not what is measured.
OPTIONS = {"manager_lease": 10000, "server_exec_timeout": 5000, "dump_retry_min": 500, "dump_retry_max": 60000,
           "tick_interval": 15000, "tick_timeout": 75000, "key_ttl": 3600000, "max_dirty_ms": 0}
# Counted by the nodes; none may change while a cluster is only used.
QUIET = [("cluster", "views_installed"), ("cluster", "leases_lost"), ("managers", "losses"), ("dist", "dials_failed"),
         ("peers", "dropped"), ("peers", "refused"), ("cluster", "evictions"), ("cluster", "timeouts"),
         ("cluster", "unknown"), ("cluster", "messages_dropped"), ("cluster", "messages_malformed"),
         ("command", "timeouts"), ("object", "timeouts"), ("object", "refused_overload"),
         ("object", "refused_journal"), ("command", "refused_writes")]


class Failure(Exception):
    """A sentence for the user."""


class Stop(Exception):
    """Ctrl-C, or SIGTERM."""


class Interrupts:
    """Ctrl-C and SIGTERM raise Stop, but not within `held`: there a process could be started and not be known yet, or
    be left because stopping the others was cut short."""

    def __init__(self):
        self.depth, self.pending = 0, False

    def catch(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self.handle)

    def handle(self, *_):
        if self.depth:
            self.pending = True
        else:
            raise Stop

    @contextlib.contextmanager
    def held(self, forget=False):
        """forget: it is the end anyway."""
        self.depth += 1
        try:
            yield
        finally:
            self.depth -= 1
            if self.pending and not self.depth and not forget:
                self.pending = False
                raise Stop


INTERRUPTS = Interrupts()


def cpu_seconds(pid):
    """As the scheduler counts it, to the nanosecond: /proc/PID/stat has steps of 10 ms."""
    total = 0
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


class Snapshot:
    """Of all nodes at about the same moment; the difference of two is what happened in between."""

    def __init__(self, cluster):
        self.time = time.monotonic()
        members = [member for member in cluster.members if member.alive]
        pids = [member.server.process.pid for member in members]
        self.cpu = [cpu_seconds(pid) for pid in pids]
        self.etcd_cpu = cpu_seconds(cluster.etcd.process.pid)
        self.rss = [machine.resident_bytes(pid) for pid in pids]
        self.descriptors = [len(os.listdir(f"/proc/{pid}/fd")) for pid in pids]
        self.infos = [member.info(30) for member in members]

    def total(self, group, name):
        return sum(info[group][name] for info in self.infos)

    def most(self, group, name):
        return max(info[group][name] for info in self.infos)

    def least(self, group, name):
        return min(info[group][name] for info in self.infos)


class Span:
    def __init__(self, before, after):
        self.before, self.after = before, after
        self.seconds = after.time - before.time

    def grown(self, group, name):
        return self.after.total(group, name) - self.before.total(group, name)

    def cpu(self):
        return sum(self.after.cpu) - sum(self.before.cpu)

    def troubles(self):
        """{what: how often} of all that a cluster at peace does not do."""
        found = {f"{group}.{name}": self.grown(group, name) for group, name in QUIET if self.grown(group, name)}
        members = len(self.after.infos)
        without = sum(max(0, members - 1 - info["peers"]["links"]) for info in self.after.infos)
        if without:
            found["links down"] = without
        return found


class ScaleCluster:
    """Started by `with`: all nodes serve, every slot is open, every node has a link to every other."""

    def __init__(self, directory, build, nodes, start_seconds=120, **options):
        self.directory, self.build, self.nodes = pathlib.Path(directory), pathlib.Path(build), nodes
        self.start_seconds = start_seconds
        self.options = {**OPTIONS, "backups": min(1, nodes - 1), **options}
        self.cluster, self.loads = None, []
        self.started = {}

    def __enter__(self):
        try:
            with INTERRUPTS.held():
                self.cluster = Cluster(self.directory, self.nodes, build=self.build, start=False, **self.options)
            self.start()
        except BaseException:
            self.__exit__(True)
            raise
        return self

    def __exit__(self, *_):
        """At once, without draining: nobody wants the data."""
        with INTERRUPTS.held():
            self.stop()

    def stop(self):
        for load in self.loads:
            if load.poll() is None:
                load.kill()
                load.wait()
        if self.cluster:
            with contextlib.redirect_stdout(io.StringIO()):  # the tests' way of showing logs
                self.cluster.finish(failed=True)
            self.cluster = None

    @property
    def members(self):
        return self.cluster.members

    @property
    def etcd(self):
        return self.cluster.etcd

    def start(self):
        begin = time.monotonic()
        for member in self.members:
            with INTERRUPTS.held():
                member.start(wait=False)
        for member in self.members:
            member.server.wait_ready(self.start_seconds)
        self.started["ready"] = time.monotonic() - begin
        self.wait_whole(begin + self.start_seconds)
        self.started["serving"] = time.monotonic() - begin

    def wait_whole(self, deadline):
        """Until all members serve in a view of all, with every slot open and every link up."""
        waiting = [member for member in self.members if member.alive]
        count = len(waiting)
        while waiting:
            if not self.is_whole(waiting[-1], count):
                if time.monotonic() > deadline:
                    raise Failure(f"{len(waiting)} of {count} nodes did not serve within {self.start_seconds} s:\n"
                                  + "\n".join(map(self.state, waiting))
                                  + f"\nthe log of the last one ends with\n{waiting[-1].server.log[-3000:]}")
                time.sleep(0.02)
                continue
            waiting.pop()

    @staticmethod
    def state(member):
        try:
            info = member.info(30)
        except (OSError, Closed, TimeoutError) as problem:
            return f"{member}: {problem!r}"
        state = info["cluster"]
        return (f"{member}: {state['members']} members, {'' if state['serving'] else 'not '}serving, {state['slots_open']} "
                f"of {state['slots']} slots open, {info['peers']['links']} links, "
                f"longest turn {info['loop']['longest_turn_us'] / 1e3:.0f} ms")

    @staticmethod
    def is_whole(member, count):
        try:
            info = member.info(30)
        except (OSError, Closed, TimeoutError):
            return False
        state = info["cluster"]
        return (state["members"] == count and state["serving"] == 1 and state["slots_open"] == state["slots"]
                and info["peers"]["links"] >= count - 1)

    def wait_backed(self, seconds=60):
        """Until every dirty object has its copy and nothing waits."""
        deadline = time.monotonic() + seconds
        for member in self.members:
            while member.alive and any(member.metric(*name) for name in (("cluster", "unbacked"),
                                                                         ("cluster", "waiting"))):
                if time.monotonic() > deadline:
                    raise Failure(f"{member} still has objects without a copy after {seconds} s")
                time.sleep(0.05)

    def snapshot(self):
        return Snapshot(self.cluster)

    def complaints(self, limit=20):
        """What the nodes' logs warn of: [(count, line without time and names), ...], the most frequent first."""
        found = collections.Counter()
        for member in self.members:
            for line in member.server.log.splitlines() if member.servers else []:
                if re.match(r"\S+ (warn|error) ", line):
                    found[re.sub(r"\bn\d+@localhost\b|\b[0-9a-f]{8,}\b|\d+", "*", line.split(" ", 1)[1])[:200]] += 1
        return [(count, line) for line, count in found.most_common(limit)]

    # ---- load -----------------------------------------------------------------------------------

    def begin_load(self, members=None, **options):
        command = [self.build / "test/bench/scale_load", "--cookie", COOKIE]
        for key, value in options.items():
            command += [f"--{key.replace('_', '-')}", value]
        command += [member.name for member in members or self.members]
        with INTERRUPTS.held():
            self.loads.append(subprocess.Popen(
                list(map(str, command)), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                cwd=self.directory, preexec_fn=die_with_parent, start_new_session=True,
                env={**os.environ, "ERL_EPMD_PORT": str(self.cluster.epmds[0].port)}))
        return self.loads[-1]

    @staticmethod
    def end_load(process, limit_seconds):
        """What it told. Its own complaint when it told nothing."""
        try:
            output, errors = process.communicate(timeout=limit_seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            raise Failure(f"the load did not end within {limit_seconds} s") from None
        lines = [line for line in output.decode(errors="replace").splitlines() if line.startswith("{")]
        if not lines:
            raise Failure(f"the load ended with status {process.returncode}: {errors.decode(errors='replace')[-1000:]}")
        return json.loads(lines[-1])

    def load(self, limit_seconds, **options):
        return self.end_load(self.begin_load(**options), limit_seconds)

    def fill(self, **options):
        before = self.snapshot()
        report = self.load(600, fill=1, **options)
        problem = problem_of(report)
        if problem:
            counted = Span(before, self.snapshot())
            raise Failure("\n".join([f"storing the objects: {problem}; {report['seconds']:.1f} s, "
                                     f"{counted.troubles() or 'no view changed'}; what the nodes' logs warn of:",
                                     *(f"{count} x {line}" for count, line in self.complaints())]))
        return report


def problem_of(report):
    """The first thing that was wrong in a load, as a sentence; None: all was answered, and right."""
    if report["failure"]:
        return report["failure"]
    for size in ("small", "large"):
        part = report[size]
        if part["wrong"]:
            return f"{part['wrong']} wrong answers to {size} requests, the first: {part['wrong_answer']}"
        if part["unsent"]:
            return f"{part['unsent']} {size} requests were not sent: too many unanswered ones at their node"
    if report["unanswered"]:
        return f"{report['unanswered']} requests were not answered"
    return None
