"""Clusters over a real S3 store (Ceph's RADOS Gateway), where conditional writes stand between an owner that is late and
the one after it."""
import itertools
import os
import time

import pytest

from cluster import value_of
from cluster_load import Load
from etf import Atom
from fault_proxy import HttpProxy, late
from harness import wait_until
from test_cluster_faults import BACK, await_values, dumps_answer_lost, owner_pauses_past_its_lease, put, read

counter = itertools.count(1)


@pytest.fixture
def proxy(gateway):
    with HttpProxy(("127.0.0.1", gateway.port)) as made:
        yield made
        made.clear()
        made.resume()


@pytest.fixture
def new_s3_cluster(gateway, proxy, new_cluster):
    def make(count, **options):
        return new_cluster(count, store={
            "warehouse_manager": "s3", "s3_endpoint": proxy.url, "s3_bucket": gateway.bucket,
            "s3_prefix": f"t{os.getpid()}.{next(counter)}/", "s3_access_key": gateway.key, "s3_secret_key": gateway.secret,
            "s3_timeout": 3000, "s3_connect_timeout": 500, "s3_stall_timeout": 1500}, **options)
    return make


def test_owner_pauses_past_its_lease(new_s3_cluster):
    owner_pauses_past_its_lease(new_s3_cluster(3, backups=1, key_ttl=300))


def test_dumps_answer_lost(new_s3_cluster, proxy):
    dumps_answer_lost(new_s3_cluster(2, backups=1), proxy, methods="PUT", key="lost")


def test_a_put_of_an_owner_that_is_gone_arrives_late(new_s3_cluster, proxy):
    """The owner's dump is under way when it dies; its successor loads, writes and dumps; then the old one arrives. It must
    not replace what is newer."""
    cluster = new_s3_cluster(3, backups=1, s3_timeout=20000, s3_stall_timeout=15000)
    a, b, c = cluster.members
    (id,) = cluster.owned_by(a, 1, b"late")
    slow = proxy.add(late(7), methods="PUT", key="late", times=1)
    with a.client() as client:
        client.ask((Atom("persist"), id))
        wait_until(lambda: slow.hits == 1, what="the dump")
    a.kill()
    started = time.monotonic()
    await_values(b, {id: (id, 0)}, BACK)
    with b.client() as client:
        assert put(client, id, (id, 1), "warehouse") == "ok"
    assert time.monotonic() - started < 7, "the new owner wrote too late for this test to mean anything"
    time.sleep(max(0.0, started + 8 - time.monotonic()))
    with b.client() as client:
        assert put(client, id, (id, 2), "warehouse") == "ok"
        assert client.call((Atom("persist"), id)) == "ok"
    with c.client() as client:
        assert value_of(read(client, id)) == (id, 2)


def test_owner_dies(new_s3_cluster):
    """Objects come and go between RAM and the store all the time."""
    cluster = new_s3_cluster(3, backups=1, key_ttl=50, max_dirty_ms=200)
    a, b, c = cluster.members
    load = Load(cluster.members, ids=24)
    with load:
        time.sleep(2)
        a.kill()
        cluster.wait_joined(b, c)
        time.sleep(1)
        cluster.start(a)
        time.sleep(1)
    print(load.summary())
    load.check(*cluster.members)
