"""A store that fails in every way: a real S3 server behind a proxy that loses, delays, cuts and refuses."""
import itertools
import os
import shutil
import time

import pytest

import etf
from etf import Atom, Raw
from fault_proxy import (HttpProxy, answer, apply_and_answer, cut_answer, cut_request, late, late_answer,
                         lose_answer, reset, truncate)
from harness import BUILD, RELEASE_BUILD, wait_until
from journaled import put, read
from nodes import Node
from radosgw import Radosgw
from workload import Workload, connect

WAREHOUSE_ERROR = (Atom("error"), Atom("warehouse"))
CORRUPT_ERROR = (Atom("error"), Atom("corrupt"))
OUTAGE_SECONDS = float(os.environ.get("BRAIN_OUTAGE", "5"))
counter = itertools.count(1)


class Bucket:
    """What is in the store under one prefix, seen past the proxy."""

    def __init__(self, gateway, prefix):
        self.gateway, self.prefix = gateway, prefix

    def bytes(self, name):
        status, body = self.gateway.request("GET", f"/{self.prefix}{name}")
        return body if status == 200 else None

    def put(self, name, body):
        assert self.gateway.request("PUT", f"/{self.prefix}{name}", body)[0] == 200

    def term(self, name):
        body = self.bytes(name)
        return None if body is None else etf.decode(body[1:])

    def names(self):
        return [name[len(self.prefix):] for name in self.gateway.names(self.prefix)]


@pytest.fixture
def place(gateway, epmd, tmp_path):
    """A proxy before the store and a node behind it: (node, proxy, bucket)."""
    prefix = f"t{os.getpid()}.{next(counter)}/"
    with HttpProxy(("127.0.0.1", gateway.port)) as proxy:
        node = Node(tmp_path / "node", epmd, build=RELEASE_BUILD, warehouse_manager="s3", s3_endpoint=proxy.url,
                    s3_bucket=gateway.bucket, s3_prefix=prefix, s3_access_key=gateway.key,
                    s3_secret_key=gateway.secret, s3_timeout=2000, s3_connect_timeout=500, s3_stall_timeout=1000,
                    dump_retry_min=50, dump_retry_max=500, server_exec_timeout=4000, key_ttl=600000, max_dirty_ms=300,
                    drain_timeout=20000)
        yield node, proxy, Bucket(gateway, prefix)
        proxy.clear()
        proxy.resume()
        node.finish()
        assert proxy.errors == []


def release(client, *ids):
    """In the store and out of RAM."""
    assert set(client.pipeline([(Atom("persist"), id) for id in ids])) == {"ok"}


def dirty(client):
    return client.info()["object"]["dirty"]


def settled(client, timeout=20):
    wait_until(lambda: dirty(client) == 0, timeout, "everything in the store")


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def stored_form(id, epoch, seq, value, crc=None):
    """As brain/stored.h has it: what another node, or another writer, would have put there."""
    value = etf.encode(value)
    return b"\x83" + etf.encode((Atom("brain1"), id, epoch, seq, crc32c(value) if crc is None else crc, Raw(value)))


# ---- the store is down --------------------------------------------------------------------------

@pytest.mark.timeout(120)
def test_a_store_that_is_down_while_clients_write(place):
    node, proxy, _ = place
    load = Workload(seed="down", persist_every=9)
    load.pause = 0.001
    server = node.start()
    with connect(server) as client:
        # Resident from the start: what is read of these needs no store.
        resident = [f"resident{n}".encode() for n in range(50)]
        client.pipeline([(Atom("set"), id, id * 10) for id in resident])
        settled(client)
        load.start(server, readers=0)
        time.sleep(0.3)
        with proxy.down():
            slowest = 0
            end = time.monotonic() + OUTAGE_SECONDS
            while time.monotonic() < end:
                begin = time.monotonic()
                answers = client.pipeline([(Atom("get"), id) for id in resident])
                slowest = max(slowest, time.monotonic() - begin)
                assert answers == [(Atom("ok"), etf.encode(id * 10)) for id in resident]
                time.sleep(0.02)
            info = client.info()
            assert info["object"]["dirty"] > 50 and info["object"]["dumps_failed"] > 0
            assert info["object"]["oldest_dirty_ms"] > OUTAGE_SECONDS * 500
            assert info["warehouse_error"] != b""
        load.join()
        assert load.acknowledged > 1000 and load.refused == {}
        print(f"{OUTAGE_SECONDS} s without store: {load.acknowledged} writes acknowledged, 50 reads took "
              f"{slowest * 1000:.0f} ms at most")
        # By itself, within the longest pause between two tries.
        settled(client)
    load.verify(server)
    node.stop()
    assert node.segments() == []
    load.verify(node.start())


