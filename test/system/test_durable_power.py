"""What a loss of power takes is known: nothing with a sync for every answer, else what came after the last one."""
import os
import random
import shutil
import threading
import time

import pytest

from etf import Atom
from harness import wait_until
from journaled import JOURNAL_ERROR, journal_info, put, read
from power_loss import PowerLoss
from workload import Workload, connect


class Stalls:
    """How long this machine lets a thread wait that has something to do, in the worst case: a thread of
    our own asks to be woken every 5 ms. What is late by that much says nothing about the server."""

    def __enter__(self):
        self.longest, self.ended = 0, threading.Event()
        self.thread = threading.Thread(target=self._watch)
        self.thread.start()
        return self

    def _watch(self):
        before = time.monotonic()
        while not self.ended.wait(0.005):
            now = time.monotonic()
            self.longest, before = max(self.longest, now - before - 0.005), now

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()


def power_loss_rounds(new_node, tmp_path, rounds, sync, longest, interval=None, **options):
    """`interval`: seconds between syncs. Then a write may be lost that was acknowledged after the last
    sync began; and that was not longer ago than the interval and what a sync takes."""
    node = new_node(journal_sync=sync, **options)
    power = PowerLoss(node.journal, tmp_path)
    node.environment = power.environment
    load = Workload(seed=str(sync), persist_every=options.get("persist_every", 0))
    moments = random.Random(str(sync))
    lost, torn, taken, oldest = 0, 0, 0, 0.0
    until = killed = stalled = None

    def verify(server):
        nonlocal lost, oldest
        lost += load.verify(server, until)
        if until is None or load.oldest_lost is None:
            return
        age = killed - load.oldest_lost
        oldest = max(oldest, age)
        slow = power.longest_sync
        if power.under_way_since is not None:
            slow = max(slow, killed - power.under_way_since)
        assert age <= interval + slow + 2 * stalled + 0.05, (
            f"a write was lost that was acknowledged {age * 1000:.0f} ms before the loss of power: syncs every "
            f"{interval * 1000:.0f} ms, the longest took {slow * 1000:.0f} ms, the last good one began "
            f"{(killed - power.sync_began) * 1000:.0f} ms before, threads waited {stalled * 1000:.0f} ms at most")

    for _ in range(rounds):
        server = node.start()
        verify(server)
        with connect(server) as client:
            torn += client.info()["journal"]["recovered_torn_bytes"]
        with Stalls() as stalls:
            load.start(server)
            time.sleep(moments.uniform(longest / 4, longest))
            killed = time.monotonic()
            node.kill()
        load.join()
        stalled = stalls.longest
        taken += power.strike()
        until = None if interval is None else power.sync_began
    node.start()
    verify(node.server)
    print(f"{rounds} losses of power: {load.acknowledged} acknowledged writes, {taken} bytes taken, "
          f"{lost} ids with an acknowledged write lost, acknowledged {oldest * 1000:.0f} ms before at most, "
          f"{torn} torn bytes cut")
    return load, lost, torn, taken


@pytest.mark.timeout(300)
@pytest.mark.parametrize("options", [{}, {"key_ttl": 20, "journal_segment_size": 65536,
                                          "journal_max_size": 262144}], ids=["writes", "dumps"])
def test_loss_of_power_with_a_sync_for_every_answer_loses_nothing(new_node, tmp_path, options):
    load, lost, _, taken = power_loss_rounds(new_node, tmp_path, 25, "always", 0.2, **options)
    assert lost == 0
    assert load.acknowledged > 500 and taken > 0  # something was written that no sync had reached


