"""Real faults under load: members die, stand still and come back; etcd and the warehouse do.

The rows of the failure table (docs/decisions/0011-ownership.md, DESIGN: Cluster) have a test each, here or, where the
network is cut, in test_cluster_cuts.py. Everywhere the same is asked at the end: does an order of all operations
exist that one register per id could have had (history)? A write whose acknowledgement was heard is in it.

BRAIN_CLUSTER_LONG=1: longer faults and more rounds."""
import os
import random
import time

import pytest

from cluster import LEASE, PATIENCE, put, read, value_of
from cluster_load import Load
from etf import Atom
from fault_proxy import FtpProxy, lose_answer
from harness import BUILD, wait_until
from history import History
from workload import GONE

LONG = "BRAIN_CLUSTER_LONG" in os.environ
# s until others serve what a lost member owned. Each object is compared with what the warehouse has: on a busy machine
# 20 a second were, through FTP. A bound on how long is waited, not on how fast it should be.
BACK = LEASE + 25
STAYING = {"handoff_uses": 0}  # objects stay where they were first used
# What a request may be answered while an owner is lost; anything else is a problem.
WAITING = {"timeout", "unavailable", "unknown"}


def reason(answer):
    return str(answer[1]) if isinstance(answer, tuple) and answer[0] == "error" else None


def await_values(member, expected, seconds, also=(), waiting=WAITING):
    """Every id is read through `member` until it is answered: by its expected value (or one of `also`), within
    `seconds`; meanwhile it may be answered one of the errors `waiting`. Returns what each was."""
    deadline, found = time.monotonic() + seconds, {}
    while len(found) < len(expected):
        missing = [id for id in expected if id not in found]
        assert time.monotonic() < deadline, f"{len(missing)} of {len(expected)} ids, e.g. {missing[0]!r}, are not " \
            f"answered through {member} after {seconds} s"
        try:
            with member.client() as client:
                answers = client.pipeline([(Atom("get"), id) for id in missing], timeout=PATIENCE)
        except GONE:
            time.sleep(0.1)
            continue
        for id, answer in zip(missing, answers):
            if reason(answer) in waiting:
                continue
            value = None if answer == "ko" else value_of(answer)
            assert value == expected[id] or value in also, (id, value, expected[id])
            found[id] = value
        time.sleep(0.05)
    return found


def others(cluster, *members):
    return [member for member in cluster.members if member not in members]


# ---- owners, homes and holders die --------------------------------------------------------------

@pytest.mark.parametrize("sanitized", [False, True], ids=["release", "sanitized"])
def test_owner_dies(new_cluster, sanitized):
    """kill -9 under load: no acknowledged write is lost, and the others serve its objects when its lease is over."""
    cluster = new_cluster(3, backups=1, build=BUILD) if sanitized else new_cluster(3, backups=1)
    a, b, c = cluster.members
    ids = cluster.owned_by(a, 100)
    load = Load(cluster.members, ids=16)
    with load:
        time.sleep(1)
        a.kill()
        for member in (b, c):
            await_values(member, {id: (id, 0) for id in ids}, BACK)
        cluster.wait_joined(b, c)
        time.sleep(1)
        a.start()
        cluster.wait_joined()
        time.sleep(1)
    print(load.summary())
    assert {name for _, name in load.refused} <= WAITING
    assert min(load.answered[member.name] for member in cluster.members) > 50, load.summary()
    said = b.server.log + c.server.log
    assert "writes are refused" not in said  # nobody knows whether they were done
    assert not any(reason == "unknown" for _, reason in load.refused) or "writes had no answer from their owner" in said
    load.check(*cluster.members)
    await_values(a, {id: (id, 0) for id in ids}, BACK)


