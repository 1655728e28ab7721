"""Whom a member that was started again waits for (docs/decisions/0020): what of it is kept in data_dir/lease, and what the
log says meanwhile."""
import signal
import time

from harness import wait_until
from test_cluster_faults import BACK, await_values

# Nothing is persisted but by a drain, and nobody holds copies: what is changed is in its owner's journal only.
CHANGED = {"backups": 0, "key_ttl": 600000, "max_dirty_ms": 600000, "handoff_uses": 0}


def kept(member):
    """Names of the last view, as the next process will find them."""
    lines = (member.data / "lease").read_text().splitlines()
    return {line.split(" ", 1)[1] for line in lines[1:]}


def wait_kept(member, *others):
    names = {other.name for other in others}
    wait_until(lambda: kept(member) == names, 10, f"the last view of {member}: {sorted(names)}")


def test_who_drains_keeps_its_last_view(new_cluster):
    """Those that leave while it drains may not hold what it still has, and it may never come to its end."""
    cluster = new_cluster(3, drain_timeout=60000, rejoin_wait=30000, **CHANGED)
    a, b, c = cluster.members
    ids = cluster.owned_by(a, 20)
    wait_kept(a, a, b, c)
    c.stop()
    cluster.wait_keys(a, b)
    wait_kept(a, a, b)  # it goes on: c is gone for good
    cluster.ftp.stop()
    a.server.send_signal(signal.SIGTERM)
    a.server.wait_log(r"stopping: 20 objects still owned", 10)
    b.stop()
    cluster.wait_keys(a)
    a.server.wait_log(r"view \d+ of history \d+: 1 members: n1@", 10)
    a.server.wait_log(r"(?s)1 members: n1@.*stopping: 20 objects still owned", 10)
    assert kept(a) == {a.name, b.name}
    a.kill()
    cluster.ftp.start()
    a.start()
    a.server.wait_log(r"members of the last view are not back yet, .*: n2@localhost; unless others have gone on", 20)
    time.sleep(1)
    assert "joined the cluster" not in a.server.log, "it says that it serves, and waits"
    b.start()
    cluster.wait_joined(a, b)
    assert a.server.log.index("are not back yet") < a.server.log.index("joined the cluster: view")
    for member in (a, b):
        await_values(member, {id: (id, 0) for id in ids}, BACK)


def test_a_stop_while_waiting_forgets_nobody(new_cluster):
    """A process that did not take part has nothing to leave behind: the next one waits for the same members."""
    cluster = new_cluster(2, rejoin_wait=30000, **CHANGED)
    a, b = cluster.members
    ids = cluster.owned_by(a, 20)
    wait_kept(b, a, b)
    a.kill()
    b.kill()
    b.start()
    b.server.wait_log(r"members of the last view are not back yet, .*: n1@localhost;", 20)
    b.stop()
    assert kept(b) == {a.name, b.name}
    b.start()
    b.server.wait_log(r"members of the last view are not back yet, .*: n1@localhost;", 20)
    assert "joined the cluster" not in b.server.log
    a.start()
    cluster.wait_joined(a, b)
    await_values(b, {id: (id, 0) for id in ids}, BACK)
