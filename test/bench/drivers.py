"""Who measures: one function for each way of measuring a row. Each returns
{"runs": {server: [figures of a round, ...]}, "errors": {server: why}}."""
import json
import os
import pathlib
import subprocess
import sys
import time

import machine
import servers
from servers import Failure

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "system"))

from dist_client import Closed, DistClient  # noqa: E402

ID_BYTES = 20
FILL_SECONDS = 180
SLACK_SECONDS = 40  # beyond what a run should take


class Settings:
    """How long, how often, with how many objects."""

    def __init__(self, rounds=5, seconds=1.5, warmup=0.2, idle_seconds=60.0, keys_limit=None):
        self.rounds, self.seconds, self.warmup = rounds, seconds, warmup
        self.idle_seconds, self.keys_limit = idle_seconds, keys_limit

    def keys(self, row):
        return min(row.options["keys"], self.keys_limit or row.options["keys"])


class Measurement:
    """Of one row. A server that fails once is left out of the following rounds."""

    def __init__(self, row):
        self.runs = {name: [] for name in row.servers}
        self.errors = {}

    def attempt(self, name, action, *arguments):
        """What the action returns; None when it, or an earlier one for this server, failed."""
        if name in self.errors:
            return None
        try:
            return action(*arguments)
        except (Failure, Closed, OSError, AssertionError, ValueError) as failure:
            self.errors[name] = str(failure) or type(failure).__name__
            return None

    def add(self, name, figures):
        if figures is not None:
            self.runs[name].append(figures)

    def result(self):
        return {"runs": self.runs, "errors": self.errors}


# ---- generators -----------------------------------------------------------------------------------


def run_generator(room, name, command, seconds):
    """Runs a generator on its core. Returns the figures it printed last, and what other programs took
    from the two cores meanwhile."""
    busy, stolen = machine.busy_seconds(room.cores)
    start = time.monotonic()
    errors_path = room.directory / "generator-errors"
    with open(errors_path, "wb") as errors:
        process = subprocess.Popen(
            ["taskset", "-c", str(room.cores.generator), *map(str, command)], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=errors, cwd=room.directory, env=room.environment,
            preexec_fn=servers.die_with_parent)
    room.processes.append(process)
    try:
        output = process.communicate(timeout=seconds + SLACK_SECONDS)[0].decode(errors="replace")
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise Failure(f"the generator did not end within {seconds + SLACK_SECONDS:.0f} s") from None
    elapsed = time.monotonic() - start
    after, stolen_after = machine.busy_seconds(room.cores)
    if process.returncode != 0:
        text = errors_path.read_text(errors="replace").strip()
        raise Failure(f"{name}: the generator ended with status {process.returncode}: {text[-500:]}")
    lines = [line for line in output.splitlines() if line.startswith("{")]
    if not lines:
        raise Failure(f"{name}: the generator printed no figures")
    figures = flatten(json.loads(lines[-1]))
    figures["stolen"] = (stolen_after - stolen) / elapsed
    return figures, after - busy


def flatten(report):
    """What of the generator's report is kept: numbers, under the names that rows use."""
    latency = report.get("latency_us") or {}
    kept = {key: report.get(key) for key in ("seconds", "operations", "throughput")}
    kept.update({key: latency.get(key) for key in ("mean", "p50", "p90", "p99", "p999", "max")})
    kept["server_cpu"] = report.get("server_cpu_us")
    kept["client_cpu"] = report.get("client_cpu_us")
    kept["gigabytes"] = (report.get("bytes_per_second") or 0) / 1e9
    return {key: value for key, value in kept.items() if value is not None}


def loaded(room, server, name, command, seconds):
    """One run with a server: its health, and how much of the cores was neither's."""
    server.settle()
    before = machine.cpu_seconds(server.pid) if server.pid else 0
    children = os.times().children_user + os.times().children_system
    start = time.monotonic()
    figures, busy = run_generator(room, name, command, seconds)
    elapsed = time.monotonic() - start
    server.check()
    generator = os.times().children_user + os.times().children_system - children
    own = generator + (machine.cpu_seconds(server.pid) - before if server.pid else 0)
    figures["others"] = max(0.0, busy - own) / elapsed
    return figures


def bench_command(room, server, settings, options):
    command = [room.build / "cnode/tools/brain-bench", "--protocol", server.protocol, "--json", "-", "--quiet"]
    for key, value in options.items():
        command += [f"--{key}"] if value is True else [f"--{key}", value]
    if server.protocol in ("erlang", "redis", "memcached"):
        command += ["--id-bytes", ID_BYTES]
    if server.pid:
        command += ["--server-pid", server.pid]
    if server.protocol == "tcp":
        return command + ["--server-cpu", room.cores.server]
    return command + [server.target]


def fill(room, server, settings, keys, size):
    """Stores every object once, and so that all of them are known to be there."""
    if server.protocol in ("echo", "tcp"):
        return
    options = {"work": "fill", "size": size, "keys": keys, "connections": 1, "in-flight": 64 if size < 10000 else 4}
    run_generator(room, server.name, bench_command(room, server, settings, options), FILL_SECONDS)
    server.check()


