"""`replicate`: ids that every member holds. Reads are local, writes go through the owner to all."""
import threading
import time

import pytest

from cluster import PATIENCE, Cluster, put, read, value_of
from dist_client import Closed
from etf import Atom
from harness import BUILD, wait_until

OK = Atom("ok")
GONE = (Closed, OSError, TimeoutError)


@pytest.fixture
def make(tmp_path):
    """Sanitized clusters; only the first `started` of the members run."""
    made = []

    def build(count, started=None, **options):
        cluster = Cluster(tmp_path / f"cluster{len(made)}", count, backups=1, build=BUILD, start=False,
                          **{"replicate": "conf:, rate:", **options})
        made.append(cluster)
        cluster.start(*cluster.members[:started])
        wait_readable(*cluster.members[:started])
        return cluster

    yield build
    for cluster in made:
        cluster.finish()


def wait_readable(*members):
    for member in members:
        wait_until(lambda one=member: one.metric("replica", "readable") == 1, 20, f"{member} to read its replicas")


def counts(member):
    info = member.info()
    return info["replica"]["hits"], info["cluster"]["forwards_sent"] + info["cluster"]["claims"]


def test_reads_are_local_after_an_acknowledged_write(make):
    cluster = make(3)
    a, b, c = cluster.members
    with a.client() as one, b.client() as two, c.client() as three:
        for number in range(50):
            assert put(one, b"conf:x", number) == "ok"
            assert read(two, b"conf:x") == read(three, b"conf:x") == (OK, number)
        large = bytes(range(256)) * 8000
        assert put(two, b"rate:large", large) == "ok"
        assert cluster.owner_of(b"rate:large") is b
        before = counts(c)
        for _ in range(10):
            assert read(three, b"rate:large") == (OK, large)
            assert read(three, b"conf:x") == (OK, 49)
        hits, asked = counts(c)
        assert hits == before[0] + 20 and asked == before[1]
        # A client sees its own writes, whoever owns the object, and whether or not it waited.
        for number in range(50):
            three.reg_send((Atom("s"), b"conf:x", (Atom("mine"), number)))
            assert read(three, b"conf:x") == (OK, (Atom("mine"), number))
        # Other ids are not replicated.
        assert put(one, b"user:conf:x", 1) == "ok"
        before = counts(c)
        assert read(three, b"user:conf:x") == (OK, 1)
        assert counts(c)[0] == before[0]


def test_nothing_idles_away_from_the_replicas(make):
    """The owner lets it go; others, and it too, still read it from RAM."""
    cluster = make(2, key_ttl=300)
    a, b = cluster.members
    with a.client() as one, b.client() as two:
        assert put(one, b"conf:x", b"kept") == "ok"
        wait_until(lambda: a.metric("object", "objects") == 0, 20, "the owner to drop it")
        before = [member.metric("object", "loads_found") for member in (a, b)]
        assert read(one, b"conf:x") == read(two, b"conf:x") == (OK, b"kept")
        assert [member.metric("object", "loads_found") for member in (a, b)] == before
        assert put(two, b"conf:x", b"changed") == "ok"
        assert read(one, b"conf:x") == (OK, b"changed")


def test_who_joins_gets_everything(make):
    count = 200
    cluster = make(3, started=2)
    a, b, c = cluster.members
    with a.client() as one, b.client() as two:
        for client, half in ((one, range(0, count, 2)), (two, range(1, count, 2))):
            answers = client.pipeline([(Atom("set"), b"conf:%d" % number, number) for number in half], timeout=30)
            assert set(answers) == {"ok"}
        stop, written = threading.Event(), {}

        def write():
            with a.client() as writer:
                number = 0
                while not stop.is_set():
                    number += 1
                    if put(writer, b"conf:%d" % (number % 20), (Atom("new"), number)) == "ok":
                        written[number % 20] = number

        thread = threading.Thread(target=write)
        thread.start()
        try:
            cluster.start(c)
            wait_readable(a, b, c)
        finally:
            stop.set()
            thread.join()
        assert written
        before = counts(c)
        with c.client() as three:
            answers = three.pipeline([(Atom("get"), b"conf:%d" % number) for number in range(count)], timeout=30)
        for number, answer in enumerate(answers):
            expected = (Atom("new"), written[number]) if number in written else number
            assert value_of(answer) == expected
        hits, asked = counts(c)
        assert hits - before[0] == count and asked == before[1]
        assert c.metric("replica", "objects") == count