def test_home_dies(new_cluster):
    """The next home rebuilds the directory. Whoever owns an object goes on serving it meanwhile."""
    cluster = new_cluster(3, backups=1, **STAYING)
    a, b, c = cluster.members
    ids = cluster.owned_by(a, 90)  # c is the home of a third of them, and b knows where none is
    with a.client() as owner:
        for id in ids:
            assert put(owner, id, (id, 1), "warehouse") == "ok"
        c.kill()
        for id in ids:
            assert value_of(read(owner, id)) == (id, 1)
        await_values(b, {id: (id, 1) for id in ids}, BACK)
        cluster.wait_joined(a, b)
        for id in ids:
            assert put(owner, id, (id, 2)) == "ok"
            assert value_of(read(owner, id)) == (id, 2)
    await_values(b, {id: (id, 2) for id in ids}, PATIENCE)
    with b.client() as client:
        assert [put(client, b"new:%d" % number, number) for number in range(90)] == ["ok"] * 90


def test_owner_and_holder_die_together(new_cluster):
    """With one backup, and two lost at the same moment: the version of the warehouse, for those objects whose holder
    was the other one. What is served then is not taken back when the dead return with their journals."""
    cluster = new_cluster(3, backups=1, max_dirty_ms=0, key_ttl=600000, **STAYING)
    a, b, c = cluster.members
    ids = cluster.owned_by(a, 60)
    with a.client() as client:
        for id in ids:
            assert put(client, id, (id, 1), "warehouse") == "ok"
        for id in ids:
            assert put(client, id, (id, 2)) == "ok"
    a.kill()
    b.kill()
    found = await_values(c, {id: (id, 2) for id in ids}, BACK, also=[(id, 1) for id in ids])
    old = [id for id in ids if found[id] == (id, 1)]
    assert 0 < len(old) < len(ids), "each of the two others should hold some"
    cluster.start(a, b)
    for member in cluster.members:
        await_values(member, found, BACK)
    for id in ids:
        with b.client() as client:
            assert put(client, id, (id, 3)) == "ok"
    for member in cluster.members:
        await_values(member, {id: (id, 3) for id in ids}, BACK)


def test_two_of_five_die_with_two_backups(new_cluster):
    cluster = new_cluster(5, backups=2)
    a, b, c, d, e = cluster.members
    ids = cluster.owned_by(a, 50) + cluster.owned_by(b, 50, b"others")
    load = Load(cluster.members, ids=16, clients=5)
    with load:
        time.sleep(1)
        a.kill()
        b.kill()
        for member in (c, d, e):
            await_values(member, {id: (id, 0) for id in ids}, BACK)
        time.sleep(0.5)
    print(load.summary())
    load.check(c, d, e)
    cluster.start(a, b)
    load.check(a, b)


# ---- a member stands still ----------------------------------------------------------------------

def test_owner_pauses_past_its_lease(new_cluster):
    """SIGSTOP, and others take over; when it goes on it answers nothing strongly that is not so any more, writes
    nothing over what others wrote, and is a member again."""
    owner_pauses_past_its_lease(new_cluster(3, backups=1))


def owner_pauses_past_its_lease(cluster):
    a, b, c = cluster.members
    ids = cluster.owned_by(a, 30)
    load = Load(cluster.members, ids=12, home=[a, b, c] * 2)
    load.may_hang.add(a)
    with load, a.client() as held:
        time.sleep(1)
        a.pause()
        # They wait in its socket until it goes on.
        tags = {held.ask((Atom("get"), id)): id for id in ids}
        writes = {held.ask((Atom("set"), id, (id, "late".encode()))): id for id in ids[:10]}
        time.sleep(30 if LONG else LEASE + 0.5)
        await_values(b, {id: (id, 0) for id in ids}, BACK)
        with b.client() as client:
            for id in ids:
                assert put(client, id, (id, 1)) == "ok"
        a.resume()
        for _ in range(len(tags) + len(writes)):
            tag, answer = held.next_answer(30)
            if tag in tags:
                id = tags[tag]
                # The read may have been done again by whoever owned the object then.
                assert reason(answer) in WAITING or value_of(answer) in ((id, 1), (id, b"late")), (id, answer)
        cluster.wait_joined()
        time.sleep(1)
    print(load.summary())
    for id in ids[10:]:
        await_values(c, {id: (id, 1)}, PATIENCE)
    load.check(*cluster.members)