@pytest.mark.timeout(180)
def test_the_store_itself_is_killed(epmd, tmp_path, tmp_path_factory):
    """kill -9 of a store on a disk (Ceph's bluestore), twice, under write load. Some objects are written
    on and on; of others the last dumps are under way when it is killed, and nothing comes after that would
    hide a lost one."""
    # A short path: Ceph makes sockets there, whose names are limited.
    gateway = Radosgw(tmp_path_factory.mktemp("disk") / "s3", "bluestore")
    node = Node(tmp_path / "node", epmd, build=RELEASE_BUILD, warehouse_manager="s3", s3_endpoint=gateway.endpoint,
                s3_bucket=gateway.bucket, s3_access_key=gateway.key, s3_secret_key=gateway.secret, s3_timeout=3000,
                s3_connect_timeout=500, s3_stall_timeout=1000, dump_retry_min=50, dump_retry_max=500, key_ttl=600000,
                max_dirty_ms=200, drain_timeout=60000)
    try:
        load = Workload(seed="bluestore", persist_every=9)
        load.pause = 0.001
        server = node.start()
        load.start(server, readers=0)
        ended = []
        for number in range(2):
            last = Workload(seed=f"last {number}", persist_every=3, prefix=f"last{number}:")
            ended.append(last)
            last.pause = 0.001
            last.start(server, readers=0)
            time.sleep(1)
            last.ending.set()
            gateway.crash()
            last.join()
        time.sleep(1)
        load.join()
        assert load.acknowledged > 500 and all(each.acknowledged > 100 for each in ended)
        with connect(server) as client:
            settled(client)
        for each in [load, *ended]:
            each.verify(server)
        node.stop()
        assert node.segments() == []
        server = node.start()
        for each in [load, *ended]:
            each.verify(server)
    finally:
        node.finish()
        gateway.stop()


@pytest.mark.timeout(120)
def test_killed_while_the_store_is_down(place):
    node, proxy, _ = place
    load = Workload(seed="down and killed", persist_every=9)
    for _ in range(4):
        server = node.start()
        load.verify(server)
        load.start(server)
        load.tolerated = ("warehouse", "timeout")
        time.sleep(0.2)
        with proxy.down():
            time.sleep(0.5)
            node.kill()
            load.join()
    load.verify(node.start())
    node.stop()
    load.verify(node.start())


def test_a_start_without_store_serves_what_the_journal_has(place):
    """A node whose machine comes back before the store does must not wait for it, nor lose anything."""
    node, proxy, bucket = place
    with connect(node.start()) as client:
        assert put(client, b"kept", 1, "warehouse") == "ok"
    node.stop()
    with connect(node.start()) as client:
        with proxy.down():
            assert put(client, b"journalled", 2) == "ok"
            node.kill()
            with connect(node.start()) as again:
                assert again.call((Atom("get"), b"journalled"), 6) in (("ok", 2), WAREHOUSE_ERROR)
                assert again.call((Atom("get"), b"kept"), 6) == WAREHOUSE_ERROR
                assert put(again, b"new", 3) == "ok"
    with connect(node.server) as client:
        wait_until(lambda: read(client, b"kept") == ("ok", 1), 20, "the store is used again")
        assert read(client, b"journalled") == ("ok", 2)
        settled(client)
    assert bucket.term("journalled")[5] == 2 and bucket.term("new")[5] == 3


