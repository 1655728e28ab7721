"""What scripts/dev-cluster runs: etcd, a warehouse, perhaps an epmd, and N nodes; until Ctrl-C, SIGTERM or the end of
any of the servers that all need. Stops what it started, by pid, also when it fails half-way."""
import argparse
import contextlib
import os
import pathlib
import random
import shlex
import shutil
import signal
import socket
import string
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "test" / "system"))

from dist_client import epmd_port_of  # noqa: E402
from etcd import Etcd  # noqa: E402
from ftp_server import FtpServer  # noqa: E402
from harness import die_with_parent, wait_until  # noqa: E402
from radosgw import Radosgw  # noqa: E402

SERVER = ROOT / "build" / "cnode" / "server" / "brain-server"
CONSOLE = ROOT / "build" / "cnode" / "tools" / "brain-console"
MEMBERS = "brain/member/"
START_SECONDS = 30
STOP_SECONDS = 70  # a little more than drain_timeout


class Stop(Exception):
    """Ctrl-C, or SIGTERM."""


def say(text):
    print(text, flush=True)


class Node:
    def __init__(self, name, directory, settings):
        self.name, self.directory = name, directory
        directory.mkdir(parents=True)
        self.log_path = directory / "log"
        words = [str(SERVER), "--set", f"node={name}", "--set", f"data_dir={directory / 'data'}"]
        for key, value in settings.items():
            words += ["--set", f"{key}={value}"]
        self.script = directory / "start"
        self.script.write_text("#!/bin/sh\nexec " + " \\\n    ".join(shlex.quote(word) for word in words) + "\n")
        self.script.chmod(0o755)
        self.process = None
        self.told = False

    def start(self):
        with open(self.log_path, "ab") as log:
            # A session of its own: Ctrl-C is for us, who then stop the nodes in peace.
            self.process = subprocess.Popen([self.script], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            cwd=self.directory, preexec_fn=die_with_parent, start_new_session=True)

    def ready(self):
        text = self.log_path.read_text(errors="replace")
        if self.process.poll() is not None:
            raise SystemExit(f"dev-cluster: {self.name} did not start:\n{text[-2000:]}")
        return f"ready {self.name} port" in text

    def ended(self):
        """True once, when the process has."""
        if self.told or self.process.poll() is None:
            return False
        self.told = True
        return True