# ---- the warehouse ------------------------------------------------------------------------------

def test_dumps_answer_lost(new_cluster):
    """The dump arrived, its answer did not: it is looked for and found, nothing is taken for a foreign write."""
    cluster = new_cluster(2, backups=1, start=False)
    with FtpProxy((cluster.ftp.address, cluster.ftp.port)) as proxy:
        for member in cluster.members:
            member.options["ftp_port"] = proxy.port
        cluster.start()
        dumps_answer_lost(cluster, proxy, methods="RNTO", key="lost")
        cluster.finish()


def dumps_answer_lost(cluster, proxy, **where):
    a, b = cluster.members
    lost = proxy.add(lose_answer(), times=6, **where)
    with a.client() as client:
        for number in range(6):
            id = b"lost:%d" % number
            assert put(client, id, number, "warehouse") == "ok"
            assert value_of(read(client, id)) == number
    assert lost.hits == 6
    with b.client() as client:
        for number in range(6):
            id = b"lost:%d" % number
            assert client.call((Atom("persist"), id), PATIENCE) == "ok"
            assert value_of(read(client, id)) == number
            assert put(client, id, -number, "warehouse") == "ok"
            assert value_of(read(client, id)) == -number
    assert [member.metric("object", "dumps_late") for member in cluster.members] == [0, 0]


def test_the_warehouse_is_away(new_cluster):
    """It cannot be reached for longer than a lease: what is in RAM is served and written, moves and outlives its
    owner; afterwards everything is dumped."""
    cluster = new_cluster(3, backups=1, key_ttl=500)
    a, b, c = cluster.members
    ids = cluster.owned_by(a, 30)
    load = Load(cluster.members, ids=12)
    with load:
        time.sleep(1)
        cluster.ftp.stop()
        with a.client() as client:
            for id in ids:
                assert put(client, id, (id, 1)) == "ok"
        time.sleep(LEASE)
        a.kill()
        time.sleep(LEASE + 1)
        cluster.ftp.start()
        for member in (b, c):
            await_values(member, {id: (id, 1) for id in ids}, BACK + 5)
    print(load.summary())
    load.check(b, c)
    wait_until(lambda: all(member.metric("object", "dirty") == 0 for member in (b, c)), 20, "the dumps")


# ---- etcd ---------------------------------------------------------------------------------------

@pytest.mark.parametrize("away", [0, LEASE * 2], ids=["a moment", "longer than the lease"])
def test_etcd_dies_and_returns(new_cluster, away):
    """Without it the members serve until their leases end, then only what may be stale; they go on by themselves
    when it is back, also where a lease was lost meanwhile."""
    cluster = new_cluster(3, backups=1)
    a, b, c = cluster.members
    ids = cluster.owned_by(a, 30)
    load = Load(cluster.members, ids=12)
    with load:
        time.sleep(1)
        cluster.etcd.stop()
        time.sleep(away)
        if away:
            with a.client() as client:
                assert reason(client.call((Atom("get"), ids[0]), PATIENCE + 4)) in WAITING
                assert value_of(read(client, ids[0], weak=True)) == (ids[0], 0)
        cluster.etcd.start()
        for member in cluster.members:
            await_values(member, {id: (id, 0) for id in ids}, BACK)
        cluster.wait_joined()
        time.sleep(0.5)
    print(load.summary())
    load.check(*cluster.members)


def test_etcd_is_made_anew(new_cluster):
    """Its data is lost: revisions begin again, views and epochs with them. Nothing written before is lost, and what
    is written afterwards is newer."""
    cluster = new_cluster(3, backups=1)
    a, b, c = cluster.members
    for number in range(200):  # the new one begins far below
        cluster.etcd.put("x", str(number))
    a.stop()
    cluster.start(a)
    ids = cluster.owned_by(a, 30)
    with b.client() as client:
        for id in ids[:10]:
            assert put(client, id, (id, 1), "warehouse") == "ok"
    cluster.etcd.stop()
    cluster.etcd.wipe()
    cluster.etcd.start()
    before = {id: (id, 1) if id in ids[:10] else (id, 0) for id in ids}
    for member in cluster.members:
        await_values(member, before, BACK + 5)
    cluster.wait_joined()
    with c.client() as client:
        for id in ids:
            assert put(client, id, (id, 2), "warehouse") == "ok"
    for member in cluster.members:
        await_values(member, {id: (id, 2) for id in ids}, PATIENCE)


