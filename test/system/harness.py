"""What the tests run: a private epmd, servers under test, real Erlang and Elixir nodes."""
import ctypes
import itertools
import os
import pathlib
import random
import re
import signal
import socket
import subprocess
import time

from dist_client import DistClient, epmd_port_of

COOKIE = "SYSTEMTESTCOOKIE"
ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("BRAIN_BUILD", ROOT / "build-test"))
RELEASE_BUILD = pathlib.Path(os.environ.get("BRAIN_RELEASE_BUILD", ROOT / "build"))
SANITIZER_STATUS = 99
SANITIZER_REPORT = re.compile(r"AddressSanitizer|LeakSanitizer|runtime error:|ThreadSanitizer|MemorySanitizer")
SANITIZER_OPTIONS = {
    "ASAN_OPTIONS": f"detect_leaks=1:abort_on_error=0:exitcode={SANITIZER_STATUS}:allocator_may_return_null=1",
    "UBSAN_OPTIONS": f"halt_on_error=1:print_stacktrace=1:exitcode={SANITIZER_STATUS}",
    "LSAN_OPTIONS": f"exitcode={SANITIZER_STATUS}",
}


LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1


def die_with_parent():
    """Between fork and exec: nothing that a test starts outlives the tests, however they end."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def ports_to_try():
    """Below those that the kernel gives to outgoing connections: one of those may be taken between the choice of
    the port and the start of its server. Test processes side by side choose from different ones."""
    lowest = 10000
    ends = pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    worker = int("".join(filter(str.isdigit, os.environ.get("PYTEST_XDIST_WORKER", ""))) or 0)
    ports = [port for port in range(lowest, int(ends[0])) if port % 16 == worker % 16]
    random.SystemRandom().shuffle(ports)
    return iter(ports)


PORTS = ports_to_try()


def free_port():
    """Each is given once."""
    for port in PORTS:
        with socket.socket() as listener:
            try:
                listener.bind(("127.0.0.1", port))
                return port
            except OSError:
                pass
    with socket.socket() as listener:  # the kernel's range leaves nothing else, or all were given
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_until(condition, timeout=10, what="the condition"):
    """Polls until `condition()` is true, and returns what it returned."""
    deadline = time.monotonic() + timeout
    while True:
        result = condition()
        if result:
            return result
        assert time.monotonic() < deadline, f"{what} did not come true in {timeout} s"
        time.sleep(0.02)


class Epmd:
    """epmd in the foreground, on a port of its own, stopped by its pid; on `host` (netlab.Host) instead of here."""

    def __init__(self, host=None):
        # All machines need the same.
        self.port = 4369 if host else free_port()
        self.host = host
        self.process = None
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            [*(self.host.prefix if self.host else []), "epmd", "-port", str(self.port), "-address",
             self.host.address if self.host else "127.0.0.1"], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=die_with_parent)
        wait_until(self.answers, what="epmd")

    def answers(self):
        try:
            opener = self.host.connect if self.host else socket.create_connection
            opener(("127.0.0.1", self.port), timeout=1).close()
            return True
        except OSError:
            return False

    def stop(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def port_of(self, alive):
        try:
            return epmd_port_of(self.port, alive)
        except OSError:
            return None


class Server:
    """One brain-server process. Its output, stdout and stderr together, is `self.log`."""

    counter = itertools.count(1)

    def __init__(self, directory, epmd_port, options=None, build=None, arguments=(), environment=None,
                 node="brain@localhost", secret=COOKIE):
        self.directory = pathlib.Path(directory)
        self.node = node
        self.cookie = secret
        self.log_path = self.directory / f"server-{next(self.counter)}.log"
        settings = {"node": node, "data_dir": self.directory / "data", "epmd_address": "127.0.0.1",
                    "epmd_port": epmd_port, "epmd_start": "false"}
        if secret is not None:
            settings["secret"] = secret
        settings.update(options or {})
        self.command = [str((build or BUILD) / "cnode/server/brain-server")]
        for key, value in settings.items():
            self.command += ["--set", f"{key}={value}"]
        self.command += list(arguments)
        self.environment = {**os.environ, **SANITIZER_OPTIONS, "HOME": str(self.directory),
                            **(environment or {})}
        self.expected_status = 0
        self.process = None
        self.port = None

    def start(self, wait=True, timeout=20):
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                cwd=self.directory, env=self.environment, preexec_fn=die_with_parent)
        if wait:
            self.wait_ready(timeout)
        return self

    @property
    def log(self):
        return self.log_path.read_text(errors="replace")

    def wait_ready(self, timeout=20):
        def ready():
            found = re.search(r"^ready (\S+) port (\d+)$", self.log, re.MULTILINE)
            assert found or self.process.poll() is None, f"the server ended:\n{self.log}"
            return found
        found = wait_until(ready, timeout, "ready")
        assert found[1] == self.node
        self.port = int(found[2])

    def wait_log(self, pattern, timeout=10):
        return wait_until(lambda: re.search(pattern, self.log), timeout, f"/{pattern}/ in the log")

    def send_signal(self, number=signal.SIGTERM):
        self.process.send_signal(number)

    def wait(self, timeout=60):
        return self.process.wait(timeout)

    def stop(self, number=signal.SIGTERM, timeout=60):
        """A clean stop: exit status 0, no sanitizer report."""
        self.send_signal(number)
        status = self.wait(timeout)
        self.check()
        assert status == 0, f"exit status {status}:\n{self.log[-4000:]}"

    def check(self):
        report = SANITIZER_REPORT.search(self.log)
        assert report is None, f"sanitizer report:\n{self.log[max(0, report.start() - 200):][:8000]}"

    def finish(self):
        """Called for every server when its test is over."""
        if self.process is None:
            return
        if self.process.poll() is None:
            try:
                self.stop()
            finally:
                if self.process.poll() is None:
                    self.process.kill()
                    self.process.wait()
        self.check()
        status = self.process.returncode
        assert status in (self.expected_status, 0), f"exit status {status}:\n{self.log[-4000:]}"

    def client(self, **arguments):
        return DistClient(self.port, self.cookie, **arguments)

    # ---- what the kernel says about it ----------------------------------------------------------

    def memory_bytes(self):
        for line in (pathlib.Path("/proc") / str(self.process.pid) / "status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no VmRSS")

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


class Beam:
    """Runs Erlang and Elixir programs as real nodes that see the private epmd."""

    counter = itertools.count(1)

    def __init__(self, directory, epmd_port, cookie=COOKIE):
        self.directory = pathlib.Path(directory)
        self.cookie = cookie
        self.environment = {
            **os.environ, "HOME": str(self.directory), "ERL_EPMD_PORT": str(epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1", "LC_ALL": "C.UTF-8", "ERL_CRASH_DUMP_SECONDS": "0"}

    def node_flags(self, names, cookie, host):
        name = f"c{os.getpid()}x{next(self.counter)}" + (f"@{host}" if host else "")
        return name, f"-{names} {name} -setcookie {cookie or self.cookie} -start_epmd false"

    def erl(self, body, functions="", names="sname", host="localhost", cookie=None, timeout=120,
            expect_success=True, flags=""):
        """Runs `body` (Erlang expressions) as main of an escript with the helpers of PRELUDE;
        returns what it printed. A failed match ends it with a message and fails the test."""
        name, node = self.node_flags(names, cookie, host)
        script = self.directory / f"{name.partition('@')[0]}.escript"
        script.write_text(f"#!/usr/bin/env escript\n%% -*- coding: utf-8 -*-\n%%! {node} {flags}\n"
                          f"{PRELUDE}\n{functions}\n\nmain(_) ->\n{body},\n    io:put_chars(\"\\nDONE\\n\").\n")
        return self.run(["escript", str(script)], timeout, expect_success)

    def elixir(self, body, names="sname", host="localhost", cookie=None, timeout=120, expect_success=True):
        name = f"x{os.getpid()}x{next(self.counter)}" + (f"@{host}" if host else "")
        script = self.directory / f"{name.partition('@')[0]}.exs"
        script.write_text(body + '\nIO.puts("\\nDONE")\n')
        return self.run(["elixir", f"--{names}", name, "--cookie", cookie or self.cookie, "--erl",
                         "-start_epmd false", str(script)], timeout, expect_success)

    def run(self, command, timeout, expect_success):
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=timeout, env=self.environment,
                              cwd=self.directory, check=False, preexec_fn=die_with_parent)
        output = done.stdout.decode(errors="replace")
        if expect_success:
            assert done.returncode == 0 and "DONE" in output, \
                f"exit status {done.returncode}:\n{output[-6000:]}"
        return output

    def start(self, body, functions="", timeout=20, ready="READY", name=None):
        """A node that lives beside the test: `body` prints READY when it is; returns the process."""
        flags = f"-sname {name or 'n%d@localhost' % next(self.counter)} -setcookie {self.cookie} -start_epmd false"
        number = next(self.counter)
        script = self.directory / f"beside{number}.escript"
        script.write_text(f"#!/usr/bin/env escript\n%% -*- coding: utf-8 -*-\n%%! {flags}\n{PRELUDE}\n"
                          f"{functions}\n\nmain(_) ->\n{body}.\n")
        output = open(self.directory / f"beside{number}.log", "wb")
        with output:
            process = subprocess.Popen(["escript", str(script)], stdin=subprocess.DEVNULL, stdout=output,
                                       stderr=subprocess.STDOUT, env=self.environment, cwd=self.directory,
                                       preexec_fn=die_with_parent)
        process.log = lambda: (self.directory / f"beside{number}.log").read_text(errors="replace")
        wait_until(lambda: ready in process.log() or process.poll() is not None, timeout, ready)
        assert process.poll() is None, process.log()
        return process


PRELUDE = r"""
-mode(compile).
-compile(nowarn_unused_function).
-define(NODE, list_to_atom(os:getenv("BRAIN_NODE", "brain@localhost"))).
-define(BRAIN, {brain, ?NODE}).