def test_a_read_while_the_store_is_down(place):
    node, proxy, bucket = place
    server = node.start()
    with connect(server) as client:
        for id in (b"a", b"b", b"c"):
            assert put(client, id, [id, b"old"]) == "ok"
        release(client, b"a", b"b", b"c")
        before = {name: bucket.bytes(name) for name in "abc"}
        with proxy.down():
            begin = time.monotonic()
            assert read(client, b"a") == WAREHOUSE_ERROR
            assert client.get(b"a") == WAREHOUSE_ERROR          # {g, true, Id, Pid, Tag}
            assert time.monotonic() - begin < 9
            # Plain {g, ...}: the client's own timeout is the error.
            client.reg_send((Atom("g"), True, b"a", client.pid, Atom("null")))
            with pytest.raises(TimeoutError):
                client.receive(5)
            # A write of an id that is not resident needs no store, and is seen at once.
            assert put(client, b"b", b"new") == "ok"
            assert read(client, b"b") == ("ok", b"new")
            assert client.call((Atom("delete"), b"c")) == "ok"
            assert read(client, b"c") == "ko"
            assert put(client, b"d", b"first", "journal") == "ok"
            assert {name: bucket.bytes(name) for name in "abc"} == before
        wait_until(lambda: read(client, b"a") == ("ok", [b"a", b"old"]), 10, "the store is used again")
        settled(client)
    assert bucket.bytes("a") == before["a"]
    assert bucket.term("b")[5] == b"new" and bucket.term("d")[5] == b"first"
    assert bucket.term("c")[0] == "brain1_deleted"
    node.stop()
    with connect(node.start()) as client:
        assert [read(client, id) for id in (b"a", b"b", b"c", b"d")] == [
            ("ok", [b"a", b"old"]), ("ok", b"new"), "ko", ("ok", b"first")]


def test_an_acknowledgement_by_the_store_is_not_given_while_it_is_down(place):
    node, proxy, bucket = place
    with connect(node.start()) as client:
        with proxy.down():
            begin = time.monotonic()
            answer = put(client, b"x", 1, "warehouse")
            assert answer in (WAREHOUSE_ERROR, (Atom("error"), Atom("timeout")))
            assert time.monotonic() - begin < 8
            assert client.call((Atom("persist"), b"x")) in (WAREHOUSE_ERROR, (Atom("error"), Atom("timeout")))
        settled(client)
        assert put(client, b"x", 2, "warehouse") == "ok"
        assert bucket.term("x")[5] == 2


# ---- every row of the proxy ---------------------------------------------------------------------

WRITES = ("PUT", "DELETE")
FAULTS = {
    "reset": [(reset(), {})],
    "cut request head": [(cut_request(40), {})],
    "cut request body": [(cut_request(700), {"methods": "PUT"})],
    "cut answer": [(cut_answer(30), {})],
    "cut answer body": [(cut_answer(400), {"methods": "GET"})],
    "lost answer": [(lose_answer(), {})],
    "applied, answered 500": [(apply_and_answer(500), {"methods": WRITES})],
    "applied, answered 503": [(apply_and_answer(503), {"methods": WRITES})],
    "late answer": [(late_answer(2.6), {})],
    "late request": [(late(2.6), {})],
    "500": [(answer(500), {})],
    "501": [(answer(501), {})],
    "503": [(answer(503), {})],
    "429": [(answer(429), {})],
    "truncated body": [(truncate(100), {"methods": "GET"})],
    "truncated body that says so": [(truncate(100, honest=False), {"methods": "GET"})],
    "everything": [(lose_answer(), {"methods": WRITES}), (reset(), {}), (answer(503), {}), (late(2.2), {}),
                   (truncate(60), {"methods": "GET"}), (cut_request(300), {"methods": "PUT"})],
}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", FAULTS)
def test_a_row_of_the_proxy(place, name):
    node, proxy, _ = place
    load = Workload(seed=name, persist_every=3, ids_each=20, largest=1500)
    load.tolerated = ("warehouse", "timeout", "corrupt")
    load.pause = 0.004
    rules = []
    for killed in (True, False):
        server = node.start()
        load.verify(server)
        rules += [proxy.add(fault, probability=0.5 / len(FAULTS[name]), **filters) for fault, filters in FAULTS[name]]
        load.start(server)
        time.sleep(1.5)
        if killed:
            node.kill()
        load.join()
        proxy.clear()
    # Late requests arrive after all that: newer versions are there by then, and must stay.
    time.sleep(3 if "late" in name or name == "everything" else 0)
    with connect(server) as client:
        settled(client, 30)
        info = client.info()["object"]
    assert info["dumps_late"] == 0, "a dump of our own was taken for another writer's"
    load.verify(server)
    node.stop()
    assert node.segments() == []
    load.verify(node.start())
    hits = sum(rule.hits for rule in rules)
    print(f"{name}: {hits} faults, {load.acknowledged} acknowledged writes, {load.reads} reads, "
          f"refused {load.refused}, {info['dumps_failed']} dumps failed, {info['loads_failed']} loads failed, "
          f"{load.late_effects} late effects")
    assert hits > 5 and load.acknowledged > 100
    # Writes never need the store.
    assert set(load.refused) <= {"warehouse", "timeout", "corrupt"}


