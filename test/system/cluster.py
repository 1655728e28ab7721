"""Clusters for the tests: etcd, a warehouse that all share, and N members; on loopback, or each on a host of its
own in a network that can be cut (netlab).

    cluster = new_cluster(3, backups=1)          # the fixture stops it, and checks every member's end
    a, b, c = cluster.members
    with a.client() as client: ...
    a.kill(); a.start(); b.pause(); b.resume(); cluster.wait_joined(a, c)
    cluster.owner_of(b"id")                      # a Member, or None
    new_cluster(3, lab=True); cluster.cut(a, b); cluster.cut_one_way(a, b); cluster.cut(a, "etcd"); cluster.heal()
"""
import contextlib
import signal
import subprocess
import time

import etf
from dist_client import Closed
from etcd import Etcd
from etf import Atom
from ftp_server import FtpServer
from harness import COOKIE, RELEASE_BUILD, Epmd, wait_until
from netlab import Lab
from nodes import Node
from workload import FastClient

LEASE = 2.0  # s; the shortest that etcd grants
MEMBER_KEYS = "brain/member/"

# A request waits no longer than a client of the tests; dumps that fail are tried again soon.
OPTIONS = {"manager_lease": int(LEASE * 1000), "server_exec_timeout": 4000, "dump_retry_min": 50, "dump_retry_max": 500,
           "drain_timeout": 30000, "ftp_timeout": 5000, "tick_interval": 1000, "tick_timeout": 4000}
PATIENCE = 6  # s until an answer is given up: longer than server_exec_timeout


class Member(Node):
    def __init__(self, cluster, number, epmd, host, build, options):
        self.cluster, self.number, self.host = cluster, number, host
        self.address = host.address if host else "127.0.0.1"
        super().__init__(cluster.directory / f"member{number}", epmd, build,
                         f"n{number}@{self.address if host else 'localhost'}", **options)
        self.prefix = host.prefix if host else []
        self.paused = False

    def __repr__(self):
        return self.name

    @property
    def port(self):
        return self.server.port

    def client(self, **arguments):
        if self.host:
            arguments.update(host=self.address, opener=self.host.connect)
        return FastClient(self.port, COOKIE, **arguments)

    def ask(self, request, timeout=10):
        with self.client() as client:
            return client.call(request, timeout)

    def info(self, timeout=3):
        return {str(key): value for key, value in self.ask(Atom("info"), timeout).items()}

    def metric(self, group, name):
        return self.info()[group][name]

    # ---- what happens to it ---------------------------------------------------------------------

    def pause(self):
        self.server.send_signal(signal.SIGSTOP)
        self.paused = True

    def resume(self):
        self.server.send_signal(signal.SIGCONT)
        self.paused = False

    def kill(self):
        super().kill()
        self.paused = False


