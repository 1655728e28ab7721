"""A warehouse without a server around it: `warehouse_tool`."""
import os
import re
import subprocess
import threading
import time

from harness import BUILD, SANITIZER_OPTIONS, SANITIZER_REPORT, die_with_parent

TOOL = BUILD / "test" / "system" / "warehouse_tool"
NONE = "0.0.0"


class Answer:
    def __init__(self, line):
        number, self.status, self.stored, tombstone, size, self.crc, ms, self.error = line.split(" ", 7)
        self.number, self.tombstone, self.size, self.ms = int(number), tombstone == "1", int(size), int(ms)

    def __repr__(self):
        return f"{self.number} {self.status} {self.stored} {self.size} {self.ms} ms {self.error}"


def expect_conflict(answer, stored):
    assert (answer.status, answer.stored) == ("conflict", stored), answer


class Tool:
    """One process with one warehouse open."""

    def __init__(self, directory, environment=None, **options):
        self.log_path = directory / f"tool{time.monotonic_ns()}.log"
        arguments = [f"{name}={value}" for name, value in options.items()]
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                [TOOL, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
                bufsize=1, preexec_fn=die_with_parent,
                env={**{k: v for k, v in os.environ.items() if not k.startswith("AWS_")},
                     "HOME": str(directory), "no_proxy": "*", **SANITIZER_OPTIONS, **(environment or {})})
        first = self.process.stdout.readline().rstrip("\n")
        self.refusal = first.removeprefix("refused ") if first.startswith("refused ") else None
        self.opened = re.fullmatch(r"open (\d+) (\d+)", first)
        assert self.refusal or self.opened, (first, self.log)
        self.sent, self.answers, self.closed_ms = 0, {}, None
        self.condition = threading.Condition()
        threading.Thread(target=self.read, daemon=True).start()

    @property
    def log(self):
        return self.log_path.read_text(errors="replace")

    def read(self):
        for line in self.process.stdout:
            with self.condition:
                if line.startswith("closed "):
                    self.closed_ms = int(line.split()[1])
                else:
                    answer = Answer(line.rstrip("\n"))
                    assert answer.number not in self.answers
                    self.answers[answer.number] = answer
                self.condition.notify_all()

    def submit(self, *words):
        words = [words[0], (words[1].encode() if isinstance(words[1], str) else words[1]).hex(), *words[2:]]
        self.sent += 1
        self.process.stdin.write(" ".join(words) + "\n")
        self.process.stdin.flush()
        return self.sent

    def answer(self, number, timeout=60):
        with self.condition:
            assert self.condition.wait_for(lambda: number in self.answers, timeout), f"no answer {number}: {self.log}"
            return self.answers[number]

    def ask(self, *words, timeout=60):
        return self.answer(self.submit(*words), timeout)

    def dump(self, id, version, value="10:1", expected="-"):
        return self.ask("dump", id, version, expected, value)

    def load(self, id):
        return self.ask("load", id)

    def close(self):
        self.process.stdin.close()
        assert self.process.wait(timeout=60) == (1 if self.refusal else 0), self.log
        assert not SANITIZER_REPORT.search(self.log), self.log
