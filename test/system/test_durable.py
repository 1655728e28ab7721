"""Nothing acknowledged is ever lost: the process is killed, the power fails, the disk is full or damaged."""
import contextlib
import os
import random
import resource
import shutil
import signal
import threading
import time

import pytest

import etf
from etf import Atom
from harness import BUILD, RELEASE_BUILD, wait_until
from needs import needs
from nodes import Node, can_mount
from power_loss import PowerLoss
from workload import Workload, connect

JOURNAL_ERROR = (Atom("error"), Atom("journal"))
HEADER = 16  # of a record: crc, size, seq


@pytest.fixture
def new_node(epmd, tmp_path):
    nodes = []

    def make(name="node", **options):
        nodes.append(Node(tmp_path / name, epmd, **options))
        return nodes[-1]

    yield make
    for node in nodes:
        node.finish()


def put(client, id, value, ack=None, timeout=10):
    options = [[(Atom("ack"), Atom(ack))]] if ack else []
    return client.call((Atom("set"), id, value, *options), timeout)


def read(client, id):
    return client.call((Atom("get"), id))


def remove(client, id):
    return client.call((Atom("delete"), id))


# ---- kill -9 ------------------------------------------------------------------------------------

# What else goes on while it is killed: nothing but writes; dumps, deletes and a journal whose
# segments come and go; the sanitized build.
KILLS = {
    "writes": (90, RELEASE_BUILD, {}, {}),
    "dumps": (90, RELEASE_BUILD, {"key_ttl": 20, "journal_segment_size": 65536, "journal_max_size": 262144},
              {"persist_every": 5}),
    "sanitized": (20, BUILD, {"key_ttl": 50, "journal_segment_size": 65536, "journal_max_size": 262144},
                  {"persist_every": 5}),
}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", KILLS)
def test_kill_9_at_a_random_moment_under_write_load(new_node, kind):
    rounds, build, options, load_options = KILLS[kind]
    node = new_node(build=build, max_dirty_ms=30, **options)
    load = Workload(seed=kind, **load_options)
    moments = random.Random(kind)
    recovered = 0
    for number in range(rounds):
        server = node.start()
        load.verify(server)
        with connect(server) as client:
            recovered += client.info()["journal"]["recovered_records"]
        load.start(server)
        time.sleep(moments.uniform(0, 0.12))
        node.kill()
        load.join()
    node.start()
    load.verify(node.server)
    node.stop()
    assert node.segments() == [], "a clean stop leaves an empty journal"
    node.start()
    load.verify(node.server)
    print(f"{rounds} kills, {load.acknowledged} acknowledged writes, {load.reads} reads, "
          f"{load.late_effects} late effects, {recovered} records recovered, start {max(node.starts):.3f} s at most")
    # The test did what it says.
    assert recovered > rounds and load.acknowledged > rounds * 20 and load.reads > rounds


# ---- loss of power ------------------------------------------------------------------------------

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


# ---- a damaged journal --------------------------------------------------------------------------

def fill(node, count=100, size=200, **options):
    """Writes 0..count-1, one after the other, so that the records stand in this order; killed."""
    node.start(**options)
    with connect(node.server) as client:
        for number in range(count):
            assert put(client, number, marked(number, size)) == "ok"
    node.kill()


def marked(number, size=200):
    return b"<%06d>" % number + bytes([number % 251]) * size


def present(node, count=100, size=200):
    """The numbers that are there; what is there is right."""
    found = []
    with connect(node.server) as client:
        for number, answer in enumerate(client.pipeline([(Atom("get"), n) for n in range(count)])):
            if answer != "ko":
                assert answer == (Atom("ok"), etf.encode(marked(number, size))), number
                found.append(number)
    return found


def journal_info(node):
    with connect(node.server) as client:
        return client.info()["journal"]


def record_of(node, number):
    """(path, offset of the record, offset of its value's text)."""
    for path in node.segments():
        data = path.read_bytes()
        at = data.find(b"<%06d>" % number)
        if at >= 0:
            return path, data.rfind(b"\x83h\x06", 0, at) - HEADER, at
    raise AssertionError(f"record {number} is not in the journal")


def flip(path, offset, bit=0x10):
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ bit]))