@pytest.mark.parametrize("sync", ["always", "1000"])
def test_a_removal_undone_by_a_loss_of_power_brings_nothing_old_back(new_node, tmp_path, sync):
    """Two segments were removed, the directory was not synced yet, and the file system undoes the first
    removal only, as POSIX lets it: the old record is there, and what replaced it only in the warehouse."""
    node = new_node(journal_sync=sync, key_ttl=600000, max_dirty_ms=0, journal_segment_size=65536)
    node.start()
    filler = b"x" * 70000  # a segment's worth

    def next_segment(client):
        before = node.segments()[-1]
        assert put(client, b"filler", filler, "journal") == "ok"
        assert put(client, b"other", b"", "journal") == "ok"
        assert node.segments()[-1] > before

    with connect(node.server) as client:
        for id in (b"set", b"deleted", b"written again"):
            assert put(client, id, b"old", "journal") == "ok"
        old = node.segments()
        assert len(old) == 1
        shutil.copy(old[0], tmp_path / "kept")
        next_segment(client)
        assert put(client, b"set", b"new", "warehouse") == "ok"
        assert put(client, b"written again", b"new", "warehouse") == "ok"
        assert client.call((Atom("delete"), b"deleted", [(Atom("ack"), Atom("warehouse"))])) == "ok"
        newer = node.segments()[-1]
        next_segment(client)
        client.pipeline([(Atom("persist"), id) for id in (b"filler", b"other")])
        wait_until(lambda: not old[0].exists() and not newer.exists(), what="their removal")
    node.kill()
    shutil.copy(tmp_path / "kept", old[0])
    (node.data / "boot_id").unlink(missing_ok=True)
    for _ in range(2):  # also when the process, but not the machine, is restarted before it is dumped
        node.start()
        assert journal_info(node)["recovered_missing"] > 0
        with connect(node.server) as client:
            assert put(client, b"written again", b"newest", "journal") == "ok"
        node.kill()
    node.start()
    with connect(node.server) as client:
        assert read(client, b"set") == ("ok", b"new")
        assert read(client, b"deleted") == "ko"
        assert read(client, b"written again") == ("ok", b"newest")


def test_what_the_last_boot_left_is_not_trusted_as_long_as_it_is_there(new_node):
    """A dead segment that cannot be removed is found again by the next start."""
    node = new_node(journal_sync="never", key_ttl=600000, max_dirty_ms=0)
    if os.geteuid() == 0:
        node.prefix = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    node.start()
    with connect(node.server) as client:
        assert put(client, 1, b"old", "journal") == "ok"
    node.kill()
    node.start()
    (old,) = [path for path in node.segments() if b"old" in path.read_bytes()]
    kept = old.read_bytes()
    with connect(node.server) as client:
        assert put(client, 1, b"new", "warehouse") == "ok"
    node.kill()
    # The power failed: the record of the second write was not synced, its object is in the warehouse.
    for path in node.segments():
        path.unlink()
    old.write_bytes(kept)
    (node.data / "boot_id").unlink(missing_ok=True)
    node.start()
    node.journal.chmod(0o500)
    with connect(node.server) as client:
        assert read(client, 1) == ("ok", b"new")
        assert client.info()["object"]["dirty"] == 0
        node.server.wait_log("could not be removed")
        time.sleep(0.5)  # the boot is looked at ten times a second
    node.kill()
    node.journal.chmod(0o700)
    assert old.exists()
    node.start()
    with connect(node.server) as client:
        assert read(client, 1) == ("ok", b"new")
    # It is gone now, and the boot is known.
    wait_until(lambda: not old.exists() and (node.data / "boot_id").exists(), what="the end of the last boot")


@pytest.mark.timeout(300)
def test_loss_of_power_loses_at_most_what_was_acknowledged_since_the_last_sync(new_node, tmp_path):
    load, lost, torn, taken = power_loss_rounds(new_node, tmp_path, 25, 100, 0.6, interval=0.1)
    assert load.acknowledged > 2000
    assert taken > 0 and lost > 0, "the simulation of a loss of power takes nothing away"
    assert torn > 0, "what was torn was not reported by number"


@pytest.mark.timeout(120)
def test_a_failed_sync_is_told_and_nothing_acknowledged_is_lost(new_node, tmp_path):
    node = new_node(journal_sync="always")
    power = PowerLoss(node.journal, tmp_path)
    node.environment = power.environment
    node.start()
    good = {}
    with connect(node.server) as client:
        for number in range(20):
            assert put(client, number, b"before") == "ok"
            good[number] = b"before"
        power.fail_syncs(3)
        seen = set()
        deadline = time.monotonic() + 15
        for number in range(20, 100_000):
            answer = put(client, number, b"during")
            seen.add(str(answer))
            if answer == "ok":
                good[number] = b"during"
                if len(seen) > 1:
                    break
            else:
                assert answer == JOURNAL_ERROR
                time.sleep(0.02)
            assert time.monotonic() < deadline, "it never recovered"
        assert len(seen) == 2, "no failure of a sync was told"
        assert client.info()["journal"]["failures"] > 0
    node.kill()
    power.strike()
    node.start()
    with connect(node.server) as client:
        for number, value in good.items():
            assert read(client, number) == ("ok", value), number