def answers(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    except OSError:
        return False


def epmd_names(port):
    """Of all nodes that are registered with the epmd at this port of loopback."""
    with socket.create_connection(("127.0.0.1", port), timeout=2) as asked:
        asked.sendall(b"\0\1n")
        told = b""
        while data := asked.recv(65536):
            told += data
    return [line.split()[1] for line in told[4:].decode(errors="replace").splitlines() if line.startswith("name ")]


class DevCluster:
    def __init__(self, options, closing):
        self.options, self.closing = options, closing
        self.directory = self.make_directory()
        self.cookie = "".join(random.SystemRandom().choices(string.ascii_uppercase, k=20))
        cookie_file = self.directory / "cookie"
        cookie_file.touch(mode=0o600)
        cookie_file.write_text(self.cookie + "\n")
        self.epmd_port = int(os.environ.get("ERL_EPMD_PORT", 4369))
        self.nodes, self.members = [], {}
        names = [f"{options.name}{number}@localhost" for number in range(1, options.nodes + 1)]
        self.start_epmd(names)
        say(f"starting etcd and a warehouse ({options.warehouse})")
        self.etcd = self.kept(Etcd(self.directory), "stop").start(wait=False)
        settings = {"listen_address": "127.0.0.1", "secret_file": cookie_file, "epmd_port": self.epmd_port,
                    "epmd_start": "false", "manager_enable": "true", "manager_servers": self.etcd.url,
                    "manager_lease": options.lease, "backups": min(options.backups, options.nodes - 1),
                    **self.warehouse()}
        for setting in options.set:
            key, equals, value = setting.partition("=")
            if not equals:
                raise SystemExit(f'dev-cluster: --set {setting}: there is no "="')
            settings[key] = value
        wait_until(self.etcd.is_healthy, START_SECONDS, "etcd")
        self.nodes = [Node(name, self.directory / name.partition("@")[0], settings) for name in names]
        say(f"starting {len(names)} nodes; logs in {self.directory}/{options.name}*/log")
        closing.callback(self.stop_nodes)
        for node in self.nodes:
            node.start()
        wait_until(lambda: all(node.ready() for node in self.nodes), START_SECONDS, "the nodes")
        wait_until(self.watch_until_complete, START_SECONDS, "the cluster")

    def make_directory(self):
        if self.options.directory:
            directory = pathlib.Path(self.options.directory).absolute()
            directory.mkdir(parents=True, exist_ok=True)
            if any(directory.iterdir()):
                raise SystemExit(f"dev-cluster: {directory} is not empty")
            return directory
        directory = pathlib.Path(tempfile.mkdtemp(prefix="brain-dev-cluster."))
        self.closing.callback(shutil.rmtree, directory, ignore_errors=True)
        return directory

    def kept(self, one, ending):
        self.closing.callback(getattr(one, ending))
        return one

    def start_epmd(self, names):
        if answers(self.epmd_port):
            for name in names:
                if epmd_port_of(self.epmd_port, name.partition("@")[0]):
                    raise SystemExit(f"dev-cluster: there is a {name} already (epmd at port {self.epmd_port}); "
                                     "stop it, or choose others with --name")
            return
        # Not to end with us, come what may: other nodes may use it, as they would one that `erl` started.
        process = subprocess.Popen(["epmd", "-port", str(self.epmd_port), "-address", "127.0.0.1"], cwd="/",
                                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                   start_new_session=True)
        self.closing.callback(self.end_epmd, process)
        wait_until(lambda: answers(self.epmd_port), START_SECONDS, "epmd")

    def end_epmd(self, process):
        """After our nodes: stays while others (another dev-cluster, a shell) are registered with it."""
        with contextlib.suppress(OSError):
            if others := epmd_names(self.epmd_port):
                say(f"epmd stays: it is used by {', '.join(sorted(others))}")
                return
        if process.poll() is None:
            process.kill()
        process.wait()

    def warehouse(self):
        if self.options.warehouse == "ftp":
            ftp = self.kept(FtpServer(self.directory / "ftp"), "stop").start()
            return {"warehouse_manager": "ftp", "ftp_host": "127.0.0.1", "ftp_port": ftp.port, "ftp_user": ftp.user,
                    "ftp_pass": ftp.password}
        store = self.kept(Radosgw(self.directory / "radosgw"), "stop")
        return {"warehouse_manager": "s3", "s3_endpoint": store.endpoint, "s3_bucket": store.bucket,
                "s3_access_key": store.key, "s3_secret_key": store.secret}

    # ---- while it runs --------------------------------------------------------------------------

    def watch(self):
        """Says who came and went since the last call."""
        try:
            now = {key.removeprefix(MEMBERS): value for key, (value, _) in self.etcd.keys(MEMBERS).items()}
        except OSError:
            return
        # Taken before it is said: who reads "joined" may press Ctrl-C before we come back from saying it.
        before, self.members = self.members, now
        for name, value in sorted(before.items()):
            if now.get(name) != value:
                say(f"node {name} lost")
        for name, value in sorted(now.items()):
            if before.get(name) != value:
                say(f"node {name} joined")
        for node in self.nodes:
            if node.ended():
                say(f"node {node.name} ended with status {node.process.returncode}; "
                    f"its log: {node.log_path}; to start it again: {node.script}")

    def watch_until_complete(self):
        self.watch()
        return len(self.members) >= len(self.nodes)

    def how_to_connect(self):
        first, names = self.nodes[0].name, " ".join(node.name for node in self.nodes)
        port = "" if self.epmd_port == 4369 else f"ERL_EPMD_PORT={self.epmd_port} "
        call = f"gen_server:call({{brain, '{first}'}}, {{set, <<\"user:1\">>, hello}})"
        shown = call.replace('"', '\\"')
        say(f"""
nodes    {names}
cookie   {self.cookie}
any node answers for any object; one line each to try it:

erl      {port}erl -sname shell1 -setcookie {self.cookie} -eval "io:format(\\"~p~n\\", [{shown}])"
elixir   {port}iex --sname shell2 --cookie {self.cookie} -e 'IO.inspect GenServer.call({{:brain, :"{first}"}}, {{:get, "user:1"}})'
php      {port}php -r '$l = peb_connect("{first}", "{self.cookie}"); peb_send_byname("brain", peb_encode("[~a,~a,~s,~p,~a]", [["g", "true", "user:1", $l, "null"]]), $l); print_r(peb_decode(peb_receive($l, 1000)));'
console  {port}{CONSOLE} --node {first} --cookie-file {self.directory}/cookie get user:1

To see {self.nodes[-1].name} die: kill -9 {self.nodes[-1].process.pid}      Ctrl-C stops all of it.
""")

    def run(self):
        self.how_to_connect()
        while True:
            time.sleep(0.2)
            self.watch()
            if self.etcd.process.poll() is not None:
                raise SystemExit(f"dev-cluster: etcd ended, see {self.directory}/etcd.log")

    # ---- the end --------------------------------------------------------------------------------

    def stop_nodes(self):
        alive = [node for node in self.nodes if node.process and node.process.poll() is None]
        for name in sorted(self.members.keys() - {node.name for node in alive}):
            if epmd_port_of(self.epmd_port, name.partition("@")[0]):  # else its lease is all that is left
                say(f"node {name} was started elsewhere: stop it there, what it needs is about to end")
        if alive:
            say(f"stopping {len(alive)} nodes")
        for node in alive:
            node.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        try:
            while any(node.process.poll() is None for node in alive) and time.monotonic() < deadline:
                time.sleep(0.05)
        except Stop:
            say("once more: at once")
        for number in (signal.SIGINT, signal.SIGTERM):  # what is left is short, and is to be finished
            signal.signal(number, signal.SIG_IGN)
        for node in alive:
            if node.process.poll() is None:
                node.process.kill()
            status = node.process.wait()
            say(f"node {node.name} stopped" if status == 0 else f"node {node.name} ended with status {status}")


def parse():
    parser = argparse.ArgumentParser(prog="scripts/dev-cluster", description="a cluster on this machine, to try things out")
    parser.add_argument("nodes", type=int, nargs="?", default=3, metavar="N", help="how many nodes (3)")
    parser.add_argument("--backups", type=int, default=1, metavar="N", help="members that hold a changed object besides its owner (1)")
    parser.add_argument("--lease", type=int, default=5000, metavar="MS", help="manager_lease (5000)")
    parser.add_argument("--warehouse", choices=("ftp", "s3"), default="ftp", help="proftpd, or the RADOS Gateway of Ceph (slower to start)")
    parser.add_argument("--name", default="brain", help="NAME1@localhost, NAME2@localhost, ... (brain)")
    parser.add_argument("--directory", metavar="DIR", help="an empty one, which is kept; else a temporary one")
    parser.add_argument("--set", action="append", default=[], metavar="key=value", help="an option of every node")
    options = parser.parse_args()
    if not 1 <= options.nodes <= 32:
        parser.error("1 to 32 nodes")
    return options


def main():
    options = parse()

    def stop(*_):
        raise Stop

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    with contextlib.ExitStack() as closing:
        try:
            DevCluster(options, closing).run()
        except Stop:
            say("")
        except AssertionError as problem:
            raise SystemExit(f"dev-cluster: {problem}") from None
    say("everything is stopped")


if __name__ == "__main__":
    main()
