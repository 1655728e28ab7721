"""Attacks on a cluster as a whole: whoever has the cookie claims to be a member, writes among the keys in etcd, takes
disks, descriptors and time away. Nobody crashes (all members are sanitized builds), nothing that was acknowledged is
lost, and the cluster serves soon after."""
import base64
import http.server
import random
import resource
import signal
import threading
import time

import pytest

import etf
from cluster import LEASE, MEMBER_KEYS, PATIENCE
from cluster_load import Load
from etf import Atom
from fault_proxy import TcpProxy
from harness import BUILD, wait_until
from hostile import LAST_VIEW, SLOTS, U64, Chatter, Hostile, incarnation_of, member_value, view_of
from test_cluster_faults import BACK, WAITING, await_values, put
from workload import GONE

EVIL = "evil@localhost"


@pytest.fixture
def sanitized_cluster(new_cluster):
    return lambda count, **options: new_cluster(count, build=BUILD, **{"backups": 1, **options})


def takes_writes(cluster, seconds=2 * LEASE + PATIENCE, prefix=b"w"):
    """Through each member, each of a few ids; within `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            answers = []
            for member in cluster.members:
                with member.client() as client:
                    answers += [put(client, prefix + b":%d" % number, number) for number in range(20)]
            if set(answers) == {"ok"}:
                return
        except GONE as problem:
            answers = problem
        assert time.monotonic() < deadline, answers
        time.sleep(0.1)


# ---- somebody who claims to be a member ---------------------------------------------------------

class Entered:
    """EVIL among the members in etcd, and linked with all others."""

    def __init__(self, cluster):
        self.cluster, self.links = cluster, {}
        self.incarnation = "%016x" % random.SystemRandom().randrange(1, 1 << 64)
        self.lease = int(cluster.etcd.call("/v3/lease/grant", {"TTL": "60"})["ID"])
        cluster.etcd.put(MEMBER_KEYS + EVIL, member_value(self.incarnation), self.lease)
        for member in cluster.members:
            wait_until(lambda one=member: one.metric("cluster", "members") == len(cluster.members) + 1, 10, "a view")

    def link(self, member):
        """To a member that did not end the one before, or anew."""
        before = self.links.get(member)
        if before and before.is_open():
            return before
        if before:
            before.close()
        link = self.links[member] = Hostile(member, EVIL, self.incarnation, view_of(member)).hello()
        link.take_part()
        return link

    def leave(self):
        for link in self.links.values():
            link.close()
        self.cluster.etcd.call("/v3/lease/revoke", {"ID": self.lease})


def test_a_claim_above_all_numbers(sanitized_cluster):
    """One claim ended the home: the counter above the one it named was 0. And epochs above which there is none are
    refused: an id would never be granted again."""
    cluster = sanitized_cluster(2)
    evil = Entered(cluster)
    keys = [bytes([number]) * 16 for number in range(0, 256, 5)]
    for member in cluster.members:
        link = evil.link(member)
        wait_until(lambda one=member: one.metric("cluster", "slots_open") > 0, 10, "open slots")
        for key in keys:
            for floor in ((link.view, U64), (link.view, 2 ** 44 - 1), (U64, U64)):
                link.say("claim", key, 1, 1, 0, 0, 0, *floor)
            link.say("release", key, link.view, 1, Atom("value"), link.view, U64, U64, False)
            link.say("claim", key, 2, 2, 0, 0, 0, 0, 0)
        assert link.is_open()
        refused = member.metric("cluster", "messages_malformed")
        link.say("discard", keys[0], LAST_VIEW + 1, 1, 1)
        assert link.wait_closed()
        assert member.metric("cluster", "messages_malformed") == refused + 1
        member.server.wait_log("the link with evil@localhost was closed: a malformed message")
    evil.leave()
    cluster.wait_joined()
    takes_writes(cluster)


def test_what_no_member_says(sanitized_cluster):
    """All kinds of messages with all kinds of numbers, well-formed and not, fragments left lying, and a report of as many
    views as it has records; then it is gone, and everybody answers for everything."""
    cluster = sanitized_cluster(2, replicate="r:")
    a, _ = cluster.members
    ids = cluster.owned_by(a, 20)
    evil, source = Entered(cluster), random.Random(5)
    records = b"".join(source.randbytes(16) + number.to_bytes(8) + (1).to_bytes(8) for number in range(65536))
    for member in cluster.members:
        link = Hostile(member, EVIL, evil.incarnation, view_of(member)).hello()
        link.say("report", 0, SLOTS, records, b"")
        evil.links[member] = link
    until, said = time.monotonic() + 2.5, 0
    while time.monotonic() < until:
        for member in cluster.members:
            try:
                link = evil.link(member)
                chatter = Chatter(said, link, ids)
                for frame in link.fragments((b"x" * 5000,), "brain_peer", 1000, said + 1)[:-1]:
                    link.send_frame(frame)
                for _ in range(300):
                    link.tell(chatter.message())
                link.say("ping", 0)
                link.tell(chatter.malformed())
                said += 300
            except GONE:
                pass
            assert member.alive, member.server.log[-3000:]
    evil.leave()
    print(f"{said} messages; malformed {[one.metric('cluster', 'messages_malformed') for one in cluster.members]}")
    cluster.wait_joined()
    takes_writes(cluster)
    for member in cluster.members:
        with member.client() as client:
            for id in ids:
                wait_until(lambda c=client, i=id: put(c, i, 1) == "ok", 20, f"a write of {id}")


# ---- somebody who writes into etcd --------------------------------------------------------------

def encoded(data):
    return base64.b64encode(data).decode()


def test_keys_that_are_no_members(sanitized_cluster):
    """They are in no view, are named in the log, and nobody waits for them. A name that was not UTF-8 made each answer to
    `info` and `get_nodes` malformed: a real Erlang node drops such a connection."""
    cluster = sanitized_cluster(2)
    a, b = cluster.members
    twin, good = "%016x" % incarnation_of(b), member_value("00000000000000ee").encode()
    keys = {b"nonsense@localhost": b"nonsense", b"huge@localhost": b"x" * 1000000, b"deep@localhost": b"[" * 4000,
            b"no-at-sign": good, b"two@at@signs": good, b"a b@c": good, b"\xff\xfe@h": good, b"new\nline@h": good,
            b"x" * 300 + b"@h": good, b"types@h": b'{"incarnation":1,"address":[],"port":"x","protocol":3,"lease_ms":{}}',
            b"twin@localhost": member_value(twin).encode()}
    for name, value in keys.items():
        cluster.etcd.call("/v3/kv/put", {"key": encoded(MEMBER_KEYS.encode() + name), "value": encoded(value)})
    for member in cluster.members:
        for name in ("nonsense", "huge", "deep", "no-at-sign", "two@at@signs", "a b@c", r"\\xff\\xfe@h", r"new\\x0aline@h",
                     "xxxxxxxx", "types@h", "twin@localhost"):
            member.server.wait_log(f"etcd's key brain/member/{name}.* is among the members', and no member's: ")
        with member.client() as client:
            client.reg_send((Atom("get_nodes"), client.pid), to="manager")
            assert {str(name) for name, _ in client.receive()[1]} == {a.name, b.name}
    for member in cluster.members:
        wait_until(lambda one=member: cluster.is_settled(one, 2), 10, "a view of two")
    until = time.monotonic() + 2 * LEASE
    while time.monotonic() < until:
        takes_writes(cluster)
    assert all(member.metric("managers", "losses") == 0 for member in cluster.members)
    for name in keys:
        cluster.etcd.call("/v3/kv/deleterange", {"key": encoded(MEMBER_KEYS.encode() + name)})
    cluster.wait_joined()


def test_keys_taken_away(sanitized_cluster):
    """Members' keys go, one and all, while revisions are compacted; the history is rewritten: by nonsense, by an earlier
    one, by none."""
    cluster = sanitized_cluster(2)
    a, _ = cluster.members
    ids = cluster.owned_by(a, 20)
    etcd = cluster.etcd
    history = etcd.keys()["brain/history"][0]
    attacks = [lambda: etcd.delete(MEMBER_KEYS + a.name),
               lambda: [etcd.delete(MEMBER_KEYS + member.name) for member in cluster.members],
               lambda: etcd.put("brain/history", "backwards"),
               lambda: etcd.put("brain/history", "%016x" % (int(history, 16) - (1000 << 40))),
               lambda: etcd.delete("brain/history")]
    for attack in attacks:
        losses = [member.metric("managers", "losses") for member in cluster.members]
        attack()
        etcd.compact()
        wait_until(lambda before=losses: any(member.metric("managers", "losses") > count for member, count in
                                             zip(cluster.members, before)), 10, "a membership that is lost")
        cluster.wait_joined(timeout=30)
        takes_writes(cluster)
    for member in cluster.members:
        await_values(member, {id: (id, 0) for id in ids}, BACK)


class Nonsense(http.server.BaseHTTPRequestHandler):
    """Answers that are not etcd's."""
    protocol_version = "HTTP/1.1"
    answers = (b"", b"{}", b"[]", b"null", b'"' + b"x" * 100000, b"[" * 100000, b'{"result":{}}', b"\xff\xfe\0",
               b'{"header":{"revision":"99999999999999999999"}}', b'{"error":{"grpc_code":-1}}', b'{"kvs":[{}]}')
    turn = 0

    def log_message(self, *_):
        pass

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        Nonsense.turn += 1
        body = self.answers[Nonsense.turn % len(self.answers)]
        if Nonsense.turn % 5 == 0:
            time.sleep(1)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def test_a_manager_that_talks_nonsense(sanitized_cluster):
    """One of the two servers is not etcd: its answers are worth nothing, and the other one, which comes and goes, is
    enough."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Nonsense)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        cluster = sanitized_cluster(2, start=False, manager_lease=6000)
        with TcpProxy(("127.0.0.1", cluster.etcd.port)) as proxy:
            for member in cluster.members:
                member.options["manager_servers"] = \
                    f"http://127.0.0.1:{server.server_port},http://127.0.0.1:{proxy.port}"
            cluster.start(timeout=40)
            for _ in range(2):
                before = Nonsense.turn
                with proxy.down():
                    wait_until(lambda count=before: Nonsense.turn > count, 10, "a question to the other server")
                takes_writes(cluster)
            time.sleep(1)
            for member in cluster.members:
                assert member.metric("managers", "losses") == 0, member.server.log
                member.stop()
    finally:
        server.shutdown()
        server.server_close()


# ---- faults one upon the other ------------------------------------------------------------------

def test_killed_while_it_drains(sanitized_cluster):
    """SIGTERM, and soon after SIGKILL: what it had not handed over is in the copies."""
    cluster = sanitized_cluster(3, key_ttl=600000, max_dirty_ms=0)
    a, b, c = cluster.members
    for number, pause in enumerate((0.02, 0.3)):
        ids = cluster.owned_by(a, 60, b"drained%d" % number)
        load = Load([b, c], ids=8, seed=number, prefix=b"round%d" % number)
        with load:
            a.server.send_signal(signal.SIGTERM)
            time.sleep(pause)
            if a.alive:
                a.kill()
            await_values(b, {id: (id, 0) for id in ids}, BACK)
            a.start()
            cluster.wait_joined()
        print(load.summary())
        load.check(*cluster.members)
        await_values(a, {id: (id, 0) for id in ids}, BACK)


def test_two_of_three_stop_at_once(sanitized_cluster):
    cluster = sanitized_cluster(3, key_ttl=600000, max_dirty_ms=0)
    a, b, c = cluster.members
    expected = {id: (id, 0) for member in cluster.members for id in cluster.owned_by(member, 25, member.name.encode())}
    load = Load([c], ids=8)
    with load:
        for member in (a, b):
            member.server.send_signal(signal.SIGTERM)
        assert [member.server.wait(40) for member in (a, b)] == [0, 0]
        await_values(c, expected, BACK)
        cluster.start(a, b)
    load.check(*cluster.members)
    for member in cluster.members:
        await_values(member, expected, BACK)


def test_members_that_stand_still_again_and_again(sanitized_cluster):
    """For less than a lease each time, two in turn: slow, not dead."""
    cluster = sanitized_cluster(3)
    source, load = random.Random(3), Load(cluster.members, ids=16)
    load.may_hang.update(member.name for member in cluster.members)
    with load:
        for number in range(5):
            member = cluster.members[number % 2]
            member.pause()
            time.sleep(source.uniform(0.3, 0.9))
            member.resume()
            time.sleep(0.15)
        cluster.wait_joined()
    print(load.summary())
    assert {reason for _, reason in load.refused} <= WAITING
    load.check(*cluster.members)


def test_no_descriptors(sanitized_cluster):
    """One member can open nothing any more, and another dies meanwhile; then it can again. It may lose its lease for
    that, so these are two losses, and there are two copies."""
    cluster = sanitized_cluster(3, backups=2)
    a, b, c = cluster.members
    load = Load(cluster.members, ids=16)
    load.may_hang.update(member.name for member in cluster.members)
    with load:
        time.sleep(0.5)
        limits = resource.prlimit(a.server.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(a.server.process.pid, resource.RLIMIT_NOFILE, (8, limits[1]))
        b.kill()
        time.sleep(2 * LEASE)
        b.start(wait=False)
        time.sleep(1)
        assert a.alive and c.alive
        resource.prlimit(a.server.process.pid, resource.RLIMIT_NOFILE, limits)
        b.server.wait_ready(30)
        cluster.wait_joined(timeout=30)
    print(load.summary())
    load.check(*cluster.members)


def test_full_disks(sanitized_cluster):
    """Of the owner, of a holder, of all: what was acknowledged meanwhile outlives a member, also while the others cannot
    write what they take over."""
    cluster = sanitized_cluster(3, start=False, key_ttl=600000, max_dirty_ms=0)
    a, b, c = cluster.members

    def disks(size, *members):
        for member in members:
            resource.prlimit(member.server.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    for member in cluster.members:
        member.start(wait=False, preexec=lambda: signal.signal(signal.SIGXFSZ, signal.SIG_IGN))
    for member in cluster.members:
        member.server.wait_ready(30)
    cluster.wait_joined()
    cluster.ftp.stop()
    load = Load(cluster.members, ids=16, home=[a, a, b, b, c, c])
    with load:
        for full in ((a,), (b,)):
            disks(1000, *full)
            time.sleep(0.7)
            disks(resource.RLIM_INFINITY, *full)
            time.sleep(1.1)
        disks(1000, a, b, c)
        time.sleep(0.5)
        a.kill()
        time.sleep(LEASE + 1)
    print(load.summary())
    assert {reason for _, reason in load.refused} <= WAITING | {"journal", "warehouse"}
    cluster.ftp.start()
    disks(resource.RLIM_INFINITY, b, c)
    cluster.wait_joined(b, c)
    time.sleep(1.5)
    load.check(b, c)
