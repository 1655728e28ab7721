"""A member dies that owns many changed objects, and the warehouse is slow: each of them is looked for there by whoever
holds its copy (R7, R8). Who reads one does not wait for the rest."""
import random
import threading
import time

import pytest

from cluster import LEASE, value_of
from fault_proxy import FtpProxy, late_answer
from ftp_server import FtpServer
from harness import wait_until
from test_cluster_faults import BACK, STAYING, await_values, read

OBJECTS = 600


@pytest.fixture
def slow_store(tmp_path):
    """An FTP server that takes a quarter of a second for each listing, of which each load has one: 16 loads a second of
    one member."""
    with FtpServer(tmp_path / "slow") as ftp, FtpProxy((ftp.address, ftp.port)) as proxy:
        proxy.add(late_answer(0.25), methods={"NLST"})
        yield proxy, {"warehouse_manager": "ftp", "ftp_host": "127.0.0.1", "ftp_port": proxy.port, "ftp_user": ftp.user,
                      "ftp_pass": ftp.password}


@pytest.mark.timeout(120)
def test_reads_of_what_a_dead_member_owned(slow_store, new_cluster):
    proxy, store = slow_store
    cluster = new_cluster(3, backups=1, store=store, key_ttl=600000, max_dirty_ms=0, ftp_timeout=3000,
                          server_exec_timeout=5500, **STAYING)
    a, b, c = cluster.members
    ids = cluster.owned_by(a, OBJECTS)
    wait_until(lambda: a.metric("cluster", "unbacked") == 0, what="copies of all")
    wanted = random.Random(1).sample(ids, 34)
    waits, problems = [], []

    def ask(member, id):
        """One read, which waits as long as it takes."""
        with member.client() as client:
            begin = time.monotonic()
            answer = read(client, id)
            waits.append(time.monotonic() - begin)
            if not (isinstance(answer, tuple) and answer[0] == "ok" and value_of(answer) == (id, 0)):
                problems.append((id, answer, waits[-1]))

    a.kill()
    readers = [threading.Thread(target=ask, args=(member, id)) for member, id in zip((b, c) * 2, wanted)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert not problems and max(waits) < LEASE + 3, (problems, waits)
    during = len(waits)
    wait_until(lambda: min(member.metric("cluster", "takeovers") for member in (b, c)) > 10, 10, "take-overs")
    for number, id in enumerate(wanted[during:]):
        ask((b, c)[number % 2], id)
    taken = sum(member.metric("cluster", "takeovers") for member in (b, c))
    print(f"waits at the death {max(waits[:during]):.2f} s at most, after it {max(waits[during:]):.2f} s; "
          f"{taken} of {OBJECTS} taken over by then")
    assert not problems and max(waits[during:]) < 3, (problems, waits)
    assert taken < OBJECTS, "the store was not slow enough for the test"
    proxy.clear()
    wait_until(lambda: sum(member.metric("object", "dirty") for member in (b, c)) == OBJECTS, 60, "the other take-overs")
    for member in (b, c):
        await_values(member, {id: (id, 0) for id in ids}, BACK)
    assert sum(member.metric("object", "loads_failed") for member in (b, c)) == 0
