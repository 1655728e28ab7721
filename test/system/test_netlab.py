"""The network of the cluster tests does what it says: whole, cut, cut in one direction, whole again."""
import os
import socket
import subprocess

import pytest

from harness import die_with_parent, wait_until
from needs import needs
from netlab import NEEDED, Lab, can_build

pytestmark = needs(can_build(), NEEDED)

ECHO = """
import socket, sys, threading
def serve(link):
    while data := link.recv(1000):
        link.sendall(data)
listener = socket.create_server((sys.argv[1], 7))
print("READY", flush=True)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""


def says(link, text, timeout=0.5):
    """Does it come back?"""
    link.sendall(text)
    link.settimeout(timeout)
    answer = b""
    try:
        while len(answer) < len(text):
            data = link.recv(1000)
            assert data
            answer += data
    except TimeoutError:
        return False
    assert answer == text
    return True


@pytest.fixture
def lab():
    with Lab("a", "b", "c") as made:
        yield made


@pytest.fixture
def echo(lab):
    """echo(source, target): a connection to a server that says everything back."""
    processes, links = [], []
    for host in lab.hosts.values():
        process = subprocess.Popen([*host.prefix, "/usr/bin/python3", "-c", ECHO, host.address],
                                   stdout=subprocess.PIPE, preexec_fn=die_with_parent)
        processes.append(process)
    for process in processes:
        assert process.stdout.readline() == b"READY\n"

    def connect(source, target):
        links.append(lab[source].connect((lab[target].address, 7)))
        return links[-1]

    yield connect
    for link in links:
        link.close()
    for process in processes:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_cut_and_whole_again(lab, echo):
    ab, bc = echo("a", "b"), echo("b", "c")
    assert says(ab, b"1") and says(bc, b"1")
    lab.cut("a", "b")
    assert not says(ab, b"2") and says(bc, b"2")
    with pytest.raises(TimeoutError):
        lab["a"].connect((lab["b"].address, 7), timeout=0.5)
    lab.heal()
    # What TCP kept is sent again, and the connection lives.
    ab.settimeout(20)
    assert ab.recv(1) == b"2"
    assert says(ab, b"3", timeout=10)


def test_a_cut_in_one_direction(lab, echo):
    ab, ba = echo("a", "b"), echo("b", "a")
    assert says(ab, b"1") and says(ba, b"1")
    lab.cut_one_way("a", "b")
    # b's words arrive at a, whose answers do not come through.
    assert not says(ba, b"2")
    with lab["a"].connect((lab["c"].address, 7)) as ac:
        assert says(ac, b"2")
    lab.heal("a")
    ba.settimeout(20)
    assert ba.recv(1) == b"2"


def test_nothing_is_left(lab):
    inside = {os.readlink(f"/proc/{host.holder.pid}/ns/net") for host in [*lab.hosts.values(), lab.switch]}
    assert len(inside) == 4
    assert not {name for _, name in socket.if_nameindex()} & {"bridge", "cable", "port1"}
    lab.close()

    def of_anybody():
        found = set()
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                try:
                    found.add(os.readlink(f"/proc/{entry}/ns/net"))
                except OSError:  # it has ended
                    pass
        return found
    wait_until(lambda: not inside & of_anybody(), what="the end of the namespaces")
