"""What a member takes has bounds, also with the warehouse away: its RAM and its journal have."""
import resource
import signal

import pytest

from cluster import PATIENCE, value_of
from etf import Atom
from harness import wait_until
from nodes import anonymous_memory
from test_cluster_faults import await_values, put, read, reason
from test_memory_limit import LIMIT, OVERLOADED, bound
from test_memory_limit import value_of as sized_value

SEGMENT, JOURNAL = 1 << 18, 1 << 20


@pytest.mark.timeout(120)
def test_the_journal_of_a_member_that_handed_objects_over(new_cluster):
    """The records of what moved away lie in its oldest segment: they are written again, as those of its own objects
    are, and survive it."""
    cluster = new_cluster(3, backups=1, handoff_uses=2, key_ttl=600000, max_dirty_ms=0, journal_segment_size=SEGMENT,
                          journal_max_size=JOURNAL, journal_sync="always")
    a, b, c = cluster.members
    cluster.ftp.stop()
    moved = {b"moved:%d" % number: (b"moved", number) for number in range(60)}
    with a.client() as first, b.client() as second:
        for id, value in moved.items():
            assert put(first, id, value) == "ok"
        for id in moved:
            for _ in range(2):
                assert value_of(read(second, id)) == moved[id]
        for id, value in moved.items():  # without the warehouse it takes writes there, no reads
            assert put(second, id, value) == "ok"
    wait_until(lambda: a.metric("holdings", "records_kept") > 0, 10, "records of what has moved")
    highest, written = 0, 0
    own = {b"own:%d" % number: None for number in range(20)}
    with a.client() as client:
        while written < 8 * JOURNAL:
            for id in own:
                own[id] = (id, written, bytes(5000))
                written += 5000
            requests = [(Atom("set"), id, value, [(Atom("ack"), Atom("journal"))]) for id, value in own.items()]
            assert client.pipeline(requests, timeout=PATIENCE) == ["ok"] * len(own)
            highest = max(highest, a.metric("journal", "bytes"))
    info = a.info()["holdings"]
    print(f"{info['records_kept']} records kept for copies, {info['records_rewritten']} written again; {written >> 20} MiB written, "
          f"the journal had {highest >> 10} KiB at most")
    assert 0 < info["records_kept"] <= info["records_rewritten"]
    assert highest < 3 * JOURNAL  # it is looked at every 10 ms, of a machine that has the time
    # They come back with it: the others, and what they hold, are gone for good.
    a.kill()
    a.start()
    wait_until(lambda: a.metric("cluster", "members") == 3, 20, "it is back")
    assert a.metric("holdings", "records_kept") > 0
    cluster.ftp.start()
    for member in (a, c):
        await_values(member, {**moved, **own}, 30)
    for member in cluster.members:
        for id in (*moved, *own):
            member.ask((Atom("persist"), id), PATIENCE)
    wait_until(lambda: all(one.metric("holdings", "records_kept") == 0 for one in cluster.members), 40, "no copies")


@pytest.mark.timeout(180)
def test_memory_limit_of_members_without_a_warehouse(new_cluster):
    """Copies count: what does not fit is refused before it takes effect, by its owner; and whatever was acknowledged
    outlives a member."""
    # Clients say nothing while others are answered, which takes up to server_exec_timeout a time.
    cluster = new_cluster(3, backups=1, memory_limit=LIMIT, key_ttl=600000, max_dirty_ms=0, handoff_uses=0,
                          tick_timeout=120000)
    cluster.ftp.stop()
    size, count = 20_000, 300_000_000 // 20_000
    good, refused, unknown, highest = [], 0, 0, 0
    clients = [member.client() for member in cluster.members]
    for begin in range(0, count, 96):
        for which, client in enumerate(clients):
            numbers = range(begin + which * 32, begin + which * 32 + 32)
            answers = client.pipeline([(Atom("set"), number, sized_value(number, size)) for number in numbers], 32, 20)
            for number, answer in zip(numbers, answers):
                if answer == "ok":
                    good.append(number)
                elif answer == OVERLOADED:
                    refused += 1
                else:
                    assert reason(answer) in ("unknown", "timeout"), answer
                    unknown += 1
        highest = max(highest, *(anonymous_memory(member.server) for member in cluster.members))
    infos = [member.info() for member in cluster.members]
    print(f"{len(good)} taken, {refused} refused, {unknown} of unknown outcome; RssAnon at most {highest >> 20} MiB; "
          f"copies {[info['cluster']['copies_bytes'] >> 20 for info in infos]} MiB, refused "
          f"{[info['cluster']['copies_refused'] for info in infos]}, full {[info['cluster']['full'] for info in infos]}")
    assert refused > count // 2 and unknown < count // 50
    assert highest <= bound(LIMIT)
    assert all(info["cluster"]["copies_bytes"] > 0 for info in infos)
    assert len(good) * size > LIMIT, "it refuses too early"
    for client in clients:
        client.close()
    # What is here is read, from its owner and through others, and deleted.
    owner = cluster.members[0]
    with owner.client() as client:
        for number in good[::200]:
            assert client.call((Atom("get"), number), PATIENCE) == ("ok", sized_value(number, size))
        assert client.call((Atom("delete"), good[0]), PATIENCE) == "ok"
    cluster.ftp.start()
    cluster.members[1].kill()
    cluster.wait_joined(cluster.members[0], cluster.members[2])
    with owner.client() as client:
        for number in good[1:]:
            value = sized_value(number, size)

            def is_there(id=number, value=value):
                answer = client.call((Atom("get"), id), 10)
                assert reason(answer) in (None, "timeout", "unavailable", "warehouse"), answer
                if answer == ("ok", value):
                    return True
                assert reason(answer), (id, "lost")
                return False
            wait_until(is_there, 30, f"{number} is readable")
        wait_until(lambda: client.call((Atom("set"), b"after", 1), PATIENCE) == "ok", 60, "writes go on")


@pytest.mark.timeout(120)
def test_who_cannot_write_its_journal_is_named(new_cluster):
    """The disk of one member is full: the others' clients hear it from them, and their logs say whose disk it is."""
    cluster = new_cluster(2, start=False, backups=0, key_ttl=600000, max_dirty_ms=0, handoff_uses=0)
    a, b = cluster.members
    a.start(wait=False, preexec=lambda: signal.signal(signal.SIGXFSZ, signal.SIG_IGN))
    b.start(wait=False)
    for member in (a, b):
        member.server.wait_ready(30)
    cluster.wait_joined(a, b)
    (id,) = cluster.owned_by(a, 1)
    resource.prlimit(a.server.process.pid, resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
    with b.client() as client:
        wait_until(lambda: put(client, id, bytes(20000)) == (Atom("error"), Atom("journal")), 20, "a full disk")
    b.server.wait_log(f"writes are refused by {a.name}: the journal cannot be written", 10)
    assert "writes are refused by" not in a.server.log
    resource.prlimit(a.server.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    with b.client() as client:
        wait_until(lambda: put(client, id, 1) == "ok", 20, "writing again")
