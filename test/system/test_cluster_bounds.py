"""What a member takes has bounds, also with the warehouse away: its journal has."""
import pytest

from cluster import PATIENCE, value_of
from etf import Atom
from harness import wait_until
from test_cluster_faults import await_values, put, read

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
    assert highest < JOURNAL + 4 * SEGMENT
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
