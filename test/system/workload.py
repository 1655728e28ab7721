"""Concurrent clients that write, delete and read, remember everything they were told, and check it
after the server died.

Each id has one writer, which numbers its writes 1, 2, 3 ...; every value says which it is, and every
seventh is a delete. So what is read of an id is a number, and these must hold:

- a read shows nothing older than what was acknowledged before it was asked, nor than what any
  earlier read had shown;
- after a crash the same: what was acknowledged or seen is there, bit for bit, or something newer
  that was written;
A write whose answer was never heard may take effect at any time, also after a crash had seemed to
have taken it away (its dump was in the warehouse before its record was in the journal, and the next
dump of the record finds it there). That is counted: `late_effects`.
"""
import random
import struct
import threading
import time
from collections import deque

import etf
from dist_client import Closed, DistClient
from etf import Atom, Raw

GONE = (Closed, OSError, TimeoutError)


class FastClient(DistClient):
    """The same with a buffer that is not copied for every message."""

    def __init__(self, *arguments, **keywords):
        self.at = 0
        super().__init__(*arguments, **keywords)

    def read_exactly(self, size, timeout=10):
        if len(self.buffer) - self.at < size:
            self.buffer = bytearray(self.buffer[self.at:])
            self.at = 0
            self.socket.settimeout(timeout)
            while len(self.buffer) < size:
                try:
                    data = self.socket.recv(1 << 18)
                except ConnectionError as error:
                    raise Closed() from error
                if not data:
                    raise Closed()
                self.buffer += data
        data = bytes(self.buffer[self.at:self.at + size])
        self.at += size
        return data

    def ask(self, request):
        """A call whose answer comes with `next_answer`; returns its tag."""
        tag = self.tag()
        self.reg_send((Atom("$gen_call"), (self.pid, tag), request))
        return tag

    def next_answer(self, timeout=10):
        """(tag, answer): the answer decoded, except that of {ok, Value} the value is Raw."""
        while True:
            _, payload = self.receive_raw(timeout)
            if payload is None or payload[:2] != b"h\x02":
                continue
            tag, at = etf.decode_at(payload, 2)
            if payload[at:at + 2] == b"h\x02":
                first, after = etf.decode_at(payload, at + 2)
                if first == "ok":
                    return tag, (first, Raw(payload[after:]))
            return tag, etf.decode_at(payload, at)[0]

    def call_raw(self, request, timeout=10):
        """As `call`, with the answer of `next_answer`."""
        wanted = self.ask(request)
        while True:
            tag, answer = self.next_answer(timeout)
            if tag == wanted:
                return answer

    def pipeline(self, requests, window=64, timeout=10):
        """Answers in the order of `requests`."""
        requests, answers, open_tags = list(requests), {}, {}
        for number, request in enumerate(requests):
            open_tags[self.ask(request)] = number
            while len(open_tags) >= window:
                tag, value = self.next_answer(timeout)
                answers[open_tags.pop(tag)] = value
        while open_tags:
            tag, value = self.next_answer(timeout)
            answers[open_tags.pop(tag)] = value
        return [answers[number] for number in range(len(requests))]


def connect(server):
    return FastClient(server.port, server.cookie)


class Entry:
    """What is known of one id."""
    __slots__ = ("name", "issued", "acked", "seen", "base", "horizon", "history")

    def __init__(self, name):
        self.name = name
        self.issued = 0    # the last write sent
        self.acked = 0     # the last write acknowledged
        self.seen = 0      # at least this was shown to a reader
        self.base = 0      # what was there when the server last started
        self.horizon = 0   # of the writes up to this one, nothing but `base` was there then
        self.history = deque(maxlen=4096)  # (when it was acknowledged, number)

    def possible(self, number, least):
        return least <= number <= self.issued

    def acked_before(self, moment):
        """The last write that had been acknowledged at `moment`."""
        return max((number for when, number in self.history if when <= moment), default=self.base)


def is_delete(number):
    return number % 7 == 0


