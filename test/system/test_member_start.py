"""A member that cannot be one: what is refused at start, what is waited for, and how it stops then."""
import time

import pytest

from cluster import PATIENCE
from etcd import Etcd
from etf import Atom
from fake_s3 import FakeS3
from harness import COOKIE, wait_until
from workload import FastClient

NOWHERE = "http://127.0.0.1:1"  # nobody listens there
# FTP is asked nothing before the first request.
MEMBER = {"manager_enable": "true", "manager_servers": NOWHERE, "warehouse_manager": "ftp", "ftp_host": "127.0.0.1",
          "ftp_port": 1, "manager_lease": 2000}


def refusal(server):
    server.expected_status = server.wait(20)
    server.check()
    assert server.expected_status == 1, server.log
    return server.log


@pytest.fixture
def s3():
    stores = []

    def start(conditions):
        stores.append(FakeS3(conditions))
        return {"manager_enable": "true", "manager_servers": NOWHERE, "warehouse_manager": "s3",
                **{f"s3_{key}": value for key, value in stores[-1].options.items()}}

    yield start
    for made in stores:
        made.stop()


@pytest.mark.parametrize("conditions", ["501", "ignored"])
def test_a_bucket_without_conditions_is_refused(new_server, s3, conditions):
    options = s3(conditions)
    log = refusal(new_server(wait=False, **options))
    assert "takes no conditional writes" in log and "ready" not in log
    new_server(s3_require_conditions="false", **options).stop()  # the weaker promise was accepted


def test_a_bucket_with_conditions_is_taken(new_server, s3):
    new_server(**s3("quoted")).stop()


def test_a_start_that_fails_late_is_undone(new_server):
    log = refusal(new_server(wait=False, **{**MEMBER, "manager_ca_file": "/nonexistent/ca.pem"}))
    assert "/nonexistent/ca.pem, cannot be read" in log and "stopped" in log


def test_without_etcd_it_waits_and_stops_at_once(new_server):
    server = new_server(**MEMBER, server_exec_timeout=700)
    with server.client() as client:
        info = {str(key): value for key, value in client.call(Atom("info"), PATIENCE).items()}
        assert info["cluster_state"] == "joining" and info["cluster_members"] == []
        began = time.monotonic()
        assert client.call((Atom("set"), b"k", 1), PATIENCE) == ("error", "timeout")
        assert client.call((Atom("get"), b"k"), PATIENCE) == ("error", "timeout")
        assert time.monotonic() - began >= 1.3
    server.wait_log("not a member of the cluster for 10 s: .*connect", 20)
    server.stop(timeout=5)


def test_what_came_before_the_join_is_answered_after_it(new_server, tmp_path):
    etcd = Etcd(tmp_path)
    server = new_server(**{**MEMBER, "manager_servers": etcd.url}, server_exec_timeout=20000, drain_timeout=0)
    server.expected_status = 1  # what was written cannot be persisted
    try:
        with server.client() as client:
            client.reg_send((Atom("s"), b"early", 7))
            time.sleep(0.5)
            etcd.start()
            assert client.call((Atom("get"), b"early"), 20) == ("ok", 7)
            assert client.call((Atom("owner"), b"early"), PATIENCE) == ("ok", "brain@localhost")
        server.send_signal()
        assert server.wait(20) == 1
        assert "they are in the journal" in server.log
    finally:
        etcd.stop()


def test_told_to_stop_before_the_first_join(new_server, tmp_path):
    """It becomes no member any more, whoever still waits; what its journal brought back stays there."""
    etcd = Etcd(tmp_path)
    options = {**MEMBER, "manager_servers": etcd.url, "server_exec_timeout": 30000}
    try:
        etcd.start()
        first = new_server(**options, drain_timeout=0)
        first.expected_status = 1  # there is no warehouse
        with first.client() as client:
            assert [client.call((Atom("set"), b"dirty:%d" % number, number), PATIENCE) for number in range(3)] == ["ok"] * 3
        first.send_signal()
        assert first.wait(20) == 1
        assert "stopped after drain_timeout: 3 objects could not be persisted; they are in the journal and come back " \
            "with the next start; 3 objects were still owned, 0 copies still held\n" in first.log
        etcd.stop()
        server = new_server(**options)
        with FastClient(server.port, COOKIE) as client:
            waiting = client.ask((Atom("get"), b"dirty:1"))
            time.sleep(0.3)
            server.send_signal()
            etcd.start(wait=False)
            assert client.next_answer(PATIENCE) == (waiting, ("error", "shutdown"))
        assert server.wait(5) == 0
        assert "no member of the cluster: 3 objects that the journal brought back stay there for the next start\n" \
            in server.log
        assert "joined" not in server.log and "left" not in server.log
        wait_until(etcd.is_healthy, 20, "etcd")
        assert etcd.keys("brain/member/") == {}
    finally:
        etcd.stop()
