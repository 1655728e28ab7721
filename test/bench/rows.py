"""The rows of the benchmark: what is put on which servers, and what has to come out.

A ratio is always brain-server's figure divided by the rival's, of the same round."""
import dataclasses
import re

import verdicts

GROUPS = {
    "load": "small values, one generator for all",
    "large": "300 kB",
    "beam": "from a real Erlang node",
    "beside": "a small get every 10 ms beside bulk traffic of the same Erlang node",
    "upkeep": "memory, idling, starting",
}


@dataclasses.dataclass(frozen=True)
class Row:
    name: str
    group: str
    title: str
    driver: str         # who measures: load, beam, memory, idle or cold (see drivers.py)
    servers: tuple      # names of servers.KINDS; the first is the one that is judged
    options: dict       # of the generator
    targets: tuple
    figures: tuple = ("throughput", "p50", "p99", "server_cpu")
    longer: int = 1     # times as long as other rows

    @property
    def judged(self):
        return self.servers[0]


def at_least(metric, factor, *rivals, judged=None):
    return tuple(verdicts.Target(metric, ">=", factor, rival, judged) for rival in rivals)


def at_most(metric, factor, *rivals, judged=None):
    return tuple(verdicts.Target(metric, "<=", factor, rival, judged) for rival in rivals)


def note(metric, *rivals):
    """A ratio that a reader wants to know; nothing is asked of it."""
    return tuple(verdicts.Target(metric, None, None, rival, None) for rival in rivals)


ALL = ("brain", "redis", "memcached", "ei", "ets")
STORES = ("brain", "redis", "memcached")
NODES = ("brain", "ei", "ets")


def get_row(name, connections, in_flight, keys, servers, targets):
    count = "1 M" if keys == 1000000 else f"{keys // 1000} k"
    title = f"get 100 B, {connections} connection{'s' * (connections > 1)}, {in_flight} in flight, {count} keys"
    options = {"work": "get", "size": 100, "keys": keys, "connections": connections, "in-flight": in_flight}
    return Row(name, "load", title, "load", servers, options, targets)


def set_row(name, title, servers, targets):
    options = {"work": "set", "size": 100, "keys": 10000, "connections": 1, "in-flight": 256}
    return Row(name, "load", title, "load", servers, options, targets)


def cluster_row(work):
    """Whoever is alone in a cluster should not notice that it is one."""
    options = {"work": work, "size": 100, "keys": 10000, "connections": 1, "in-flight": 256}
    return Row(f"cluster-{work}", "load", f"{work} 100 B, 1 connection, 256 in flight, a cluster of one", "load",
               ("brain-cluster", "brain"), options,
               (*at_least("throughput", 0.95, "brain"), *at_most("server_cpu", 1.05, "brain")))


def large_row(work, targets):
    """Sets are answered, as Redis and memcached always do: the get that else ends them brings 300 kB back."""
    options = {"work": work, "size": 300000, "keys": 500, "connections": 1, "in-flight": 4}
    title = f"{work} 300 kB, 1 connection, 4 in flight"
    if work == "set":
        options["acknowledged"] = True
        title += ", acknowledged"
    return Row(f"{work}-300k", "large", title, "load",
               (*STORES, "tcp"), options, targets, ("throughput", "gigabytes", "p50", "p99", "server_cpu"))


def beam_row(work, processes):
    targets = (*at_most("server_cpu", 0.70, "ets"), *at_most("server_cpu", 0.90, "ei"),
               *at_least("throughput", 1.0, "ets", "ei"))
    options = {"work": work, "size": 100, "keys": 10000, "processes": processes}
    title = f"{work} 100 B, {processes} process{'es' * (processes > 1)}"
    return Row(f"beam-{work}-{processes}", "beam", title, "beam", NODES, options, targets)


def beam_large_row(work, factor):
    options = {"work": work, "size": 300000, "keys": 100, "processes": 50}
    return Row(f"beam-{work}-300k", "beam", f"{work} 300 kB, 50 processes", "beam", NODES, options,
               at_least("throughput", factor, "ets"), ("throughput", "gigabytes", "p50", "p99", "server_cpu"))


