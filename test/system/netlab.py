"""A small network of hosts, each a network namespace of the kernel, on one bridge: cables that can be cut, also in
one direction only.

A namespace here has no name: it belongs to a process that waits for the end of its input, so it, its
cables and its addresses are gone when the tests are, however they end; nothing is seen from outside, and any number of labs
live side by side. Every host knows every other's Ethernet address from a table (no ARP); a cut is a wrong
entry in it: what is sent leaves, and arrives nowhere, as with a broken cable. No firewall is needed.

Needs root (or CAP_SYS_ADMIN and CAP_NET_ADMIN); `can_build()` says whether it may. Debian: iproute2, util-linux.
"""
import ctypes
import functools
import os
import socket
import subprocess
import threading

from harness import die_with_parent

NETWORK = "10.87.0"
NEEDED = "network namespaces and cables between them, which `unshare -n` and `ip link` may not make here: run as root"
LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000


@functools.cache
def can_build():
    probe = ["unshare", "-n", "sh", "-c", "ip link add bridge type bridge && ip link add one type veth peer name two"]
    return subprocess.run(probe, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                          check=False).returncode == 0


class Host:
    def __init__(self, lab, name, number):
        self.lab, self.name, self.number = lab, name, number
        self.address = f"{NETWORK}.{number}"
        self.ethernet = f"02:00:00:00:00:{number:02x}"
        self.holder = subprocess.Popen(["unshare", "-n", "cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                                       preexec_fn=die_with_parent)
        self.prefix = ["nsenter", "-t", str(self.holder.pid), "-n"]
        self.wait_apart()

    def wait_apart(self):
        """Until the holder has left our namespace."""
        ours = os.readlink("/proc/self/ns/net")
        for _ in range(500):
            if os.readlink(f"/proc/{self.holder.pid}/ns/net") != ours:
                return
            assert self.holder.poll() is None, "no network namespace"
            threading.Event().wait(0.01)
        raise AssertionError("no network namespace in 5 s")

    def ip(self, *lines):
        done = subprocess.run([*self.prefix, "ip", "-batch", "-"], input="\n".join(lines).encode() + b"\n", check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30)
        assert done.returncode == 0, (self.name, lines, done.stdout)

    def socket(self):
        """A TCP socket of this host's; it stays in the namespace of its making."""
        before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        inside = os.open(f"/proc/{self.holder.pid}/ns/net", os.O_RDONLY)
        try:
            self.enter(inside)
            try:
                return socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            finally:
                self.enter(before)
        finally:
            os.close(before)
            os.close(inside)

    def connect(self, address, timeout=10):
        """A connection as a process on this host would make it."""
        made = self.socket()
        try:
            made.settimeout(timeout)
            made.connect(address)
            made.settimeout(None)
        except BaseException:
            made.close()
            raise
        return made

    @staticmethod
    def enter(namespace):
        if LIBC.setns(namespace, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")

    def close(self):
        self.holder.stdin.close()
        self.holder.wait(10)


class Lab:
    """Lab("a", "b", ...): hosts that reach each other; `lab["a"]` is one of them."""

    def __init__(self, *names):
        self.hosts = {}
        self.switch = Host(self, "switch", 254)
        try:
            self.switch.ip("link add bridge type bridge", "link set bridge up")
            for number, name in enumerate(names, 1):
                self.add(name, number)
            for host in self.hosts.values():
                host.ip(*(f"neigh replace {self.right(other)}" for other in self.hosts.values() if other is not host))
        except BaseException:
            self.close()
            raise

    def add(self, name, number):
        host = self.hosts[name] = Host(self, name, number)
        self.switch.ip(f"link add port{number} type veth peer name cable netns {host.holder.pid}",
                       f"link set port{number} master bridge", f"link set port{number} up")
        host.ip("link set lo up", f"link set cable address {host.ethernet}", "link set cable up",
                f"address add {host.address}/24 dev cable")

    def __getitem__(self, name):
        return self.hosts[name]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        for host in [*self.hosts.values(), self.switch]:
            host.close()

    @staticmethod
    def right(other):
        return f"{other.address} lladdr {other.ethernet} dev cable nud permanent"

    @staticmethod
    def wrong(other):
        return f"{other.address} lladdr 02:00:00:00:ff:{other.number:02x} dev cable nud permanent"

    def cut_one_way(self, source, *targets):
        """What `source` sends to `targets` is lost; what they send arrives."""
        self.hosts[source].ip(*(f"neigh replace {self.wrong(self.hosts[target])}" for target in targets))

    def cut(self, one, *others):
        """Nothing passes between `one` and `others`, in either direction."""
        self.cut_one_way(one, *others)
        for other in others:
            self.cut_one_way(other, one)

    def heal(self, *names):
        """All cables (of these hosts) are whole again."""
        for host in self.hosts.values():
            rows = [f"neigh replace {self.right(other)}" for other in self.hosts.values() if other is not host
                    and (not names or host.name in names or other.name in names)]
            if rows:
                host.ip(*rows)
