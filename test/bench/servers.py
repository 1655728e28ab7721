"""The servers that are compared: each in a directory of its own, on a free port, on one core, ended
by its process id. Nothing of theirs outlives the benchmark, however that ends."""
import ctypes
import os
import pathlib
import re
import signal
import socket
import subprocess
import time

import machine

COOKIE = "BENCHMARKCOOKIE"
START_SECONDS = 20
STOP_SECONDS = 120
LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1


class Failure(Exception):
    """Something that the benchmark needs did not work; the text is for the user."""


def die_with_parent():
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def accepts(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    except OSError:
        return False


class Room:
    """What the servers of one row share: a directory, an epmd, a cookie, the cores."""

    def __init__(self, build, directory, cores):
        self.build = pathlib.Path(build)
        self.directory = pathlib.Path(directory)
        self.cores = cores
        self.processes = []
        (self.directory / ".erlang.cookie").write_text(COOKIE)
        (self.directory / ".erlang.cookie").chmod(0o400)
        self.epmd_port = free_port()
        self.environment = {
            **os.environ, "HOME": str(self.directory), "ERL_EPMD_PORT": str(self.epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1", "LC_ALL": "C.UTF-8", "ERL_CRASH_DUMP_SECONDS": "0"}
        epmd = self.spawn("epmd", ["epmd", "-port", str(self.epmd_port), "-address", "127.0.0.1"],
                          cores.generator)
        wait_for(lambda: accepts(self.epmd_port), epmd, "epmd")

    def spawn(self, name, command, core, environment=None):
        """A process on one core; its output goes to a file."""
        directory = self.directory / name
        directory.mkdir(exist_ok=True)
        with open(directory / "output", "ab") as output:
            process = subprocess.Popen(
                ["taskset", "-c", str(core), *map(str, command)], stdin=subprocess.DEVNULL, stdout=output,
                stderr=subprocess.STDOUT, cwd=directory, env={**self.environment, **(environment or {})},
                preexec_fn=die_with_parent)
        process.name, process.output_path = name, directory / "output"
        self.processes.append(process)
        return process

    def close(self):
        """Ends what still runs, the youngest first."""
        for process in reversed(self.processes):
            if process.poll() is None:
                process.kill()
        for process in self.processes:
            process.wait()


def output_of(process):
    return process.output_path.read_text(errors="replace")


def wait_for(condition, process, name, seconds=START_SECONDS):
    deadline = time.monotonic() + seconds
    while not condition():
        if process.poll() is not None:
            raise Failure(f"{name} ended with status {process.returncode}: {output_of(process)[-500:].strip()}")
        if time.monotonic() > deadline:
            raise Failure(f"{name} was not ready after {seconds} s: {output_of(process)[-500:].strip()}")
        time.sleep(0.01)


class Server:
    """One kind of server. `target` is what brain-bench is told to load, with `protocol`; `node` is
    the name of an Erlang node, or None."""

    title = protocol = node = None

    def __init__(self, room, name):
        self.room, self.name = room, name
        self.process = None
        self.port = free_port()

    @property
    def target(self):
        return self.node or f"127.0.0.1:{self.port}"

    @property
    def pid(self):
        return self.process.pid

    @property
    def directory(self):
        return self.room.directory / self.name

    def start(self):
        self.process = self.room.spawn(self.name, self.command(), self.room.cores.server)
        wait_for(self.is_ready, self.process, self.name)
        return self

    def is_ready(self):
        return accepts(self.port)

    def check(self):
        if self.process.poll() is not None:
            raise Failure(f"{self.name} ended with status {self.process.returncode}: "
                          f"{output_of(self.process)[-500:].strip()}")

    def stop(self, seconds=STOP_SECONDS):
        """Asks it to end, and waits until it did."""
        self.process.terminate()
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Failure(f"{self.name} did not stop within {seconds} s") from None

    def settle(self, seconds=3):
        """Waits until it does nothing any more: what it put off is not the next one's burden."""
        deadline = time.monotonic() + seconds
        before = machine.cpu_seconds(self.pid)
        while time.monotonic() < deadline:
            time.sleep(0.1)
            now = machine.cpu_seconds(self.pid)
            if now - before <= 0.01:
                return
            before = now


class Brain(Server):
    """brain-server as users build it. Objects stay in RAM as long as the benchmark lasts, so that no
    dump falls into one measurement and not into another."""

    title = "brain-server"
    protocol = "erlang"
    options = {"journal": "false", "ack": "memory"}

    def __init__(self, room, name):
        super().__init__(room, name)
        self.node = f"{name}@localhost"

    def command(self):
        settings = {
            "node": self.node, "data_dir": self.directory / "data", "server_port": self.port,
            "epmd_port": self.room.epmd_port, "epmd_start": "false", "key_ttl": 3600000, "max_dirty_ms": 0,
            "drain_timeout": STOP_SECONDS * 1000, **self.options}
        words = [self.room.build / "cnode/server/brain-server"]
        for key, value in settings.items():
            words += ["--set", f"{key}={value}"]
        return words

    def is_ready(self):
        return re.search(r"^ready ", output_of(self.process), re.MULTILINE)


class BrainJournal(Brain):
    title = "brain-server with journal"
    options = {"journal": "true", "ack": "journal", "journal_sync": 1000}


class BrainCluster(Brain):
    """The only member of a cluster: a real etcd beside it, and `ack` as clusters have it by default.

    Its warehouse is an address where nobody listens. No row asks it: keys are stored before they are
    read, a write never loads, and objects stay in RAM as those of the others do."""

    title = "brain-server, a cluster of one"

    def __init__(self, room, name):
        super().__init__(room, name)
        self.etcd_port, self.etcd_peer_port = free_port(), free_port()
        self.options = {
            "journal": "false", "backups": 1, "ack": "backup", "manager_enable": "true",
            "manager_servers": f"http://127.0.0.1:{self.etcd_port}",
            "warehouse_manager": "ftp", "ftp_host": "127.0.0.1", "ftp_port": free_port()}

    def start(self):
        client, peer = (f"http://127.0.0.1:{port}" for port in (self.etcd_port, self.etcd_peer_port))
        etcd = self.room.spawn("etcd", [
            "etcd", "--data-dir", "data", "--listen-client-urls", client, "--advertise-client-urls", client,
            "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster",
            f"default={peer}", "--log-level", "warn"], self.room.cores.generator)
        wait_for(lambda: accepts(self.etcd_port), etcd, "etcd")
        return super().start()


class Redis(Server):
    title = "redis"
    protocol = "redis"
    durability = ["--save", "", "--appendonly", "no"]

    def command(self):
        return ["redis-server", "--port", self.port, "--bind", "127.0.0.1", "--dir", self.directory,
                "--daemonize", "no", *self.durability]


class RedisAof(Redis):
    """Its rewrites would be made by another process, whose time is not counted; there are none."""

    title = "redis, appendfsync everysec"
    durability = ["--save", "", "--appendonly", "yes", "--appendfsync", "everysec",
                  "--auto-aof-rewrite-percentage", "0"]


class Memcached(Server):
    title = "memcached, 1 thread"
    protocol = "memcached"

    def command(self):
        # Root has to be told to stay root, as which all others run then too: a process that changes its
        # user is not ended with its parent any more.
        user = ["-u", "root"] if os.geteuid() == 0 else []
        return ["memcached", "-l", "127.0.0.1", "-p", self.port, "-U", "0", "-t", "1", "-m", "2048",
                "-I", "2m", "-c", "2048", *user]


class ErlangRival(Server):
    protocol = "erlang"

    def __init__(self, room, name):
        super().__init__(room, name)
        self.node = f"{name}@localhost"

    def is_ready(self):
        return "ready" in output_of(self.process).splitlines()


class EiNode(ErlangRival):
    title = "`ei`, thread per connection"

    def command(self):
        return [self.room.build / "test/bench/ei_node", self.node]


class EtsNode(ErlangRival):
    """Without the busy waiting of idle schedulers, which would count as CPU of the requests."""

    title = "Erlang/OTP and ETS"

    def command(self):
        return ["erl", "+S", "1:1", "+sbwt", "none", "+sbwtdcpu", "none", "+sbwtdio", "none", "-noshell",
                "-sname", self.node, "-start_epmd", "false", "-pa", self.room.build / "test/bench",
                "-s", "ets_node"]


class Echo(Server):
    title = "echo, no server at all"
    protocol = "echo"

    def command(self):
        return [self.room.build / "test/bench/echo_server", self.port]


class Loopback(Server):
    """Plain send and receive: brain-bench makes the other end by itself."""

    title = "plain loopback TCP"
    protocol = "tcp"
    target = None
    pid = None

    def start(self):
        return self

    def check(self):
        pass

    def settle(self, seconds=0):
        pass


KINDS = {
    "brain": Brain, "brain-journal": BrainJournal,
    "brain-cluster": BrainCluster, "redis": Redis, "redis-aof": RedisAof,
    "memcached": Memcached, "ei": EiNode, "ets": EtsNode, "echo": Echo, "tcp": Loopback,
}


def start(room, kind):
    return KINDS[kind](room, kind).start()