def beside_row(name, title, processes, targets):
    options = {"work": "beside_" + name, "size": 100, "keys": 100, "processes": processes}
    return Row(f"beside-{name}", "beside", title, "beam", NODES, options, targets,
               ("p50", "p99", "gigabytes"), longer=2)


DEEP = (*at_least("throughput", 2.7, "redis", "memcached"),
        *at_most("server_cpu", 0.30, "redis", "memcached"), *at_most("server_cpu", 1 / 25, "ei", "ets"))

ROWS = (
    get_row("get-deep", 1, 256, 10000, (*ALL, "echo"), DEEP),
    get_row("get-deep-1m", 1, 256, 1000000, ALL, DEEP),
    get_row("get-wide", 50, 16, 10000, (*ALL, "echo"),
            (*at_least("throughput", 2.2, "redis"), *at_least("throughput", 1.9, "memcached"),
             *at_least("throughput", 12, "ets"), *at_most("server_cpu", 0.45, "redis"))),
    get_row("get-1", 1, 1, 10000, (*ALL, "echo"),
            (*at_least("throughput", 1.0, "redis", "memcached"), *at_most("p99", 1.0, "redis", "memcached"),
             *note("server_cpu", "echo"))),
    get_row("get-50", 50, 1, 10000, (*ALL, "echo"),
            (*at_least("throughput", 1.15, "redis", "memcached"), *at_most("p99", 1.0, "redis", "memcached"),
             *note("server_cpu", "echo"))),
    set_row("set-deep", "set 100 B, 1 connection, 256 in flight, in memory", ALL,
            (*at_least("throughput", 4.0, "redis"), *at_most("server_cpu", 0.15, "redis"))),
    set_row("set-journal", "the same, journal synced each second", ("brain-journal", "redis-aof"),
            at_most("server_cpu", 0.50, "redis-aof")),
    cluster_row("get"),
    cluster_row("set"),
    large_row("get", (*at_least("throughput", 1.4, "redis"), *at_least("throughput", 1.0, "memcached"),
                      *at_least("gigabytes", 0.75, "tcp"))),
    large_row("set", (*at_least("throughput", 1.0, "redis"), *at_least("throughput", 0.95, "memcached"))),
    *(beam_row(work, processes) for work in ("get", "set") for processes in (1, 50, 500)),
    beam_large_row("get", 1.8),
    beam_large_row("set", 2.2),
    beside_row("sets", "beside sets of 300 kB by 1 process", 1, at_most("p99", 1.0, "ets")),
    beside_row("replies", "beside gets of 300 kB by 4 processes", 4, at_most("p99", 0.7, "ets")),
    beside_row("values", "beside sets of 30 MB by 1 process", 1, at_most("p50", 1.0, "ets")),
    Row("memory", "upkeep", "RSS for each of 1 M objects of 20 + 100 bytes", "memory",
        ("brain", "brain-journal", "redis", "memcached", "ei", "ets"), {"keys": 1000000, "size": 100},
        (*at_most("bytes_per_object", 160, None),
         *at_most("bytes_per_object", 160, None, judged="brain-journal")), ("bytes_per_object",)),
    Row("idle", "upkeep", "CPU with 1 M objects in RAM and no traffic", "idle",
        ("brain-journal", "redis", "memcached", "ei", "ets"), {"keys": 1000000, "size": 100},
        at_most("idle_percent", 0.5, None), ("idle_percent",)),
    Row("cold-start", "upkeep", "start with 1 M objects in the local warehouse", "cold",
        ("brain-journal",), {"keys": 1000000, "size": 100},
        at_most("first_answer", 1.0, None), ("port_open", "first_answer")),
)


def select(pattern):
    """The rows whose name matches; all without a pattern."""
    return [row for row in ROWS if not pattern or re.search(pattern, row.name)]
