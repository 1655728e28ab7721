"""Clients of a cluster that write, delete and read a few ids at once, through all members, and record what they
asked and were told (history). `check` then looks for an order that explains it all.

    load = Load(cluster, clients=6, ids=12)
    with load: ...                      # the faults
    load.check(cluster.members[0])      # reads every id once more, and judges

A client that is told nothing for PATIENCE seconds, or whose connection ends, goes on as a new sender at another
member; what it had asked has an unknown outcome. Silence is a problem unless the member was named in `may_hang`.
"""
import collections
import random
import threading
import time

import etf
from cluster import PATIENCE
from etf import Atom
from history import History
from workload import GONE

PADDING = b"p" * 2000


class Load:
    def __init__(self, members, clients=6, ids=12, seed=1, window=4, prefix=b"h", pause=0.004, home=None, ack=None,
                 writes=5, reads=6, deletes=1, history=None):
        """home: client n stays at member home[n], and waits there until it is back; None: they move on. history: of
        another load with another seed, to go on with."""
        self.members, self.clients, self.seed, self.window, self.pause = list(members), clients, seed, window, pause
        self.ids = [prefix + b":%d" % number for number in range(ids)]
        self.home, self.weights = home, (writes, reads, deletes)
        self.options = [[(Atom("ack"), Atom(ack))]] if ack else []
        self.history = history or History()
        self.lock = threading.Lock()
        self.problems = []
        self.answered = collections.Counter()   # by member: operations with a known outcome
        self.refused = collections.Counter()    # by (member, reason)
        self.lost = collections.Counter()       # by member: connections that ended under a client
        self.hung = collections.Counter()       # by member: requests that had no answer in time
        self.may_hang = set()
        self.silence = collections.Counter()    # by member: longest time between two known outcomes, s
        self.ending = threading.Event()
        self.threads = []

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, *_):
        self.stop()
        if kind is None:
            assert self.problems == [], "\n".join(self.problems[:10])

    def start(self):
        self.threads = [threading.Thread(target=self._guard, args=(number,)) for number in range(self.clients)]
        for thread in self.threads:
            thread.start()
        return self

    def stop(self):
        self.ending.set()
        for thread in self.threads:
            thread.join(60)
            assert not thread.is_alive(), "a client is stuck"

    def errors(self, member):
        """What clients of this member saw that was no result."""
        found = {reason: count for (name, reason), count in self.refused.items() if name == member.name}
        for name, counter in (("connection lost", self.lost), ("no answer", self.hung)):
            if counter[member.name]:
                found[name] = counter[member.name]
        return found

    # ---- one client -----------------------------------------------------------------------------

    def _guard(self, number):
        try:
            self._client(number)
        except Exception as problem:  # noqa: BLE001 - told by the main thread
            self.problems.append(f"client {number}: {problem!r}")

    def _client(self, number):
        source = random.Random(f"{self.seed}.{number}")
        at, session = number, 0
        while not self.ending.is_set():
            member = self.home[number] if self.home else self.members[at % len(self.members)]
            at, session = at + 1, session + 1
            try:
                client = member.client()
            except (*GONE, AssertionError, AttributeError):  # not there, not ready, or no server yet
                time.sleep(0.05)
                continue
            with client:
                self._session(client, member, f"{self.seed}.c{number}.{session}", source)

    def _session(self, client, member, sender, source):
        under_way, count, last = {}, 0, time.monotonic()
        try:
            while not self.ending.is_set() or under_way:
                while len(under_way) < self.window and not self.ending.is_set():
                    count += 1
                    one, request = self._next(sender, count, source, member)
                    under_way[client.ask(request)] = one
                    if self.pause:
                        time.sleep(self.pause)
                tag, answer = client.next_answer(PATIENCE)
                now = time.monotonic()
                one = under_way.pop(tag)
                known = self._record(one, answer, now)
                with self.lock:
                    if known:
                        self.answered[member.name] += 1
                        self.silence[member.name] = max(self.silence[member.name], now - last)
                    else:
                        self.refused[member.name, one.outcome] += 1
                if known:
                    last = now
        except GONE as problem:
            silent = isinstance(problem, TimeoutError)
            for one in under_way.values():
                one.outcome = "no answer" if silent else "connection lost"
            with self.lock:
                (self.hung if silent else self.lost)[member.name] += 1
                if silent and member not in self.may_hang:
                    self.problems.append(f"{sender}: {member} gave no answer: {next(iter(under_way.values()))}")

    def _next(self, sender, count, source, member):
        id = source.choice(self.ids)
        kind = source.choices(("write", "read", "delete"), self.weights)[0]
        text = f"{sender}#{count}" if kind == "write" else None
        one = self.history.begin(id, kind, sender, text, member.name)
        if kind == "read":
            return one, (Atom("get"), id)
        if kind == "delete":
            return one, (Atom("delete"), id)
        return one, (Atom("set"), id, self.value(id, text), *self.options)

    @staticmethod
    def value(id, text):
        """Some are small, some are not."""
        return (id, text.encode(), PADDING if len(text) % 2 else b"")

    def _record(self, one, answer, now):
        """Is the outcome known?"""
        if one.kind == "read":
            if answer == "ko":
                one.end = now
            elif isinstance(answer, tuple) and answer[0] == "ok":
                id, text, _ = term = etf.decode(answer[1])
                one.value = text.decode()
                if id != one.id or term != self.value(one.id, one.value):
                    self.problems.append(f"{one}: another value came back: {term!r}")
                one.end = now
        elif answer == "ok":
            one.end = now
        if not one.known:
            one.outcome = str(answer[1]) if isinstance(answer, tuple) else str(answer)
        return one.known

    # ---- the verdict ----------------------------------------------------------------------------

    def read_all(self, member, timeout=20):
        """Every id once more, through `member`, as part of the history; an error is asked again, until `timeout`."""
        deadline = time.monotonic() + timeout
        with member.client() as client:
            for id in self.ids:
                while True:
                    one = self.history.begin(id, "read", f"final via {member}", via=member.name)
                    if self._record(one, client.call_raw((Atom("get"), id), PATIENCE), time.monotonic()):
                        break
                    assert time.monotonic() < deadline, f"{id!r} cannot be read: {one}"
                    time.sleep(0.1)

    def check(self, *members):
        for member in members:
            self.read_all(member)
        self.history.check()

    def summary(self):
        return (f"{len(self.history.operations)} operations, answered {dict(self.answered)}, refused {dict(self.refused)}, "
                f"lost {dict(self.lost)}, hung {dict(self.hung)}, longest silence "
                f"{ {name: round(seconds, 2) for name, seconds in self.silence.items()} }")