class Cluster:
    def __init__(self, directory, count, backups=1, lab=False, store=None, build=RELEASE_BUILD, start=True, **options):
        """store: options of a warehouse, or what makes them, called with the lab; None: an FTP server of its own."""
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.members, self.epmds = [], []
        self.lab = self.etcd = self.ftp = None
        self.closing = contextlib.ExitStack()
        try:
            if lab:
                self.lab = self.closing.enter_context(
                    Lab(*(f"n{number}" for number in range(1, count + 1)), "etcd", "store"))
            self.etcd = Etcd(directory, host=self.lab and self.lab["etcd"])
            self.closing.callback(self.etcd.stop)
            self.etcd.start(wait=False)
            if store is None:
                self.ftp = self.closing.enter_context(FtpServer(directory / "ftp", host=self.lab and self.lab["store"]))
                store = {"warehouse_manager": "ftp", "ftp_host": self.ftp.address, "ftp_port": self.ftp.port,
                         "ftp_user": self.ftp.user, "ftp_pass": self.ftp.password}
            elif callable(store):
                store = store(self.lab)
            self.options = {**OPTIONS, "manager_enable": "true", "manager_servers": self.etcd.url,
                            "backups": backups, **store, **options}
            if not lab:
                self.new_epmd()
            for number in range(1, count + 1):
                self.add(number, build)
            wait_until(self.etcd.is_healthy, timeout=30, what="etcd")
            if start:
                self.start()
        except BaseException:
            self.finish(failed=True)
            raise

    def new_epmd(self, host=None):
        made = Epmd(host)
        self.epmds.append(made)
        self.closing.callback(made.stop)
        return made

    def add(self, number, build=RELEASE_BUILD, **options):
        """One more member, not started."""
        host = self.lab and self.lab[f"n{number}"]
        epmd = self.new_epmd(host) if host else self.epmds[0]
        more = {"listen_address": host.address} if host else {}
        made = Member(self, number, epmd, host, build, {**self.options, **more, **options})
        self.members.append(made)
        return made

    def start(self, *members, timeout=30):
        members = members or self.members
        for member in members:
            member.start(wait=False)
        for member in members:
            member.server.wait_ready(timeout)
        self.wait_joined(*(member for member in self.members if member.alive))

    # ---- what there is --------------------------------------------------------------------------

    def keys(self):
        """Names of the members, as etcd has them."""
        return {key.removeprefix(MEMBER_KEYS) for key in self.etcd.keys(MEMBER_KEYS)}

    def wait_keys(self, *members, timeout=20):
        names = {member.name for member in members}
        wait_until(lambda: self.keys() == names, timeout, f"members {sorted(names)}")

    def wait_joined(self, *members, timeout=20):
        """Until etcd has exactly these, and all of them serve in a view of that many, with every slot open."""
        members = members or tuple(self.members)
        deadline = time.monotonic() + timeout
        self.wait_keys(*members, timeout=timeout)
        for member in members:
            wait_until(lambda one=member: self.is_settled(one, len(members)), max(deadline - time.monotonic(), 0.1),
                       f"{member} in a view of {len(members)}")

    @staticmethod
    def is_settled(member, count):
        try:
            state = member.info()["cluster"]
        except (OSError, Closed, TimeoutError):
            return False
        return state["members"] == count and state["serving"] == 1 and state["slots_open"] == state["slots"]

    def by_name(self, name):
        return next((member for member in self.members if member.name == str(name)), None)

    def owner_of(self, id, via=None):
        """As a member that is alive says; None: nobody's."""
        via = via or next(member for member in self.members if member.alive and not member.paused)
        answer = via.ask((Atom("owner"), id), PATIENCE)
        if answer == "ko":
            return None
        assert isinstance(answer, tuple) and answer[0] == "ok", answer
        return self.by_name(answer[1])

    def owned_by(self, member, count, prefix=b"owned", via=None):
        """`count` fresh ids that `member` owns, each with a value that was written through it."""
        ids = []
        with member.client() as client:
            for number in range(count):
                id = prefix + b":%d" % number
                answer = client.call((Atom("set"), id, (id, 0)), PATIENCE)
                assert answer == "ok", answer
                ids.append(id)
        for id in ids[:3]:
            assert self.owner_of(id, via or member) is member
        return ids

    # ---- the network ----------------------------------------------------------------------------

    def host_name(self, one):
        return one if isinstance(one, str) else one.host.name

    def cut(self, one, *others):
        self.lab.cut(self.host_name(one), *map(self.host_name, others))

    def cut_one_way(self, source, *targets):
        self.lab.cut_one_way(self.host_name(source), *map(self.host_name, targets))

    def heal(self):
        self.lab.heal()

    # ---- the end --------------------------------------------------------------------------------

    def finish(self, failed=False):
        """All members stop at the same time: a clean end each, or the first problem is raised."""
        problems = []
        with self.closing:
            if self.lab:
                self.lab.heal()
            for member in self.members:
                if not member.alive:
                    continue
                if member.paused:
                    member.resume()
                if failed:
                    member.kill()
                else:
                    member.server.send_signal(signal.SIGTERM)
            for member in self.members:
                try:
                    if member.alive:
                        try:
                            member.server.wait(40)
                        except subprocess.TimeoutExpired:
                            problems.append(AssertionError(f"{member} does not stop"))
                            member.kill()
                    member.finish()
                except Exception as problem:  # noqa: BLE001 - all are stopped before the first is told
                    problems.append(problem)
        if problems:
            raise problems[0]


def put(client, id, value, ack=None):
    return client.call((Atom("set"), id, value, *([[(Atom("ack"), Atom(ack))]] if ack else [])), PATIENCE)


def read(client, id, weak=False):
    return client.call((Atom("get"), id, *([[(Atom("consistency"), False)]] if weak else [])), PATIENCE)


def value_of(answer):
    """What {ok, Value} holds, decoded."""
    assert isinstance(answer, tuple) and answer[0] == "ok", answer
    return etf.decode(answer[1]) if isinstance(answer[1], etf.Raw) else answer[1]
