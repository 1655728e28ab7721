"""The whole of it at once: members, etcd and the store each on a host of its own (netlab), a real S3 store (Ceph's RADOS
Gateway), an Erlang node beside each member, and faults one after the other. Was there one order of all that the Erlang
processes asked and were told?

BRAIN_CLUSTER_LONG=1: longer faults."""
import itertools
import os
import time

import pytest

from beam_load import BeamLoad
from cluster import LEASE
from fault_proxy import HttpProxy
from needs import needs
from netlab import NEEDED, can_build
from test_cluster_faults import LONG, others

pytestmark = needs(can_build(), NEEDED)
counter = itertools.count(1)


@pytest.fixture
def proxies():
    """Stopped after the clusters that need them."""
    made = []
    yield made
    for proxy in made:
        proxy.stop()


@pytest.fixture
def new_lab_cluster(gateway, proxies, new_cluster):
    """The gateway itself is not in the lab: a proxy on the host `store` leads to it, so a cable to it can be cut."""
    def make(count, **options):
        def store(lab):
            proxies.append(HttpProxy(("127.0.0.1", gateway.port), host=lab["store"]))
            return {"warehouse_manager": "s3", "s3_endpoint": proxies[-1].url, "s3_bucket": gateway.bucket,
                    "s3_prefix": f"beam{os.getpid()}.{next(counter)}/", "s3_access_key": gateway.key,
                    "s3_secret_key": gateway.secret, "s3_timeout": 3000, "s3_connect_timeout": 500,
                    "s3_stall_timeout": 1500}
        return new_cluster(count, lab=True, store=store, **options)

    return make


def test_five_members_through_faults(new_lab_cluster, tmp_path):
    """Killed; cut from one other, one way; paused past its lease; cut from the store; etcd killed; stopped and started."""
    cluster = new_lab_cluster(5, backups=1, key_ttl=300, max_dirty_ms=500)
    a, b, c, d, e = cluster.members
    load = BeamLoad(tmp_path, cluster)
    with load:
        time.sleep(1)
        a.kill()
        cluster.wait_joined(*others(cluster, a))
        cluster.start(a)
        cluster.cut_one_way(b, c)
        time.sleep(10 if LONG else 1)
        cluster.heal()
        cluster.wait_joined(timeout=60)
        c.pause()
        time.sleep(30 if LONG else LEASE + 1)
        c.resume()
        cluster.wait_joined(timeout=30)
        cluster.cut(d, "store")
        time.sleep(2)
        cluster.heal()
        cluster.etcd.stop()
        time.sleep(2 * LEASE if LONG else 1)
        cluster.etcd.start()
        cluster.wait_joined(timeout=30)
        e.stop()
        cluster.wait_joined(*others(cluster, e))
        cluster.start(e)
        time.sleep(1)
    print(load.summary())
    assert all(load.answered[member.name] > 100 for member in cluster.members)
    load.check()


def test_rolling_restart_of_three(new_lab_cluster, tmp_path):
    """Erlang processes of the members that stay see no error at all, while each of the three is stopped and started."""
    cluster = new_lab_cluster(3, backups=1)
    history = None
    for leaving in cluster.members:
        staying = others(cluster, leaving)
        load = BeamLoad(tmp_path, cluster, history=history)
        history = load.history
        with load:
            time.sleep(0.7)
            leaving.stop()
            cluster.wait_joined(*staying)
            time.sleep(0.5)
            cluster.start(leaving)
            time.sleep(0.7)
        print(load.summary())
        assert {member.name: load.errors(member) for member in staying} == {member.name: {} for member in staying}
        assert all(load.answered[member.name] > 50 for member in staying)
    load.check()
