"""What clients asked and were told, and whether one register per id could have told them so.

Every operation has a begin, an end and a sender. An order of the operations of one id is looked for in
which each takes effect between its begin and its end, reads show the last write before them, and those of one sender stay in
the order in which it sent them (Wing and Gong's search, with a memory of the states that led nowhere, and cut short
by what unique values tell, after Gibbons and Korach). A write whose
outcome nobody heard (an error, a lost connection) may have taken effect at any time since, or never,
but not after a later operation of its sender. It may have before a read that its sender had sent earlier:
when an owner is lost, reads are done again, and writes are not. So may any operation whose answer came before that
of the read (docs/protocol.md, Order; test/sim/linear.h judges in the same way).

Values are unique, absent is None. What a correct store cannot show, and this finds: a stale read, a lost
write, two owners, a value from nowhere, a sender's writes in another order.
"""
import collections
import dataclasses
import itertools
import math
import threading
import time

STATES_LIMIT = 300_000  # of one id; a history beyond it is not judged, which is a failure too
NEVER = math.inf


class Violation(AssertionError):
    """No order of the operations explains what was answered."""


class Undecided(AssertionError):
    """The search was given up: make the histories shorter."""


@dataclasses.dataclass
class Operation:
    id: bytes
    kind: str             # "write", "delete", "read"
    sender: str
    number: int           # grows with what this sender sent
    begin: float
    value: object = None  # written, or read; None: absent
    end: float = NEVER    # NEVER: the outcome is not known
    via: str = ""         # for people: which node was asked
    outcome: str = ""     # for people: what was said when it is not known

    @property
    def known(self):
        return self.end != NEVER

    def __str__(self):
        until = f"{self.end:.3f}" if self.known else f"? ({self.outcome or 'no answer'})"
        what = "absent" if self.value is None else repr(self.value)
        return f"{self.begin:.3f} to {until}  {self.sender}#{self.number} via {self.via}: {self.kind} {what}"


class History:
    """Filled by many threads at once; `check` when they are done."""

    def __init__(self):
        self.operations = []
        self.numbers = itertools.count(1)
        self.lock = threading.Lock()

    def begin(self, id, kind, sender, value=None, via=""):
        with self.lock:
            one = Operation(id, kind, sender, next(self.numbers), time.monotonic(), value, via=via)
            self.operations.append(one)
            return one

    def by_id(self):
        found = {}
        for one in self.operations:
            found.setdefault(one.id, []).append(one)
        return found

    def check(self):
        """Raises what is wrong with the first few ids."""
        problems = []
        for operations in self.by_id().values():
            try:
                check_one(operations)
            except Violation as problem:
                problems.append(str(problem))
        if problems:
            raise Violation(f"{len(problems)} ids:\n" + "\n\n".join(problems[:3]))


def check_one(operations):
    """The operations of one id, in any order."""
    operations = [one for one in operations if one.known or one.kind != "read"]
    read = {one.value for one in operations if one.kind == "read"}
    written = {one.value for one in operations if one.kind == "write"}
    for one in operations:
        if one.kind == "read" and one.value is not None and one.value not in written:
            raise Violation(f"{one.id!r}: a value that nobody wrote\n  {one}")
    # An unknown write that nobody saw is taken for one that never happened.
    operations = [one for one in operations if one.known or one.value in read]
    if operations:
        Search(operations, read).run()


UNREAD = object()  # the value when it is one that nobody reads