@pytest.mark.timeout(120)
def test_a_store_without_conditions(place):
    """It answers 501 to every conditional request: the node says so, and works."""
    node, proxy, _ = place
    proxy.add(answer(501), conditional=True)
    load = Workload(seed="501", persist_every=3, ids_each=20)
    load.pause = 0.004
    server = node.start()
    load.start(server)
    time.sleep(1.5)
    load.join()
    with connect(server) as client:
        settled(client)
    node.stop()
    assert "condition" in server.log
    load.verify(node.start())
    node.stop()
    log = node.refuses_to_start(s3_require_conditions="true")
    assert "condition" in log


# ---- deletes ------------------------------------------------------------------------------------

@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", ["down", "reset", "lost answer", "late answer", "late request", "500"])
@pytest.mark.parametrize("end", ["kill", "stop"])
def test_a_delete_under_faults_is_final(place, name, end):
    node, proxy, bucket = place
    ids = [f"d{n}".encode() for n in range(40)]
    with connect(node.start()) as client:
        client.pipeline([(Atom("set"), id, [id] * 5) for id in ids])
        release(client, *ids)
        # Some are in RAM, some not; of some a newer version is on its way.
        client.pipeline([(Atom("get"), id) for id in ids[:20]])
        if name == "down":
            proxy.refuse()
        else:
            proxy.add(*FAULTS[name][0][:1], methods=WRITES)
        client.pipeline([(Atom("set"), id, b"newer") for id in ids[10:30]])
        for id in ids[10:30]:
            client.reg_send((Atom("p"), id))
        assert set(client.pipeline([(Atom("delete"), id) for id in ids])) == {"ok"}
        assert set(client.pipeline([(Atom("get"), id) for id in ids])) == {"ko"}
        time.sleep(0.7)
    if end == "kill":
        node.kill()
        proxy.clear()
        proxy.resume()
    else:
        node.server.send_signal()
        time.sleep(0.5)
        proxy.clear()
        proxy.resume()
        assert node.server.wait(30) == 0
    for _ in range(2):
        with connect(node.start()) as client:
            for _ in range(8):  # a late write may still arrive
                assert set(client.pipeline([(Atom("get"), id) for id in ids])) == {"ko"}
                time.sleep(0.4 if "late" in name else 0.02)
            settled(client)
        node.stop()
    assert {bucket.term(id.decode())[0] for id in ids} == {"brain1_deleted"}


# ---- others at the same store -------------------------------------------------------------------

def test_a_second_writer_with_a_newer_version(place):
    node, _, bucket = place
    server = node.start()
    with connect(server) as client:
        assert put(client, b"x", b"ours", "warehouse") == "ok"
        _, _, (view, number), seq, _, _ = bucket.term("x")
        newer = stored_form(b"x", (view, number + 1000), seq + 5, b"theirs")
        bucket.put("x", newer)
        answered = put(client, b"x", b"ours, too late", "warehouse")
        assert answered[0] == "error", answered
        info = client.info()
        assert info["object"]["dumps_late"] == 1
        assert bucket.bytes("x") == newer, "a newer version was overwritten"
        conflicts = wait_until(lambda: [name for name in bucket.names() if "conflict" in name], 10, "a conflict name")
        assert len(conflicts) == 1
        body = bucket.gateway.get((bucket.prefix + conflicts[0]).replace("%", "%25").replace("!", "%21"))
        assert etf.decode(body[1:])[5] == b"ours, too late"
        server.wait_log("conflict")
        assert read(client, b"x") == ("ok", b"theirs")
        # We know theirs now: what is written from here on comes after it.
        assert put(client, b"x", b"ours again", "warehouse") == "ok"
        assert bucket.term("x")[5] == b"ours again"


