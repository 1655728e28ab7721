"""A damaged journal costs what was damaged, and a full disk refuses writes until there is room again."""
import os
import random
import resource
import shutil
import signal
import time

import pytest

import etf
from etf import Atom
from harness import wait_until
from journaled import JOURNAL_ERROR, fill, journal_info, marked, present, put, read, remove
from needs import needs
from nodes import can_mount
from workload import connect

HEADER = 16  # of a record: crc, size, seq


# ---- a damaged journal --------------------------------------------------------------------------

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