@pytest.mark.parametrize("left", [1, 10, 15, 16, 17, 60, 250])
def test_a_torn_last_record_is_cut(new_node, left):
    node = new_node()
    fill(node)
    path, begin, _ = record_of(node, 99)
    assert path == node.segments()[-1]
    os.truncate(path, begin + left)
    node.start()
    assert present(node) == list(range(99))
    assert journal_info(node)["recovered_torn_bytes"] == left
    node.server.wait_log(r"\d+ bytes were not written completely")
    # What is written now is as safe as ever.
    with connect(node.server) as client:
        assert put(client, 99, marked(99)) == "ok"
    node.kill()
    node.start()
    assert present(node) == list(range(100))
    assert journal_info(node)["recovered_torn_bytes"] == 0


@pytest.mark.parametrize("where", ["value", "crc", "size", "seq", "stored form"])
def test_a_flipped_bit_in_the_middle_costs_one_record(new_node, where):
    node = new_node()
    fill(node)
    path, begin, value = record_of(node, 50)
    flip(path, {"crc": begin + 1, "size": begin + 5, "seq": begin + 14, "stored form": begin + HEADER + 3,
                "value": value + 20}[where])
    node.start()
    assert present(node) == [number for number in range(100) if number != 50]
    assert journal_info(node)["recovered_bad_records"] == 1
    node.server.wait_log(r"(?i)damaged")