def test_versions_of_an_earlier_life_are_overtaken(place):
    """An id that is not resident, of which the store holds a higher epoch than ours: a new data
    directory on an old bucket. The set is acknowledged, and wins."""
    node, _, bucket = place
    bucket.put("x", stored_form(b"x", (7, 1 << 40), 123456789, b"old"))
    bucket.put("y", stored_form(b"y", (7, 1 << 40), 5, b"kept"))
    with connect(node.start()) as client:
        assert put(client, b"x", b"new", "warehouse") == "ok"
        assert read(client, b"y") == ("ok", b"kept")
        assert client.info()["object"]["dumps_late"] == 0
        assert put(client, b"y", b"next", "warehouse") == "ok"
    assert bucket.term("x")[5] == b"new" and bucket.term("x")[2] > (7, 1 << 40)
    assert bucket.term("y")[5] == b"next"
    node.kill()
    shutil.rmtree(node.data)
    with connect(node.start()) as client:
        assert read(client, b"x") == ("ok", b"new")


FOREIGN = {
    "text": b"hello, world",
    "one byte": b"\x83",
    "another term": b"\x83" + etf.encode((Atom("brain2"), b"x", (0, 1), 1, 0, b"v")),
    "wrong checksum": stored_form(b"x", (0, 1), 1, b"value", crc=12345),
    "another id": stored_form(b"y", (0, 1), 1, b"value"),
    "cut": stored_form(b"x", (0, 1), 1, b"value" * 100)[:-7],
    "flipped": stored_form(b"x", (0, 1), 1, b"value" * 100)[:-7] + b"XXXXXXX",
    "huge count": b"\x83l\xff\xff\xff\xff" + b"a\1" * 50,
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_stored_object_that_is_corrupt_or_not_ours(place, kind):
    node, _, bucket = place
    node.build = BUILD  # hostile bytes: with sanitizers
    bucket.put("x", FOREIGN[kind])
    with connect(node.start()) as client:
        assert read(client, b"x") == CORRUPT_ERROR
        assert client.get(b"x") == CORRUPT_ERROR
        assert bucket.bytes("x") == FOREIGN[kind]
        assert client.info()["object"]["loads_failed"] >= 1
        # Another object is not concerned.
        assert put(client, b"z", 1, "warehouse") == "ok"
    node.kill()
    assert bucket.bytes("x") == FOREIGN[kind]


def test_a_write_over_what_is_not_ours_is_refused(place):
    node, _, bucket = place
    bucket.put("x", b"hello, world")
    with connect(node.start()) as client:
        answered = put(client, b"x", 1, "warehouse")
        assert answered == CORRUPT_ERROR, answered
        assert bucket.bytes("x") == b"hello, world"
    node.kill()


# ---- what is there is plain -----------------------------------------------------------------------

def test_an_erlang_shell_reads_the_stored_object(place, erl, tmp_path):
    node, _, bucket = place
    node.start()
    erl(r"""
    ok = call({set, <<"user:1">>, #{name => <<"Ada"/utf8>>, tags => [a, 1.5, {x, "text"}], big => 1 bsl 100}}),
    ok = call({persist, <<"user:1">>})""")
    (tmp_path / "object").write_bytes(bucket.gateway.get(bucket.prefix + "user%253A1"))
    erl(rf"""
    {{ok, Bytes}} = file:read_file("{tmp_path}/object"),
    {{brain1, <<"user:1">>, {{View, Counter}}, Seq, Crc, Value}} = binary_to_term(Bytes),
    true = is_integer(View) andalso is_integer(Counter) andalso Seq > 0 andalso is_integer(Crc),
    #{{name := <<"Ada"/utf8>>, tags := [a, 1.5, {{x, "text"}}], big := Big}} = Value,
    Big = 1 bsl 100""")