class Writer(threading.Thread):
    """Writes one id, numbered; each member's readers must never see less than what was acknowledged."""

    def __init__(self, member, id, readers):
        super().__init__()
        self.id, self.stop, self.problems = id, threading.Event(), []
        self.issued = self.acknowledged = self.reads = 0
        self.member = member
        self.readers = [threading.Thread(target=self.read, args=(reader,)) for reader in readers]

    def connected(self, member, step):
        while not self.stop.is_set():
            try:
                with member.client() as client:
                    while not self.stop.is_set():
                        step(client)
            except GONE:
                time.sleep(0.05)

    def run(self):
        for reader in self.readers:
            reader.start()
        self.connected(self.member, self.write)
        for reader in self.readers:
            reader.join()

    def write(self, client):
        self.issued += 1
        number = self.issued
        if put(client, self.id, number) == "ok":
            self.acknowledged = number

    def read(self, member):
        self.connected(member, self.read_once)

    def read_once(self, client):
        least = self.acknowledged
        answer = read(client, self.id)
        if answer == "ko" and least > 0 or isinstance(answer, tuple) and answer[0] == "ok" and answer[1] < least:
            self.problems.append((answer, least))
        self.reads += 1


def test_the_owner_is_killed(make):
    cluster = make(3)
    a, b, c = cluster.members
    with a.client() as one:
        for number in range(20):
            assert put(one, b"conf:%d" % number, number) == "ok"
        assert one.call((Atom("delete"), b"conf:7"), PATIENCE) == "ok"
    writers = [Writer(b, b"conf:w1", (a, b, c)), Writer(c, b"conf:w2", (a, b, c)), Writer(a, b"conf:w3", (b, c))]
    for writer in writers:
        writer.start()
    try:
        for _ in range(2):
            time.sleep(2)
            a.kill()
            cluster.wait_joined(b, c)
            wait_readable(b, c)
            before = [writer.acknowledged for writer in writers[:2]]
            wait_until(lambda: all(writer.acknowledged > least for writer, least in zip(writers, before)), 20,
                       "writes without the member that was killed")
            a.start()
            cluster.wait_joined()
            wait_readable(*cluster.members)
    finally:
        for writer in writers:
            writer.stop.set()
        for writer in writers:
            writer.join()
    assert [writer.problems for writer in writers] == [[], [], []]
    assert all(writer.acknowledged > 20 and writer.reads > 100 for writer in writers)
    with a.client() as one, b.client() as two, c.client() as three:
        for number in range(20):
            answers = [read(client, b"conf:%d" % number) for client in (one, two, three)]
            assert answers == (["ko"] * 3 if number == 7 else [(OK, number)] * 3)


def test_a_delete_never_comes_back(make):
    cluster = make(3)
    a, b, c = cluster.members
    ids = [b"conf:%d" % number for number in range(20)]
    with a.client() as one, b.client() as two:
        for id in ids:
            assert put(one, id, id) == "ok"
        c.kill()  # with replicas, and perhaps copies, of all
        for id in ids:
            assert two.call((Atom("delete"), id), 30) == "ok"
        assert [read(one, id) for id in ids] == ["ko"] * len(ids)
    c.start()
    cluster.wait_joined()
    wait_readable(a, b, c)
    for gone in (a, b):
        for member in (a, b, c):
            with member.client() as client:
                assert [read(client, id) for id in ids] == ["ko"] * len(ids)
                weak = [(Atom("get"), id, [(Atom("consistency"), False)]) for id in ids]
                assert [client.call(request, PATIENCE) for request in weak] == ["ko"] * len(ids)
        gone.stop()
        gone.start()
        cluster.wait_joined()
        wait_readable(a, b, c)


def test_members_that_differ_read_from_the_owner(make):
    cluster = make(2, started=1)
    a, b = cluster.members
    b.options["replicate"] = "other:"
    cluster.start(b)
    with a.client() as one, b.client() as two:
        wait_until(lambda: "is not what this node has" in a.server.log, 20, "a line in the log")
        for number in range(20):
            assert put(two, b"conf:x", number) == "ok"
            assert read(one, b"conf:x") == (OK, number)
        assert a.metric("replica", "readable") == b.metric("replica", "readable") == 0


def test_write_wait_owner(make):
    cluster = make(2, write_wait="owner")
    a, b = cluster.members
    with a.client() as one, b.client() as two:
        for number in range(20):
            assert put(one, b"conf:x", number) == "ok"
            assert two.call((Atom("set"), b"conf:y", number), PATIENCE) == "ok"
            assert read(two, b"conf:y") == (OK, number)
        wait_until(lambda: read(two, b"conf:x") == (OK, 19), 10, "the last write on the other member")
        wait_until(lambda: read(one, b"conf:y") == (OK, 19), 10, "the last write on the other member")
