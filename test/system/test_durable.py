"""Nothing acknowledged is ever lost: the process is killed, and starts again."""
import contextlib
import random
import shutil
import time

import pytest

import etf
from etf import Atom
from harness import BUILD, RELEASE_BUILD, wait_until
from journaled import journal_info, marked, present, put, read
from workload import Workload, connect


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


# ---- the journal's size and the time of a start -------------------------------------------------

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
