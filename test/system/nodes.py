"""Servers that are killed and come back: one data directory, one set of options, many processes."""
import os
import pathlib
import signal
import subprocess
import time

from harness import RELEASE_BUILD, Epmd, Server, die_with_parent


class Node:
    """`start` and `kill` as often as wanted; `finish` at the end of the test."""

    def __init__(self, directory, epmd, build=RELEASE_BUILD, name="brain@localhost", **options):
        self.directory, self.name = pathlib.Path(directory), name
        self.directory.mkdir(parents=True, exist_ok=True)
        self.epmd, self.build, self.options = epmd, build, options
        self.environment, self.prefix = {}, []
        self.servers = []
        self.starts = []       # seconds each start took
        self.data = self.directory / "data"
        self.journal = self.data / "journal"

    @property
    def server(self):
        return self.servers[-1]

    @property
    def alive(self):
        return bool(self.servers) and self.server.process is not None and self.server.process.poll() is None

    def start(self, wait=True, preexec=None, **options):
        made = Server(self.directory, self.epmd.port, {**self.options, **options}, self.build,
                      environment=self.environment, node=self.name)
        made.command = self.prefix + made.command
        self.servers.append(made)
        begin = time.monotonic()
        if preexec is None:
            made.start(wait=False)
        else:
            def before():
                die_with_parent()
                preexec()
            with open(made.log_path, "wb") as log:
                made.process = subprocess.Popen(
                    made.command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                    cwd=made.directory, env=made.environment, preexec_fn=before)
        if wait:
            made.wait_ready(60)
            self.starts.append(time.monotonic() - begin)
        return made

    def kill(self):
        server = self.server
        server.expected_status = -signal.SIGKILL
        server.send_signal(signal.SIGKILL)
        server.wait()
        server.check()

    def stop(self, **arguments):
        self.server.stop(**arguments)

    def finish(self):
        problems = []
        for server in self.servers:
            try:
                server.finish()
            except Exception as problem:  # noqa: BLE001 - all are stopped before the first is told
                problems.append(problem)
        for server in self.servers[-3:]:
            if server.log_path.exists():
                print(f"--- {server.log_path.name}\n{server.log[-3000:]}")
        if problems:
            raise problems[0]

    def segments(self):
        return sorted(self.journal.glob("*.log"))

    def refuses_to_start(self, **options):
        """The one sentence with which it ends."""
        server = self.start(wait=False, **options)
        server.expected_status = server.wait(20)
        server.check()
        assert server.expected_status > 0, server.log
        assert "ready" not in server.log
        return server.log


def anonymous_memory(server):
    """RssAnon: what the program itself took; mapped files are the kernel's to take back."""
    for line in pathlib.Path(f"/proc/{server.process.pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no RssAnon")


def can_mount():
    """Is a mount namespace to be had? Its command, or None."""
    for command in (["unshare", "-m"], ["unshare", "-r", "-m"]):
        if os.geteuid() != 0 and "-r" not in command:
            continue
        if subprocess.run([*command, "sh", "-c", "mount -t tmpfs none /mnt"], stdin=subprocess.DEVNULL,
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0:
            return command
    return None


__all__ = ["Epmd", "Node", "anonymous_memory", "can_mount"]