call(Request) -> gen_server:call(?BRAIN, Request, 20000).
call(Request, Timeout) -> gen_server:call(?BRAIN, Request, Timeout).
send(Message) -> ?BRAIN ! Message, ok.

%% The plain read of a shell: one answer, to this process.
read(Id) -> read(true, Id).
read(Consistency, Id) ->
    send({g, Consistency, Id, self(), null}),
    receive {ok, Value} -> {ok, Value}; ko -> ko after 10000 -> no_answer end.

tagged(Message) -> tagged(Message, make_ref()).
tagged(Message, Tag) ->
    send(erlang:append_element(erlang:append_element(Message, self()), Tag)),
    receive {Tag, Answer} -> Answer after 10000 -> no_answer end.

info() -> call(info).
metric(Group, Name) -> maps:get(Name, maps:get(Group, info())).

%% Polls until Fun() is true.
eventually(Fun) -> eventually(Fun, 100).
eventually(_, 0) -> error(never);
eventually(Fun, Tries) ->
    case Fun() of true -> ok; _ -> timer:sleep(100), eventually(Fun, Tries - 1) end.

%% Fun() must return within Ms.
quickly(Ms, Fun) ->
    {Micro, Result} = timer:tc(fun() -> try Fun() catch C:R -> {C, R} end end),
    Micro =< Ms * 1000 orelse error({took, Micro div 1000, ms, Result}),
    Result.
"""