def test_random_damage_never_brings_back_anything_wrong(new_node):
    """Many flipped bits and overwritten stretches: it starts, good records are kept, none is made up."""
    node = new_node()
    fill(node, 300)
    source = random.Random(7)
    path = node.segments()[-1]
    size = path.stat().st_size
    for _ in range(30):
        flip(path, source.randrange(64, size), 1 << source.randrange(8))
    with open(path, "r+b") as file:
        file.seek(size // 2)
        file.write(source.randbytes(700))
    node.start()
    found = present(node, 300)
    assert 230 < len(found) < 300
    assert journal_info(node)["recovered_bad_records"] > 10


def test_a_missing_segment_is_reported(new_node):
    node = new_node(journal_segment_size=65536, journal_max_size=1 << 30, key_ttl=600000)
    fill(node, 400, 1000)
    segments = node.segments()
    assert len(segments) >= 5
    victim = segments[len(segments) // 2]
    lost = [number for number in range(400) if b"<%06d>" % number in victim.read_bytes()]
    assert len(lost) > 20
    victim.unlink()
    node.start()
    assert present(node, 400, 1000) == [number for number in range(400) if number not in lost]
    assert journal_info(node)["recovered_missing"] == len(lost)
    node.server.wait_log(r"missing")


def test_foreign_files_in_the_journal_directory_are_left_alone(new_node):
    node = new_node()
    fill(node, 10)
    (node.journal / "notes.txt").write_text("mine")
    (node.journal / "1.log").write_text("not a segment's name")
    node.start()
    assert present(node, 10) == list(range(10))
    node.stop()
    assert (node.journal / "notes.txt").read_text() == "mine"
    assert (node.journal / "1.log").exists() and len(node.segments()) == 1


def assert_one_sentence(log, *words):
    lines = [line for line in log.strip().splitlines() if "rror" in line or "brain-server:" in line]
    assert len(lines) == 1, log
    for word in words:
        assert word in lines[0], lines[0]


def test_a_file_in_place_of_the_journal_directory(new_node):
    node = new_node()
    node.data.mkdir()
    node.journal.write_text("in the way")
    assert_one_sentence(node.refuses_to_start(), "journal")
    assert node.journal.read_text() == "in the way"


def test_a_journal_directory_that_cannot_be_written(new_node):
    node = new_node()
    fill(node, 10)
    # Root may write everywhere: without its capabilities it may not.
    if os.geteuid() == 0:
        node.prefix = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    node.journal.chmod(0o500)
    assert_one_sentence(node.refuses_to_start(), "journal", "ermission")
    node.journal.chmod(0o700)
    node.start()
    assert present(node, 10) == list(range(10))


# ---- a full disk --------------------------------------------------------------------------------

def write_until_refused(client, good, begin, size=2000, timeout=20):
    """Acknowledged writes go to `good`; returns the next number."""
    deadline = time.monotonic() + timeout
    number = begin
    while True:
        answer = put(client, number, marked(number, size))
        if answer != "ok":
            assert answer == JOURNAL_ERROR
            return number + 1
        good.append(number)
        number += 1
        assert time.monotonic() < deadline, "the disk does not become full"


def full_disk_story(node, make_room):
    """Fills the disk, sees {error, journal}, makes room, sees that it recovers; kills and reads all."""
    good = []
    with connect(node.server) as client:
        number = write_until_refused(client, good, 0)
        assert len(good) > 20
        # Reads go on; every write is refused at once or after an attempt, none hangs.
        for refused in range(number, number + 5):
            assert put(client, refused, marked(refused, 2000)) == JOURNAL_ERROR
        assert read(client, good[0]) == ("ok", marked(good[0], 2000))
        assert remove(client, 10 ** 6) == JOURNAL_ERROR
        wait_until(lambda: client.info()["journal"]["failures"] > 0, 5, "failures are counted")
        assert client.info()["object"]["refused_journal"] > 0
        make_room()
        number += 10
        wait_until(lambda: put(client, number, marked(number, 2000)) == "ok", 20, "writing again")
        good.append(number)
        for number in range(number + 1, number + 20):
            assert put(client, number, marked(number, 2000)) == "ok"
            good.append(number)
    node.server.wait_log("works again")
    return good, number + 1


def check_good(node, good, count):
    with connect(node.server) as client:
        answers = client.pipeline([(Atom("get"), number) for number in range(count)])
    for number in good:
        assert answers[number] == (Atom("ok"), etf.encode(marked(number, 2000))), number


@pytest.mark.timeout(120)
@pytest.mark.parametrize("sync", ["1000", "always"])
def test_no_more_space_for_the_journal(new_node, sync):
    """By the limit of a file's size: a write is cut short there, and the next fails."""
    node = new_node(journal_sync=sync, key_ttl=600000, drain_timeout=3000)

    def limit(size):
        resource.prlimit(node.server.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    node.start(preexec=lambda: signal.signal(signal.SIGXFSZ, signal.SIG_IGN))
    limit(300_000)

    def make_room():
        limit(resource.RLIM_INFINITY)

    good, count = full_disk_story(node, make_room)
    node.kill()
    node.start()
    check_good(node, good, count)


@needs(can_mount(), "a mount namespace, which `unshare -m` may not make here: run as root")
@pytest.mark.timeout(120)
def test_a_full_disk(new_node, tmp_path):
    """A file system of its own, 8 MB, with the warehouse on it as well."""
    node = new_node(key_ttl=600000, drain_timeout=3000)
    node.data.mkdir()
    node.prefix = [*can_mount(), "sh", "-c",
                   f'mount -t tmpfs -o size=8m,mode=700 none {node.data} && exec "$0" "$@"']
    node.start()
    inside = f"/proc/{node.server.process.pid}/root{node.data}"
    with open(f"{inside}/filler", "wb") as filler:
        filler.write(bytes(6 << 20))
    good, count = full_disk_story(node, lambda: os.unlink(f"{inside}/filler"))
    # The file system ends with its process: what it held is copied out at the moment of the kill.
    node.server.send_signal(signal.SIGSTOP)
    copy = tmp_path / "copy"
    shutil.copytree(inside, copy)
    node.kill()
    node.prefix = []
    shutil.rmtree(node.data)
    copy.rename(node.data)
    node.start()
    check_good(node, good, count)


# ---- acknowledgement ----------------------------------------------------------------------------

def test_a_clean_stop_leaves_an_empty_journal(new_node):
    node = new_node(build=BUILD)
    node.start()
    with connect(node.server) as client:
        client.pipeline([(Atom("set"), number, number) for number in range(2000)])
        client.pipeline([(Atom("delete"), number) for number in range(0, 2000, 2)])
    assert node.segments() != []
    node.stop()
    assert node.segments() == []
    node.start()
    assert journal_info(node)["recovered_records"] == 0
    with connect(node.server) as client:
        answers = client.pipeline([(Atom("get"), number) for number in range(2000)])
    assert answers == ["ko" if n % 2 == 0 else (Atom("ok"), etf.encode(n)) for n in range(2000)]


def test_what_reached_the_warehouse_needs_no_journal(new_node):
    node = new_node(key_ttl=600000)
    node.start()
    with connect(node.server) as client:
        assert put(client, b"kept", 1, "warehouse") == "ok"
        assert put(client, b"deleted", 1, "warehouse") == "ok"
        assert client.call((Atom("delete"), b"deleted", [(Atom("ack"), Atom("warehouse"))])) == "ok"
        assert put(client, b"journal only", 1, "journal") == "ok"
        assert put(client, b"memory only", 1, "memory") == "ok"
    node.kill()
    shutil.rmtree(node.journal)
    node.start()
    with connect(node.server) as client:
        assert read(client, b"kept") == ("ok", 1)
        assert read(client, b"deleted") == "ko"
        assert read(client, b"journal only") == "ko"


@pytest.mark.parametrize("ack", ["memory", "journal", "warehouse"])
def test_the_class_of_the_node_counts_where_the_call_says_nothing(new_node, ack):
    node = new_node(ack=ack, key_ttl=600000)
    node.start()
    with connect(node.server) as client:
        for number in range(50):
            assert client.set(number, marked(number)) == "ok"   # {s, Id, Value, Pid, Tag}
        dumps = client.info()["object"]["dumps_done"]
    assert (dumps == 50) == (ack == "warehouse")
    node.kill()
    if ack == "warehouse":
        shutil.rmtree(node.journal)
    node.start()
    if ack != "memory":
        assert present(node, 50) == list(range(50))


def test_classes_that_do_not_exist_are_refused(new_node):
    node = new_node(build=BUILD)
    node.start()
    with connect(node.server) as client:
        assert put(client, 1, 1, "everywhere") == ("error", "bad_request")
        assert put(client, 1, 1, "backup") == ("error", "notsup")
        assert read(client, 1) == "ko"


def test_deletes_do_not_come_back(new_node):
    """Written and persisted, then deleted; killed before and after the tombstone is in the warehouse."""
    node = new_node(key_ttl=600000)
    node.start()
    with connect(node.server) as client:
        stored = [(Atom("set"), n, n, [(Atom("ack"), Atom("warehouse"))]) for n in range(300)]
        assert set(client.pipeline(stored)) == {"ok"}
        assert set(client.pipeline([(Atom("delete"), n) for n in range(300)])) == {"ok"}
        client.pipeline([(Atom("persist"), n) for n in range(100)])
    for start in range(3):
        node.kill()
        node.start(key_ttl=10 if start == 1 else 600000)
        with connect(node.server) as client:
            assert set(client.pipeline([(Atom("get"), n) for n in range(300)])) == {"ko"}
            if start == 1:
                wait_until(lambda: client.info()["object"]["dirty"] == 0, what="tombstones in the warehouse")


def test_without_a_journal_nothing_is_promised_and_nothing_is_kept(new_node):
    node = new_node(journal="false", ack="memory", key_ttl=600000)
    node.start()
    with connect(node.server) as client:
        assert put(client, 1, 1) == "ok"
        assert put(client, 2, 2, "warehouse") == "ok"
    assert node.segments() == []
    node.kill()
    node.start()
    with connect(node.server) as client:
        assert read(client, 2) == ("ok", 2)
        assert read(client, 1) == "ko"


# ---- the journal's size and the time of a start --------------------------------------------------

def journal_size(node):
    """Of the segments that there are: one may be removed while they are looked at."""
    size = 0
    for path in node.segments():
        with contextlib.suppress(FileNotFoundError):
            size += path.stat().st_size
    return size


@pytest.mark.timeout(120)
def test_the_journal_stays_within_its_bound(new_node):
    """A few objects that are written all the time, beside many that are not: compaction or dumps keep
    the journal small."""
    node = new_node(journal_segment_size=65536, journal_max_size=1 << 20, key_ttl=600000, max_dirty_ms=0)
    node.start()
    with connect(node.server) as client:
        client.pipeline([(Atom("set"), n, marked(n)) for n in range(1000)])
        biggest = 0
        for batch in range(40):
            answers = client.pipeline([(Atom("set"), 2000 + n % 7, b"x" * 1000) for n in range(500)])
            assert set(answers) == {"ok"}
            biggest = max(biggest, journal_size(node))
        wait_until(lambda: journal_size(node) < 2 << 20,
                   what="a small journal")
    print(f"journal at most {biggest} bytes of 20 MB written")
    assert biggest < 6 << 20
    node.kill()
    node.start()
    assert present(node, 1000) == list(range(1000))


@pytest.mark.timeout(120)
def test_a_start_takes_as_long_as_reading_its_journal(new_node):
    """100,000 records, 50 MB: the time is measured and told; reading and checking them at 10 MB/s would
    be far slower than any disk."""
    node = new_node(key_ttl=600000, max_dirty_ms=0, ack="memory")
    node.start()
    with connect(node.server) as client:
        client.pipeline([(Atom("set"), n, marked(n, 400)) for n in range(100_000)], window=2000)
        assert put(client, b"last", 1, "journal") == "ok"
    node.kill()
    size = journal_size(node)
    assert size > 45_000_000
    node.start()
    print(f"{size} bytes of journal, ready after {node.starts[-1]:.2f} s")
    assert node.starts[-1] < size / 10e6
    assert journal_info(node)["recovered_records"] == 100_001
    with connect(node.server) as client:
        source = random.Random(3)
        for number in (source.randrange(100_000) for _ in range(500)):
            assert client.call((Atom("get"), number)) == ("ok", marked(number, 400))
    node.kill()
