"""What the preloaded library notes, and what a loss of power then leaves: shown on a small program."""
import subprocess
import sys

import pytest

from power_loss import PowerLoss

PROGRAM = r"""
import os, signal
os.chdir(os.environ["POWER_LOSS_DIRECTORY"])
def open_new(name): return os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
here = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
a = open_new("a"); os.write(a, b"synced"); os.fdatasync(a); os.fsync(here); os.write(a, b" not synced")
b = open_new("b"); os.write(b, b"synced, but its name is not"); os.fsync(b)
old = os.open("old", os.O_WRONLY | os.O_APPEND); os.write(old, b"+tail")
gone = os.open("gone", os.O_WRONLY); os.unlink("gone")
"""


@pytest.fixture
def power(tmp_path):
    (tmp_path / "watched").mkdir()
    (tmp_path / "watched/old").write_bytes(b"before")
    (tmp_path / "watched/gone").write_bytes(b"removed")
    return PowerLoss(tmp_path / "watched", tmp_path)


def run(power, more):
    done = subprocess.run([sys.executable, "-c", PROGRAM + more], env=power.environment, check=False,
                          stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert done.returncode == -9, done.stderr.decode()


KILL = "os.kill(os.getpid(), signal.SIGKILL)"


def test_what_was_not_synced_is_lost(power):
    run(power, KILL)
    assert (power.directory / "a").read_bytes() == b"synced not synced"
    assert power.strike("cut") == len(b" not synced") + len(b"synced, but its name is not") + len(b"+tail")
    assert (power.directory / "a").read_bytes() == b"synced"
    assert (power.directory / "old").read_bytes() == b"before"
    assert not (power.directory / "b").exists()


@pytest.mark.parametrize("manner", ["somewhere", "zeros", "garbage"])
def test_a_disk_may_keep_some_or_garbage(power, manner):
    run(power, KILL)
    power.strike(manner)
    left = (power.directory / "a").read_bytes()
    assert left.startswith(b"synced") and len(left) <= 17
    if manner == "zeros":
        assert left == b"synced" + bytes(11)
    if manner == "garbage":
        assert len(left) == 17 and left != b"synced not synced"


def test_nothing_is_lost_that_was_synced(power):
    run(power, "os.fsync(a); os.fsync(b); os.fdatasync(old); os.fsync(here)\n" + KILL)
    assert power.strike() == 0
    assert (power.directory / "a").read_bytes() == b"synced not synced"
    assert (power.directory / "b").exists() and not (power.directory / "gone").exists()
    assert (power.directory / "old").read_bytes() == b"before+tail"


def test_a_removal_may_be_undone(tmp_path):
    outcomes = set()
    for seed in range(8):
        scratch = tmp_path / str(seed)
        (scratch / "watched").mkdir(parents=True)
        (scratch / "watched/old").write_bytes(b"before")
        (scratch / "watched/gone").write_bytes(b"removed")
        power = PowerLoss(scratch / "watched", scratch, seed)
        run(power, KILL)
        power.strike()
        outcomes.add((scratch / "watched/gone").exists())
    assert outcomes == {True, False}


def test_a_kill_during_the_sync_of_the_directory_undoes_all_or_nothing(tmp_path):
    """When the sync was done and this library was only noting it, no removal is undone; and never one
    without those after it."""
    for seed in range(8):
        scratch = tmp_path / str(seed)
        (scratch / "watched").mkdir(parents=True)
        (scratch / "watched/old").write_bytes(b"before")
        (scratch / "watched/gone").write_bytes(b"removed")
        power = PowerLoss(scratch / "watched", scratch, seed)
        # Noted in the other order than removed: a slot of the notes is used again.
        run(power, r"""
c = open_new("c"); os.fsync(here); os.unlink("a"); os.unlink("c")
os.environ["POWER_LOSS_KILL_IN_SYNC"] = "1"
os.fsync(here)
""")
        power.strike()
        assert not {"a", "c", "gone"} & {path.name for path in power.directory.iterdir()}


def test_syncs_can_be_made_to_fail(power):
    run(power, rf"""
import struct
with open(os.environ["POWER_LOSS_NOTES"], "r+b") as notes:
    notes.seek(20); notes.write(struct.pack("<I", 2))
for expected in (False, False, True):
    try: os.fdatasync(a); worked = True
    except OSError: worked = False
    assert worked == expected
{KILL}""")
    assert power.strike("cut") > 0
    assert (power.directory / "a").read_bytes() == b"synced not synced"
