"""The loss of power, after the fact: power_loss.c noted what was synced, this takes the rest away."""
import os
import pathlib
import random
import struct

from harness import BUILD

LIBRARY = BUILD / "test/system/libpower_loss.so"
HEAD = struct.Struct("<8sIIIIIIQQQ")
NOTE = struct.Struct("<QQIII100s")


class PowerLoss:
    """Of one directory, which the server under test makes. Give `environment` to the server, kill it
    with SIGKILL, then call strike(): the directory is what a disk could hold after a loss of power."""

    def __init__(self, directory, scratch, seed=1):
        self.directory = pathlib.Path(directory)
        self.notes = pathlib.Path(scratch) / "power-loss-notes"
        self.removed = pathlib.Path(scratch) / "power-loss-removed"
        self.removed.mkdir(exist_ok=True)
        self.random = random.Random(seed)
        self.lost_bytes = 0

    @property
    def environment(self):
        assert LIBRARY.exists(), f"{LIBRARY} was not built"
        # As the kernel will name it in /proc/self/fd.
        return {"LD_PRELOAD": str(LIBRARY), "POWER_LOSS_NOTES": str(self.notes),
                "POWER_LOSS_REMOVED": str(self.removed),
                "POWER_LOSS_DIRECTORY": str(self.directory.parent.resolve() / self.directory.name)}

    def read(self):
        """{name: (inode, synced bytes, is the entry durable)} of all files noted."""
        data = self.notes.read_bytes()
        (magic, count, overflow, self.syncs, _, _, self.durable_removals,
         began, longest, under_way) = HEAD.unpack_from(data, 0)
        self.sync_began = began / 1e9  # of the last good one, as time.monotonic()
        self.longest_sync = longest / 1e9
        self.under_way_since = under_way / 1e9 if under_way else None
        assert magic == b"POWERL1\n" and overflow == 0, (magic, overflow)
        found = {}
        for index in range(count):
            inode, synced, used, entry, _, name = NOTE.unpack_from(data, HEAD.size + NOTE.size * index)
            if used:
                found[name.split(b"\0")[0].decode()] = (inode, synced, bool(entry))
        return found

    def fail_syncs(self, count):
        """So many further syncs of watched files fail with EIO. While the server runs."""
        with open(self.notes, "r+b") as notes:
            notes.seek(20)
            notes.write(struct.pack("<I", count))

    def strike(self, manner="any"):
        """After SIGKILL. What was not synced is lost as a disk may lose it: cut off; cut somewhere;
        or of full length with zeros or garbage in it. Returns the number of bytes it took."""
        lost = 0
        # The machine comes up as another boot than the one that data_dir remembers.
        (self.directory.parent / "boot_id").unlink(missing_ok=True)
        for name, (inode, synced, entry) in self.read().items():
            path = self.directory / name
            if not path.exists() or path.stat().st_ino != inode:
                continue
            size = path.stat().st_size
            if not entry:
                lost += size
                path.unlink()
            elif size > synced:
                lost += size - synced
                self._take(path, synced, size, self.random.choice(["cut", "somewhere", "zeros", "garbage"])
                           if manner == "any" else manner)
        # Removals that were not synced, in their order: some of the first are done, the others are
        # undone. A journaling file system does them in order.
        removals = []
        for aside in sorted(self.removed.iterdir()):
            number, _, name = aside.name.partition("-")
            if int(number) <= self.durable_removals or (self.directory / name).exists():
                aside.unlink()
            else:
                removals.append((aside, name))
        done = self.random.randint(0, len(removals))
        for number, (aside, name) in enumerate(removals):
            if number < done:
                aside.unlink()
            else:
                os.rename(aside, self.directory / name)
        self.notes.unlink()
        self.lost_bytes += lost
        return lost

    def _take(self, path, synced, size, manner):
        end = synced if manner == "cut" else self.random.randint(synced, size)
        with open(path, "r+b") as file:
            if manner in ("cut", "somewhere"):
                file.truncate(end)
            else:
                file.seek(synced)
                file.write(bytes(size - synced) if manner == "zeros" else self.random.randbytes(size - synced))