class Workload:
    def __init__(self, writers=3, ids_each=50, seed=1, window=24, largest=3000, persist_every=0, prefix="w"):
        self.entries = [[Entry(f"{prefix}{writer}:{index}".encode()) for index in range(ids_each)]
                        for writer in range(writers)]
        self.seed, self.window, self.largest, self.persist_every = seed, window, largest, persist_every
        self.problems = []
        self.round = 0
        self.acknowledged = 0
        self.reads = 0
        self.late_effects = 0
        self.oldest_lost = None  # when the first of the writes was acknowledged that the last verify missed
        self.refused = {}
        self.tolerated = ()      # reasons of {error, Reason} that are no problem
        self.ending = threading.Event()
        self.threads = []
        self.pause = 0           # seconds between writes

    @property
    def all(self):
        return [entry for group in self.entries for entry in group]

    def value(self, entry, number):
        """The external form of what write `number` stores; never the same twice."""
        source = random.Random(f"{entry.name}{number}")
        size = 200_000 if number % 97 == 1 else source.randrange(self.largest)
        body = struct.pack(">Q", number) + source.randbytes(size)
        if number % 3 == 0:
            return Raw(etf.encode((Atom("v"), {b"of": entry.name, 1.5: [-number, 1 << 70]}, body)))
        return Raw(etf.encode(body))

    def number_in(self, raw):
        term = etf.decode(raw)
        return struct.unpack_from(">Q", term[2] if isinstance(term, tuple) else term)[0]

    # ---- the load -------------------------------------------------------------------------------

    def start(self, server, readers=1):
        self.round += 1
        self.ending.clear()
        jobs = [(self._write, group) for group in self.entries] + [(self._read, None)] * readers
        self.threads = [threading.Thread(target=self._guard, args=(job, connect(server), group, number))
                        for number, (job, group) in enumerate(jobs)]
        for thread in self.threads:
            thread.start()

    def join(self):
        """The server is gone, or the load ends by itself: waits for the threads."""
        self.ending.set()
        for thread in self.threads:
            thread.join(60)
            assert not thread.is_alive(), "a client is stuck"
        assert self.problems == [], "\n".join(self.problems[:20])

    def _guard(self, job, client, group, number):
        try:
            with client:
                job(client, group, random.Random(f"{self.seed}{self.round}{number}"))
        except TimeoutError as problem:
            self.problems.append(f"a request got no answer: {problem!r}")
        except GONE:
            pass
        except Exception as problem:  # noqa: BLE001 - told by the main thread
            self.problems.append(repr(problem))

    def _write(self, client, group, source):
        under_way = {}
        while not self.ending.is_set() or under_way:
            while len(under_way) < self.window and not self.ending.is_set():
                entry = source.choice(group)
                entry.issued += 1
                number = entry.issued
                if is_delete(number):
                    request = (Atom("delete"), entry.name)
                else:
                    request = (Atom("set"), entry.name, self.value(entry, number),
                               [(Atom("ack"), Atom("journal"))])
                under_way[client.ask(request)] = (entry, number)
                if self.persist_every and number % self.persist_every == 0:
                    client.reg_send((Atom("p"), entry.name))
                if self.pause:
                    time.sleep(self.pause)
            tag, answer = client.next_answer()
            entry, number = under_way.pop(tag)
            if answer == "ok":
                entry.acked = max(entry.acked, number)
                entry.history.append((time.monotonic(), number))
                self.acknowledged += 1
            else:
                reason = str(answer[1]) if isinstance(answer, tuple) else str(answer)
                self.refused[reason] = self.refused.get(reason, 0) + 1
                if reason not in self.tolerated:
                    self.problems.append(f"write {number} of {entry.name}: {answer!r}")

    def _read(self, client, _, source):
        entries, under_way = self.all, {}
        while not self.ending.is_set() or under_way:
            while len(under_way) < 8 and not self.ending.is_set():
                entry = source.choice(entries)
                least = max(entry.acked, entry.seen)
                under_way[client.ask((Atom("get"), entry.name))] = (entry, least)
            tag, answer = client.next_answer()
            entry, least = under_way.pop(tag)
            if isinstance(answer, tuple) and answer[0] == "error" and str(answer[1]) in self.tolerated:
                self.refused[str(answer[1])] = self.refused.get(str(answer[1]), 0) + 1
                continue
            problem, number = self.judge(entry, answer, least)
            if problem:
                self.problems.append(problem)
            else:
                entry.seen = max(entry.seen, number)
                self.reads += 1

    # ---- judging --------------------------------------------------------------------------------

    def judge(self, entry, answer, least):
        """(what is wrong or None, the number shown: of a delete the least that it can be)."""
        state = f"(base {entry.base}, horizon {entry.horizon}, issued {entry.issued}, at least {least})"
        if answer == "ko":
            for number in range(least, entry.issued + 1):
                if is_delete(number):
                    return None, number
            return f"{entry.name} is not there {state}", 0
        if not (isinstance(answer, tuple) and answer[0] == "ok"):
            return f"{entry.name}: {answer!r}", 0
        number = self.number_in(answer[1])
        if answer[1] != self.value(entry, number):
            return f"{entry.name}: write {number} came back with other bytes", number
        if is_delete(number) or not entry.possible(number, least):
            return f"{entry.name}: write {number} was read {state}", number
        self.late_effects += entry.base < number <= entry.horizon
        return None, number

    def verify(self, server, acknowledged_until=None):
        """After a restart: reads every id and judges it. `acknowledged_until`: only what was
        acknowledged up to that moment counts, and what was seen does not; returns how many ids lost
        an acknowledged write."""
        lost, problems = 0, []
        self.oldest_lost = None
        with connect(server) as client:
            entries = self.all
            answers = client.pipeline([(Atom("get"), entry.name) for entry in entries])
            for entry, answer in zip(entries, answers):
                strict = max(entry.acked, entry.seen)
                least = strict if acknowledged_until is None else entry.acked_before(acknowledged_until)
                problem, number = self.judge(entry, answer, least)
                if problem:
                    problems.append(problem)
                    continue
                lost += number < strict
                missed = [when for when, acked in entry.history if number < acked]
                self.oldest_lost = min([*missed, *([self.oldest_lost] if self.oldest_lost else [])], default=None)
                entry.base = entry.acked = entry.seen = number
                entry.horizon = entry.issued
                entry.history.clear()
        assert problems == [], "\n".join(problems[:20]) + f"\n{len(problems)} in all"
        return lost
