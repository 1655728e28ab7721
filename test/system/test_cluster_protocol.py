"""A node that speaks another protocol of members than the cluster: it does not join, and whoever has put such a key
into etcd's list harms nobody. (There is no such program: its key is put there by hand.)"""
import json
import re
import time

from cluster import MEMBER_KEYS
from harness import wait_until
from test_cluster_faults import put, read, value_of

OTHER = 7


def stranger(cluster):
    """Its key, without a lease: it does not go away by itself."""
    cluster.etcd.put(MEMBER_KEYS + "other@localhost", json.dumps(
        {"incarnation": "00000000000000ab", "address": "", "port": 1, "protocol": OTHER, "lease_ms": 2000}))


def test_a_program_of_another_protocol_is_no_member(new_cluster):
    cluster = new_cluster(3, backups=1, start=False)
    a, b, c = cluster.members
    cluster.start(a, b)
    before = a.metric("cluster", "view")
    stranger(cluster)
    for member in (a, b):
        member.server.wait_log(rf"other@localhost has put itself among the members, but speaks protocol {OTHER} of "
                               r"members and this cluster \d+: it is not taken in", 10)
    # It is in no view, so nobody waits for it, nor has it evicted: also after the time of an eviction.
    until = time.monotonic() + 5
    with a.client() as client:
        while time.monotonic() < until:
            for number in range(20):
                assert put(client, b"id:%d" % number, number) == "ok"
            time.sleep(0.2)
    for member in (a, b):
        assert cluster.is_settled(member, 2) and member.metric("cluster", "view") == before
        assert "is asked to leave" not in member.server.log
    # Who starts now cannot know whose cluster it is.
    c.start(wait=False)
    c.server.expected_status = 1
    assert c.server.wait(20) == 1, c.server.log
    assert re.search(rf"this program speaks protocol \d+ of members, and member other@localhost speaks {OTHER}: they "
                     r"cannot be of one cluster; start the same version on all, or stop the others first",
                     c.server.log), c.server.log
    assert "joined the cluster" not in c.server.log and cluster.is_settled(a, 2)
    # Who was a member waits.
    b.pause()
    wait_until(lambda: cluster.is_settled(a, 1), 20, "a view without b")
    b.resume()
    b.server.wait_log(r"member other@localhost speaks 7: they cannot be of one cluster; it is waited for to leave", 20)
    cluster.etcd.delete(MEMBER_KEYS + "other@localhost")
    cluster.wait_joined(a, b)
    cluster.start(c)
    with c.client() as client:
        for number in range(20):
            assert value_of(read(client, b"id:%d" % number)) == number
