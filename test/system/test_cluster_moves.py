"""Objects move while the warehouse is out of reach (docs/decisions/0018): what was changed and is handed over is read
and written at its new owner all the same, and nothing is lost when the warehouse is back."""
import re
import signal
import time

import pytest

from cluster_load import Load
from fault_proxy import FtpProxy, late_answer
from ftp_server import FtpServer
from harness import wait_until
from test_cluster_faults import BACK, STAYING, WAITING, await_values, put, read, reason, value_of


def persisted(*members):
    for member in members:
        wait_until(lambda one=member: one.metric("object", "dirty") == 0, 30, f"the dumps of {member}")


def test_drain_while_the_warehouse_is_away(new_cluster):
    """SIGTERM under load: the member leaves in time, and what it owned is served by the others."""
    cluster = new_cluster(3, backups=1, ftp_timeout=1500, max_dirty_ms=2000)
    a, b, c = cluster.members
    load = Load(cluster.members, ids=12)
    with load:
        time.sleep(1)
        cluster.ftp.stop()
        ids = cluster.owned_by(a, 200)
        started = time.monotonic()
        a.server.send_signal(signal.SIGTERM)
        assert a.server.wait(40) == 0, a.server.log[-2000:]
        print(f"drained in {time.monotonic() - started:.1f} s")
        cluster.wait_keys(b, c)
        for member in (b, c):
            await_values(member, {id: (id, 0) for id in ids}, BACK)
        with c.client() as client:
            assert [put(client, id, (id, 1)) for id in ids] == ["ok"] * len(ids)
        await_values(b, {id: (id, 1) for id in ids}, BACK)
        assert sum(member.metric("cluster", "takeovers_complete") for member in (b, c)) >= len(ids)
        cluster.ftp.start()
    print(load.summary())
    load.check(b, c)
    persisted(b, c)
    cluster.start(a)
    await_values(a, {id: (id, 1) for id in ids}, BACK)


def test_all_stop_while_the_warehouse_is_away(new_cluster):
    """Nobody stays who could take it over, and it cannot be persisted: whoever is the last to have it says so instead of
    "everything is handed over", and brings it back."""
    cluster = new_cluster(3, backups=1, drain_timeout=3000, key_ttl=600000, max_dirty_ms=600000)
    ids = cluster.owned_by(cluster.members[2], 30)
    cluster.ftp.stop()
    for member in cluster.members:
        member.server.expected_status = 1
        member.server.send_signal(signal.SIGTERM)
    statuses = [member.server.wait(30) for member in cluster.members]
    left = [int(found[1]) for member in cluster.members
            if (found := re.search(r"stopped after drain_timeout: .* (\d+) objects were still owned", member.server.log))]
    assert statuses.count(1) == len(left) and sum(left) >= len(ids), (statuses, left)
    cluster.ftp.start()
    for member in cluster.members:
        member.options["drain_timeout"] = 30000  # how they end at last is not about a time that is too short
    cluster.start()
    for member in cluster.members:
        await_values(member, {id: (id, 0) for id in ids}, BACK)


def test_hand_off_while_the_warehouse_is_away(new_cluster):
    """One object follows its user, and comes back."""
    cluster = new_cluster(3, backups=1, ftp_timeout=1500, max_dirty_ms=2000, handoff_uses=4)
    a, b, _ = cluster.members
    cluster.ftp.stop()
    (id,) = cluster.owned_by(a, 1)
    for member in (b, a, b):
        with member.client() as client:
            for number in range(8):
                assert put(client, id, (id, member.number, number)) == "ok"
                assert value_of(read(client, id)) == (id, member.number, number)
        wait_until(lambda one=member: cluster.owner_of(id) is one, what=f"a move to {member}")
    cluster.ftp.start()
    persisted(*cluster.members)
    await_values(cluster.members[2], {id: (id, b.number, 7)}, BACK)


def test_owner_dies_while_the_warehouse_is_away(new_cluster):
    """Its last dump may be newer than the copies: they take writes, and are read when the warehouse is back. A read that
    finds its object being compared since before that may still be told how this ends: that the warehouse failed."""
    cluster = new_cluster(3, backups=1, ftp_timeout=1500, max_dirty_ms=2000, server_exec_timeout=1500, **STAYING)
    a, b, c = cluster.members
    cluster.ftp.stop()
    ids = cluster.owned_by(a, 20)
    a.kill()
    cluster.wait_joined(b, c)
    with b.client() as client:
        assert put(client, ids[0], (ids[0], 1)) == "ok"
        assert value_of(read(client, ids[0])) == (ids[0], 1)
        assert reason(read(client, ids[1])) in ("timeout", "warehouse")
    cluster.ftp.start()
    expected = {ids[0]: (ids[0], 1), **{id: (id, 0) for id in ids[1:]}}
    await_values(c, expected, 15, waiting=WAITING | {"warehouse"})
    persisted(b, c)
    for member in (b, c):  # and from now on nothing else is an answer
        await_values(member, expected, 5, waiting=())


def test_acknowledged_writes_alone_move_an_object(new_cluster):
    """Nothing but gen_server:call sets, one after the other, each of which waits for a holder: the object follows."""
    cluster = new_cluster(3, backups=1, handoff_uses=4, key_ttl=600000, max_dirty_ms=0)
    a, b, c = cluster.members
    ids = cluster.owned_by(a, 5)
    with b.client() as client:
        for number in range(12):
            for id in ids:
                assert put(client, id, (id, number)) == "ok"
    for id in ids:
        wait_until(lambda one=id: cluster.owner_of(one) is b, what=f"a move of {id} to {b}")
    await_values(c, {id: (id, 11) for id in ids}, BACK)


@pytest.fixture
def slow_store(tmp_path):
    """An FTP server of which each upload takes a second."""
    with FtpServer(tmp_path / "slow") as ftp, FtpProxy((ftp.address, ftp.port)) as proxy:
        proxy.add(late_answer(1), methods={"RNTO"})
        yield proxy, {"warehouse_manager": "ftp", "ftp_host": "127.0.0.1", "ftp_port": proxy.port, "ftp_user": ftp.user,
                      "ftp_pass": ftp.password}


def test_a_drain_does_not_wait_for_a_queue(slow_store, new_cluster):
    """Hundreds of dumps are in line at a slow store. Those that have not begun are taken back, and all is handed over."""
    proxy, store = slow_store
    cluster = new_cluster(3, backups=1, store=store, key_ttl=100, ftp_timeout=60000, **STAYING)
    a, b, c = cluster.members
    ids = cluster.owned_by(a, 400)
    wait_until(lambda: a.metric("object", "persisting") > 300, what="a queue of dumps")
    dumped = proxy.count(method="RNTO")
    started = time.monotonic()
    a.server.send_signal(signal.SIGTERM)
    assert a.server.wait(40) == 0, a.server.log[-2000:]
    print(f"drained in {time.monotonic() - started:.1f} s")
    # No more than was under way of a itself, and what its new owners wrote meanwhile.
    assert proxy.count(method="RNTO") - dumped < 200, "the drain waited for dumps"
    cluster.wait_keys(b, c)
    for member in (b, c):
        await_values(member, {id: (id, 0) for id in ids}, BACK)
    proxy.clear()