class Search:
    """Depth first, over states (which operations are done, the value, which of the optional ones are used up).

    What keeps it short, for histories of any length:
    - Values are unique, but for absence. So a write that a read saw took effect before that read ended, and the read after
      the write began, whatever was told of the write; and it is not overwritten before all its reads are done.
    - A write that nobody read may go right before any other write, where it changes nothing.
    - What is done is told by the first that is not, and a few bits behind it.
    Optional are deletes of unknown outcome: they happen only where a read that comes next needs them."""

    def __init__(self, operations, read):
        writers = collections.Counter(one.value for one in operations if one.kind == "write")
        self.unique = {value for value, count in writers.items() if count == 1}
        must = [one for one in operations if one.known or one.value in self.unique]
        self.optional = [one for one in operations if not one.known and one.value not in self.unique]
        self.reads = {}  # of a unique value: where they are
        limits = self.limits(must)
        must.sort(key=lambda one: limits[id(one)])
        self.operations = must
        self.begins = [limits[id(one)][0] for one in must]
        self.ends = [limits[id(one)][1] for one in must]
        self.unread = [one.kind != "read" and one.value not in read for one in must]
        for at, one in enumerate(must):
            if one.kind == "read" and one.value in self.unique:
                self.reads.setdefault(one.value, []).append(at)
        self.order_senders()

    def limits(self, must):
        """When each may have taken effect, by its id()."""
        limits = {id(one): (one.begin, one.end) for one in must}
        writers = {one.value: one for one in must if one.kind == "write" and one.value in self.unique}
        for one in must:
            writer = writers.get(one.value) if one.kind == "read" else None
            if writer is not None:
                begin, end = limits[id(writer)]
                limits[id(writer)] = (begin, min(end, one.end))
                limits[id(one)] = (max(one.begin, writer.begin), one.end)
        return limits

    def order_senders(self):
        """Those that must be done before (needed), and the optional ones that can happen no more afterwards (ended). A
        read that may have been done again is not needed by what its sender sent behind it."""
        count = len(self.operations)
        senders = {}
        for at, one in enumerate(self.operations):
            senders.setdefault(one.sender, []).append((one.number, at, one))
        for at, one in enumerate(self.optional):
            senders.setdefault(one.sender, []).append((one.number, count + at, one))
        self.needed = [()] * (count + len(self.optional))
        self.ended = [0] * (count + len(self.optional))
        overtook = set()  # those that need not all before them: whoever needs these looks further
        for sent in senders.values():
            sent.sort(key=lambda row: row[0])
            before, optional = [], 0
            for _, at, one in sent:
                needed = []
                for earlier in reversed(before):
                    if self.operations[earlier].kind == "read" and (
                            not one.known or self.operations[earlier].end > one.end):
                        overtook.add(at)
                        continue
                    needed.append(earlier)
                    if not one.known or self.operations[earlier].known and earlier not in overtook:
                        break  # all before it are needed by that one
                self.needed[at], self.ended[at] = tuple(needed), optional
                if at < count:
                    before.append(at)
                else:
                    optional |= 1 << at - count

    # A state: (base, bits, value, used). All before `base` are done, `base` is not; bit n: base + n is.

    @staticmethod
    def is_done(state, at):
        return at < state[0] or state[1] >> at - state[0] & 1

    def may_follow(self, state, at):
        return all(self.is_done(state, needed) for needed in self.needed[at])

    def candidates(self, state):
        """Those that may be the next to take effect, and when the first of them all must have."""
        base, bits, _, _ = state
        at, limit, found = base, NEVER, []
        while at < len(self.operations) and self.begins[at] <= limit:
            if not bits >> at - base & 1:
                found.append(at)
                limit = min(limit, self.ends[at])
            at += 1
        return [at for at in found if self.begins[at] <= limit and self.may_follow(state, at)], limit

    def step(self, state, at):
        base, bits, value, used = state
        one = self.operations[at]
        bits |= 1 << at - base
        done = (~bits & bits + 1).bit_length() - 1  # so many at the beginning
        if one.kind != "read":
            value = UNREAD if self.unread[at] else one.value
        return base + done, bits >> done, value, used | self.ended[at]

    def is_free(self, state, at):
        """Does it rule out nothing?"""
        return self.ended[at] & ~state[3] == 0

    def absorb(self, state, but=None):
        """Does all that nobody read and that costs nothing, as long as there are any; a write must follow."""
        while True:
            unread = [at for at in self.candidates(state)[0] if self.unread[at] and at != but and self.is_free(state, at)]
            if not unread:
                return state
            for at in unread:
                state = self.step(state, at)

    def is_read_out(self, state):
        """Nobody is still to read the value that there is, or somebody may write it again."""
        return all(self.is_done(state, at) for at in self.reads.get(state[2], ()))

    def following(self, state):
        """The states that are worth a look after this one, the least likely first."""
        nexts, limit = self.candidates(state)
        value = state[2]
        reads = [at for at in nexts if self.operations[at].kind == "read"]
        for at in reads:
            if self.operations[at].value == value and self.is_free(state, at):
                return [self.step(state, at)]
        found = []
        wanted = {self.operations[at].value for at in reads} - {value}
        if self.is_read_out(state):
            for at, one in enumerate(self.optional):
                number = len(self.operations) + at
                if (one.value in wanted and not state[3] >> at & 1 and one.begin <= limit
                        and self.may_follow(state, number)):
                    base, bits, _, used = self.absorb(state)
                    found.append((base, bits, one.value, used | 1 << at | self.ended[number]))
            # What ends first is tried first, so it comes last.
            for at in sorted(nexts, key=lambda at: -self.ends[at]):
                if self.operations[at].kind != "read" and not (self.unread[at] and self.is_free(state, at)):
                    found.append(self.step(self.absorb(state, but=at), at))
            absorbed = self.absorb(state)
            if absorbed[:2] != state[:2]:
                found.append(absorbed)
        found += [self.step(state, at) for at in reads if self.operations[at].value == value]
        return found

    def run(self):
        stack, visited = [(0, 0, None, 0)], set()
        furthest, best = stack[0], -1
        while stack:
            state = stack.pop()
            if state[0] == len(self.operations):
                return
            if state in visited:
                continue
            visited.add(state)
            if len(visited) > STATES_LIMIT:
                raise Undecided(f"{self.operations[0].id!r}: {len(self.operations)} operations, {len(visited)} states")
            reached = state[0] + state[1].bit_count()
            if reached > best:
                best, furthest = reached, state
            stack += self.following(state)
        self.complain(furthest)

    def complain(self, state):
        stuck, _ = self.candidates(state)
        value = "something that nobody read" if state[2] is UNREAD else state[2]
        first = min((self.operations[at].begin for at in stuck), default=0)
        around = [one for at, one in enumerate(self.operations)
                  if at in stuck or one.end != NEVER and one.end >= first - 0.2 and one.begin <= first + 0.2]
        lines = [f"{self.operations[0].id!r}: no order explains {len(self.operations)} operations; "
                 f"{state[0] + state[1].bit_count()} can be, then there would be {value!r}, but next are"]
        lines += [f"  -> {self.operations[at]}" for at in stuck]
        concerned = {value} | {self.operations[at].value for at in stuck}
        lines.append("  what they read, and what would be there, was written by:")
        lines += [f"     {one}{'' if self.is_done(state, at) else ' (not yet placed)'}"
                  for at, one in enumerate(self.operations) if one.kind != "read" and one.value in concerned - {None}]
        lines.append("  around them:")
        lines += [f"     {one}" for one in around[:30]]
        raise Violation("\n".join(lines))
