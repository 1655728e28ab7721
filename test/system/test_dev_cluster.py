"""scripts/dev-cluster as a developer sees it: in a terminal, with the lines that it prints, until Ctrl-C."""
import contextlib
import os
import pathlib
import pty
import re
import select
import signal
import subprocess
import time

import pytest

from harness import BUILD, ROOT, SANITIZER_OPTIONS, die_with_parent, free_port, wait_until


class Terminal:
    def __init__(self, *arguments, environment):
        self.output = ""
        self.status = None
        self.pid, self.device = pty.fork()
        if self.pid == 0:
            os.chdir("/")
            os.execve(ROOT / "scripts" / "dev-cluster", ["dev-cluster", *arguments], environment)

    def read(self, seconds):
        """False: nobody has the terminal open any more."""
        if select.select([self.device], [], [], seconds)[0]:
            try:
                data = os.read(self.device, 65536)
            except OSError:
                data = b""
            self.output += data.decode(errors="replace").replace("\r\n", "\n")
            return bool(data)
        return True

    def wait(self, pattern, seconds):
        deadline = time.monotonic() + seconds
        while not (found := re.search(pattern, self.output, re.MULTILINE)):
            assert time.monotonic() < deadline and self.read(0.1), f"/{pattern}/ was not said:\n{self.output}"
        return found

    def wait_end(self, seconds):
        deadline = time.monotonic() + seconds
        while self.read(0.1):
            assert time.monotonic() < deadline, self.output
        self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.status

    def close(self):
        if self.status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.device)


def processes_of(directory):
    """What runs in the directory, or with it in its command."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and (str(directory) in os.readlink(entry / "cwd") or
                                         str(directory).encode() in (entry / "cmdline").read_bytes()):
                found.append((entry.name, (entry / "cmdline").read_bytes()))
    return found


@pytest.fixture
def environment(tmp_path):
    (tmp_path / "tmp").mkdir()
    (tmp_path / "home").mkdir()
    return {**os.environ, "TMPDIR": str(tmp_path / "tmp"), "HOME": str(tmp_path / "home"),
            "ERL_EPMD_PORT": str(free_port()), "TERM": "dumb"}


@pytest.fixture
def terminal(environment):
    opened = []

    def open_one(*arguments):
        opened.append(Terminal(*arguments, environment=environment))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


def run(line, environment, wanted, directory):
    """A shell stays open until it has said what is wanted; its input ends then."""
    output = directory / "line.log"
    with open(output, "wb") as log:
        process = subprocess.Popen(["sh", "-c", line], stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment,
                                   preexec_fn=die_with_parent)
    try:
        wait_until(lambda: re.search(wanted, output.read_text(errors="replace"), re.MULTILINE), 30, f"{wanted} of {line}")
    finally:
        process.stdin.close()
        process.wait(30)


def php_line(terminal, environment):
    """There is no PHP here: what the line says is said by ei, as Peb does, to the node and with the cookie of the line."""
    line = terminal.wait("^php +(.*)$", 1)[1]
    port, node, cookie, form = re.fullmatch(
        r'ERL_EPMD_PORT=(\d+) php -r \'\$l = peb_connect\("([^"]+)", "([^"]+)"\); '
        r'peb_send_byname\("brain", peb_encode\("([^"]+)", \[\["g", "true", "user:1", \$l, "null"\]\]\), \$l\); '
        r"print_r\(peb_decode\(peb_receive\(\$l, 1000\)\)\);'", line).groups()
    client = (ROOT / "test/system/peb_client.c").read_text()
    assert f'"{{{form[1:-1]}}}"' in client, f"peb_client does not send {form}"
    assert terminal.wait("^cookie +(.*)$", 1)[1] == cookie
    done = subprocess.run([str(BUILD / "test/system/peb_client"), node, cookie], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, check=False,
                          env={**environment, **SANITIZER_OPTIONS, "ERL_EPMD_PORT": port})
    assert done.returncode == 0, done.stdout.decode(errors="replace")


def test_three_nodes_until_ctrl_c(terminal, environment, tmp_path):
    one = terminal("3", "--lease", "2000")
    one.wait("Ctrl-C stops all of it", 60)
    names = [f"brain{number}@localhost" for number in (1, 2, 3)]
    assert one.wait("^nodes +(.*)$", 1)[1].split() == names
    for name in names:
        assert f"node {name} joined" in one.output
    # Each line as it stands there.
    run(one.wait("^erl +(.*)$", 1)[1], environment, "(^|> )ok$", tmp_path)
    run(one.wait("^elixir +(.*)$", 1)[1], environment, "{:ok, :hello}", tmp_path)
    php_line(one, environment)
    run(one.wait("^console +(.*)$", 1)[1], environment, "^hello$", tmp_path)
    # One dies, and comes back.
    os.kill(int(one.wait(r"kill -9 (\d+)", 1)[1]), signal.SIGKILL)
    script = one.wait("^node brain3@localhost ended with status -9; .* to start it again: (.*)$", 10)[1]
    one.wait("^node brain3@localhost lost$", 15)
    again = subprocess.Popen([script], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        one.wait("lost\n(.*\n)*node brain3@localhost joined$", 15)
        assert processes_of(tmp_path)
        os.write(one.device, b"\x03")
        one.wait("^node brain3@localhost was started elsewhere: stop it there", 15)
    finally:
        # It is not one that the script started. What the others handed over to it has nowhere to go when etcd and the
        # warehouse are stopped: a drain would last for drain_timeout.
        again.kill()
        again.wait(30)
    assert one.wait_end(60) == 0, one.output
    assert "node brain1@localhost stopped" in one.output and "node brain2@localhost stopped" in one.output
    assert one.output.endswith("everything is stopped\n")
    wait_until(lambda: processes_of(tmp_path) == [], what="the end of all processes")
    assert list((tmp_path / "tmp").iterdir()) == []


def test_two_side_by_side(terminal, environment, tmp_path):
    """The second uses the epmd of the first, and goes on with it when the first is stopped."""
    first = terminal("1", "--lease", "2000")
    first.wait("Ctrl-C stops all of it", 60)
    second = terminal("2", "--lease", "2000", "--name", "other")
    second.wait("Ctrl-C stops all of it", 60)
    try:
        os.write(first.device, b"\x03")
        assert first.wait_end(60) == 0, first.output
        assert "epmd stays: it is used by other1, other2\n" in first.output
        run(second.wait("^erl +(.*)$", 1)[1], environment, "(^|> )ok$", tmp_path)
        os.write(second.device, b"\x03")
        assert second.wait_end(60) == 0, second.output
    finally:
        subprocess.run(["epmd", "-port", environment["ERL_EPMD_PORT"], "-kill"], stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=10, check=False)
    wait_until(lambda: processes_of(tmp_path) == [], what="the end of all processes")


def test_it_leaves_nothing_when_it_fails_half_way(terminal, tmp_path):
    one = terminal("2", "--set", "key_ttl=soon")
    assert one.wait_end(60) == 1
    assert 'did not start:\nbrain-server: --set: key_ttl: "soon" is not a number' in one.output
    wait_until(lambda: processes_of(tmp_path) == [], what="the end of all processes")
    assert list((tmp_path / "tmp").iterdir()) == []