# ---- members come and go ------------------------------------------------------------------------

def test_rolling_restart(new_cluster):
    """SIGTERM to one after the other, under load: clients of the other nodes see no error at all."""
    cluster = new_cluster(3, backups=1)
    history = History()
    for round_number, leaving in enumerate(cluster.members):
        staying = others(cluster, leaving)
        load = Load(cluster.members, ids=16, home=staying * 3, seed=round_number, history=history)
        with load:
            time.sleep(0.7)
            leaving.stop()
            cluster.wait_joined(*staying)
            time.sleep(0.5)
            leaving.start()
            cluster.wait_joined()
            time.sleep(0.7)
        print(load.summary())
        assert {member.name: load.errors(member) for member in staying} == {member.name: {} for member in staying}
        assert min(load.answered[member.name] for member in staying) > 100
    load.check(*cluster.members)


def test_node_returns_with_a_dirty_journal(new_cluster):
    """Without backups, and killed: what it had acknowledged is in its journal, and comes back with it, where
    nobody has taken the object over."""
    cluster = new_cluster(3, backups=0, max_dirty_ms=0, key_ttl=600000, **STAYING)
    a, b, c = cluster.members
    ids = cluster.owned_by(a, 60)
    with a.client() as client:
        for id in ids[:40]:
            assert put(client, id, (id, 1), "warehouse") == "ok"
        for id in ids:
            assert put(client, id, (id, 2)) == "ok"
    # It returns before its lease is over: nobody was told anything else.
    a.kill()
    cluster.start(a)
    for member in cluster.members:
        await_values(member, {id: (id, 2) for id in ids}, BACK)
    # It returns late: others have the objects, as the warehouse had them. Theirs stay.
    with a.client() as client:
        for id in ids:
            assert put(client, id, (id, 3)) == "ok"
    owners = {id: cluster.owner_of(id, b) for id in ids}
    a.kill()
    cluster.wait_joined(b, c)
    mine = [id for id in ids if owners[id] is a]
    taken, free = mine[:len(mine) // 2], mine[len(mine) // 2:]
    assert len(taken) > 5
    with b.client() as client:
        for id in taken:
            assert put(client, id, (id, 4)) == "ok"
    cluster.start(a)
    for member in cluster.members:
        await_values(member, {**{id: (id, 4) for id in taken}, **{id: (id, 3) for id in free}}, BACK)


DIRTY = {"max_dirty_ms": 0, "key_ttl": 600000}  # nothing is persisted by itself


def test_all_die_at_once_and_return(new_cluster):
    """kill -9 of every member under load, nothing of it in the warehouse: who comes back first waits for the others, so
    from the first strong answer on nothing acknowledged is missing and nothing is older."""
    cluster = new_cluster(3, backups=1, **DIRTY)
    ids = [id for member in cluster.members for id in cluster.owned_by(member, 30, member.name.encode())]
    with cluster.members[0].client() as client:
        for id in ids[::2]:
            assert put(client, id, (id, "old".encode()), "warehouse") == "ok"
        for id in ids:
            assert put(client, id, (id, 1)) == "ok"
    load = Load(cluster.members, ids=16)
    with load:
        time.sleep(1)
        for member in cluster.members:
            member.kill()
        for member in cluster.members:
            member.start()
            time.sleep(LEASE + 0.5)
        await_values(cluster.members[0], {id: (id, 1) for id in ids}, BACK)
        cluster.wait_joined()
        time.sleep(0.5)
    print(load.summary())
    assert {name for _, name in load.refused} <= WAITING
    load.check(*cluster.members)
    for member in cluster.members:
        await_values(member, {id: (id, 1) for id in ids}, PATIENCE)
        assert member.metric("cluster", "not_back") == 0
    assert "members of the last view are not back yet" in cluster.members[0].server.log


def test_all_die_at_once_and_one_does_not_return(new_cluster):
    """After rejoin_wait the others go on without it, and say so; what nobody has taken over it still brings back."""
    cluster = new_cluster(3, backups=1, rejoin_wait=4000, **DIRTY)
    a, b, c = cluster.members
    ids = [id for member in cluster.members for id in cluster.owned_by(member, 20, member.name.encode())]
    owners = {id: cluster.owner_of(id, a) for id in ids}
    for member in cluster.members:
        member.kill()
    began = time.monotonic()
    a.start()
    b.start()
    here = {id: (id, 0) for id in ids if owners[id] is not c}
    assert 0 < len(here) < len(ids)
    for member in (a, b):
        await_values(member, here, BACK + 4)
    assert time.monotonic() - began > 4
    cluster.wait_joined(a, b)
    assert sum(member.metric("cluster", "not_back") for member in (a, b)) > 0
    assert any(f"1 members of the last view did not come back in rejoin_wait, 4000 ms: {c.name};" in member.server.log
               for member in (a, b))
    cluster.start(c)
    for member in cluster.members:
        await_values(member, {id: (id, 0) for id in ids}, BACK)
    assert c.metric("cluster", "not_back") == 0


def test_whoever_left_in_peace_waits_for_nobody(new_cluster):
    """All are stopped, one after the other and then at once; the first to come back serves at once."""
    cluster = new_cluster(3, backups=1, rejoin_wait=600000)
    a, b, c = cluster.members
    ids = cluster.owned_by(a, 20)
    for first in (a, c):
        if first is a:
            for member in cluster.members:
                member.stop()
        else:
            for member in cluster.members:
                member.server.send_signal()
            for member in cluster.members:
                assert member.server.wait(30) == 0
        cluster.start(first)
        await_values(first, {id: (id, 0) for id in ids}, PATIENCE)
        cluster.start(*others(cluster, first))
    assert all(member.metric("cluster", "not_back") == 0 for member in cluster.members)


def test_alone_and_killed(new_cluster):
    """A cluster of one without backups: its journal is all there is besides the warehouse."""
    cluster = new_cluster(1, backups=0)
    (a,) = cluster.members
    load = Load([a], ids=12, clients=4)
    with load:
        for _ in range(4 if LONG else 2):
            time.sleep(0.7)
            a.kill()
            cluster.start(a)
    print(load.summary())
    load.check(a)


if LONG:
    @pytest.mark.timeout(900)
    def test_many_faults(new_cluster):
        """Ten minutes of whatever happens, with four members and two backups."""
        source = random.Random(int(os.environ.get("BRAIN_CLUSTER_SEED", "1")))
        cluster = new_cluster(4, backups=2)
        for round_number in range(int(os.environ.get("BRAIN_CLUSTER_ROUNDS", "30"))):
            load = Load(cluster.members, ids=12, prefix=b"round%d" % round_number, seed=round_number)
            load.may_hang.update(cluster.members)
            with load:
                time.sleep(1)
                victims = source.sample(cluster.members, source.choice((1, 1, 2)))
                fault = source.choice(("kill", "kill", "stop", "pause", "etcd"))
                print(round_number, fault, victims)
                for victim in victims:
                    getattr(victim, fault, lambda: None)()
                if fault == "etcd":
                    cluster.etcd.stop()
                time.sleep(source.uniform(0, 2 * LEASE))
                if fault == "etcd":
                    cluster.etcd.start()
                for victim in victims:
                    if fault == "pause":
                        victim.resume()
                    elif fault != "etcd":
                        victim.start()
                cluster.wait_joined(timeout=30)
                time.sleep(1)
            load.check(*cluster.members)