def bench_run(room, server, row, settings):
    seconds = settings.seconds * row.longer
    options = {**row.options, "keys": settings.keys(row), "seconds": seconds, "warmup": settings.warmup}
    return loaded(room, server, server.name, bench_command(room, server, settings, options),
                  seconds + settings.warmup)


def beam_run(room, server, row, settings):
    seconds = settings.seconds * row.longer
    options = {**row.options, "keys": settings.keys(row), "seconds": seconds, "warmup": settings.warmup,
               "server": server.node, "pid": server.pid}
    command = ["erl", "+S", "1:1", "-noshell", "-sname", f"client{time.monotonic_ns()}@localhost",
               "-start_epmd", "false", "-pa", room.build / "test/bench", "-s", "beam_client", "-extra",
               *(f"{key}={value}" for key, value in options.items())]
    return loaded(room, server, server.name, command, seconds + settings.warmup)


# ---- the ways of measuring --------------------------------------------------------------------------


def interleaved(room, row, settings, run, prepare):
    """A B C D, A B C D, ...: what changes in the machine meanwhile changes for all of them."""
    measurement = Measurement(row)
    started = {}
    for name in row.servers:
        started[name] = measurement.attempt(name, servers.start, room, name)
        measurement.attempt(name, prepare, started[name])
    for _ in range(settings.rounds):
        for name in row.servers:
            measurement.add(name, measurement.attempt(name, run, room, started[name], row, settings))
    return measurement.result()


def measure_load(room, row, settings):
    return interleaved(room, row, settings, bench_run, lambda server: fill(
        room, server, settings, settings.keys(row), row.options["size"]))


def measure_beam(room, row, settings):
    return interleaved(room, row, settings, beam_run, lambda server: None)


def measure_memory(room, row, settings):
    """What a server's resident set grew by, from empty to filled, for each object. One at a time."""
    measurement = Measurement(row)
    keys = settings.keys(row)

    def grown(name):
        server = servers.start(room, name)
        server.settle()
        empty = machine.resident_bytes(server.pid)
        fill(room, server, settings, keys, row.options["size"])
        server.settle()
        filled = machine.resident_bytes(server.pid)
        server.process.kill()
        server.process.wait()
        return {"bytes_per_object": (filled - empty) / keys}

    for name in row.servers:
        measurement.add(name, measurement.attempt(name, grown, name))
    return measurement.result()


def measure_idle(room, row, settings):
    """CPU of servers that hold objects and are asked nothing, all of them over the same time."""
    measurement = Measurement(row)
    started = {}
    for name in row.servers:
        started[name] = measurement.attempt(name, servers.start, room, name)
        measurement.attempt(name, lambda: fill(room, started[name], settings, settings.keys(row),
                                               row.options["size"]))
    for name in row.servers:
        measurement.attempt(name, started[name] and started[name].settle)
    before = {name: machine.cpu_seconds(started[name].pid) for name in row.servers
              if name not in measurement.errors}
    start = time.monotonic()
    time.sleep(settings.idle_seconds)
    elapsed = time.monotonic() - start
    for name, cpu in before.items():
        def percent():
            started[name].check()
            return {"idle_percent": 100 * (machine.cpu_seconds(started[name].pid) - cpu) / elapsed}
        measurement.add(name, measurement.attempt(name, percent))
    return measurement.result()


def forget_files(directory):
    """The page cache lets go of these files, as if the machine had been started anew."""
    os.sync()
    for path in pathlib.Path(directory).rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)


def measure_cold(room, row, settings):
    """Seconds from the start of the process to its port being open, and to the answer to a first get,
    whose object comes from the warehouse. The pages of the database are not in memory."""
    measurement = Measurement(row)
    name = row.judged
    kept = (b"kept over the restart", bytes(range(100)))

    def prepare():
        server = servers.start(room, name)
        fill(room, server, settings, settings.keys(row), row.options["size"])
        with DistClient(server.port, servers.COOKIE) as client:
            assert str(client.set(*kept)) == "ok"
        status = server.stop()
        if status != 0:
            raise Failure(f"{name} ended with status {status} when it was stopped: "
                          f"{servers.output_of(server.process)[-500:]}")

    def cold_start():
        server = servers.KINDS[name](room, name)
        forget_files(server.directory)
        start = time.monotonic()
        server.process = room.spawn(name, server.command(), room.cores.server)
        while not servers.accepts(server.port):
            if time.monotonic() - start > servers.START_SECONDS or server.process.poll() is not None:
                raise Failure(f"{name} opened no port: {servers.output_of(server.process)[-500:]}")
            time.sleep(0.0005)
        port_open = time.monotonic() - start
        with DistClient(server.port, servers.COOKIE) as client:
            answer = client.get(kept[0])
            first_answer = time.monotonic() - start
        if answer[1] != kept[1]:
            raise Failure(f"{name} answered something else than what was stored")
        server.stop()
        return {"port_open": port_open, "first_answer": first_answer}

    measurement.attempt(name, prepare)
    for _ in range(settings.rounds):
        measurement.add(name, measurement.attempt(name, cold_start))
    return measurement.result()


DRIVERS = {"load": measure_load, "beam": measure_beam, "memory": measure_memory, "idle": measure_idle,
           "cold": measure_cold}
