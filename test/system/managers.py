"""A member of a cluster without a server around it: `managers_tool`, the room with nothing around it. Its times
are CLOCK_BOOTTIME, which all processes share, so that a member's belief in its lease can be compared with what
another member sees."""
import collections
import itertools
import os
import signal
import subprocess
import time

from harness import BUILD, SANITIZER_OPTIONS, SANITIZER_REPORT, die_with_parent, wait_until

LEASE = 2  # s; the shortest that etcd grants
Event = collections.namedtuple("Event", "ms kind fields")


def now_ms():
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000000


class Member:
    counter = itertools.count()

    def __init__(self, directory, servers, name, **options):
        self.name = name
        number = next(self.counter)
        self.out, self.err = directory / f"member-{number}.out", directory / f"member-{number}.err"
        settings = {"name": name, "servers": servers, "lease": LEASE * 1000, "address": "127.0.0.1", "port": 1234,
                    "protocol": 7, **options}
        with open(self.out, "wb") as out, open(self.err, "wb") as err:
            self.process = subprocess.Popen(
                [BUILD / "test/system/managers_tool", *(f"{key}={value}" for key, value in settings.items())],
                stdin=subprocess.PIPE, stdout=out, stderr=err, preexec_fn=die_with_parent,
                env={**os.environ, **SANITIZER_OPTIONS})

    def say(self, line):
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()
        return self

    def join(self):
        return self.say("join")

    @property
    def events(self):
        found = []
        for line in self.out.read_text().splitlines(keepends=True):
            if line.endswith("\n"):
                ms, kind, *fields = line.split()
                found.append(Event(int(ms), kind, dict(field.split("=", 1) for field in fields if "=" in field)))
        return found

    def all(self, kind):
        return [event for event in self.events if event.kind == kind]

    def wait(self, kind, count=1, timeout=20, **fields):
        """The count-th event of this kind and these fields."""
        def there():
            found = [event for event in self.all(kind) if fields.items() <= event.fields.items()]
            return found[count - 1] if len(found) >= count else None
        return wait_until(there, timeout, f"{self.name}: {count} {kind} {fields or ''}")

    def views(self):
        """[(number, digest, names)] of the membership there is now; [] without one."""
        views = []
        for event in self.events:
            if event.kind in ("JOINED", "LOST"):
                views = []
            if "view" in event.fields:
                views.append((int(event.fields["view"]), event.fields["digest"],
                              [member.split("/")[0] for member in event.fields["members"].split(",")]))
        return views

    def wait_names(self, *names, timeout=20):
        """Until the last view is of these; then when it was told."""
        wait_until(lambda: self.views() and self.views()[-1][2] == sorted(names), timeout, f"{self.name}: {names}")
        return [event for event in self.events if "view" in event.fields][-1].ms

    @property
    def until_ms(self):
        return [int(event.fields["until"]) for event in self.events if "until" in event.fields][-1]

    def is_fenced(self):
        return now_ms() > self.until_ms

    @property
    def incarnation(self):
        return self.all("JOINED")[-1].fields["incarnation"]

    @property
    def log(self):
        return self.err.read_text(errors="replace")

    def kill(self, number=signal.SIGKILL):
        self.process.send_signal(number)

    def finish(self):
        try:
            if self.process.poll() is None:
                self.process.send_signal(signal.SIGCONT)
                self.process.stdin.close()
                assert self.process.wait(30) == 0
                assert self.events[-1].kind == "CLOSED"
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
        assert SANITIZER_REPORT.search(self.log) is None, self.log[:8000]
