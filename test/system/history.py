"""What clients asked and were told, and whether one register per id could have told them so.

Every operation has a begin, an end and a sender. An order of the operations of one id is looked for in
which each takes effect between its begin and its end, reads show the last write before them, and those of one sender stay in
the order in which it sent them (Wing and Gong's search, with a memory of the states that led nowhere). A write whose
outcome nobody heard (an error, a lost connection) may have taken effect at any time since, or never,
but not after a later operation of its sender. It may have before a read that its sender had sent earlier:
when a link is lost, reads are done again, and writes are not.

Values are unique, absent is None. What a correct store cannot show, and this finds: a stale read, a lost
write, two owners, a value from nowhere, a sender's writes in another order.
"""
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
    operations = sorted((one for one in operations if one.known or one.kind != "read"), key=lambda one: one.begin)
    read = [one.value for one in operations if one.kind == "read"]
    written = {one.value for one in operations if one.kind == "write"}
    for one in operations:
        if one.kind == "read" and one.value is not None and one.value not in written:
            raise Violation(f"{one.id!r}: a value that nobody wrote\n  {one}")
    # An unknown write that nobody saw is taken for one that never happened.
    seen = set(read)
    operations = [one for one in operations if one.known or one.value in seen]
    Search(operations).run()


class Search:
    def __init__(self, operations):
        self.operations = operations
        count = len(operations)
        self.known = sum(1 << at for at in range(count) if operations[at].known)
        self.earlier = [0] * count  # those that the same sender had sent before
        last = {}
        for at in sorted(range(count), key=lambda at: operations[at].number):
            sender = operations[at].sender
            self.earlier[at] = last.get(sender, 0)
            last[sender] = self.earlier[at] | 1 << at
        reads = sum(1 << at for at in range(count) if operations[at].kind == "read")
        # Those of them that must have taken effect before.
        self.needed = [self.earlier[at] & self.known & ~(0 if operations[at].known else reads) for at in range(count)]

    def candidates(self, done):
        """Those that may be the next to take effect."""
        at = (~done & (done + 1)).bit_length() - 1  # the first that is not done
        limit, found = NEVER, []
        while at < len(self.operations) and self.operations[at].begin <= limit:
            if not done >> at & 1:
                found.append(at)
                limit = min(limit, self.operations[at].end)
            at += 1
        return [at for at in found if self.operations[at].begin <= limit
                and self.needed[at] & ~done == 0]

    def step(self, done, value, at):
        """After operation `at`, or None: it is a read of something else."""
        one = self.operations[at]
        if one.kind == "read" and one.value != value:
            return None
        # What its sender sent before and is unknown has not taken effect, and will not.
        return done | 1 << at | self.earlier[at] & ~self.known, value if one.kind == "read" else one.value

    def run(self):
        stack, visited, best = [(0, None)], set(), 0
        furthest = (0, None)
        while stack:
            state = stack.pop()
            done, value = state
            if done & self.known == self.known:
                return
            if state in visited:
                continue
            visited.add(state)
            if len(visited) > STATES_LIMIT:
                raise Undecided(f"{self.operations[0].id!r}: {len(self.operations)} operations, {len(visited)} states")
            reached = (done & self.known).bit_count()
            if reached > best:
                best, furthest = reached, state
            nexts = self.candidates(done)
            # A read of what is there now may as well take effect now, when it rules out nothing.
            free = next((at for at in nexts if self.operations[at].kind == "read" and
                         self.operations[at].value == value and self.earlier[at] & ~self.known & ~done == 0), None)
            if free is not None:
                stack.append(self.step(done, value, free))
                continue
            # What ends first is tried first, so it goes on the stack last; the unknown is tried last.
            for at in sorted(nexts, key=lambda at: -self.operations[at].end):
                following = self.step(done, value, at)
                if following is not None:
                    stack.append(following)
        self.complain(*furthest)

    def complain(self, done, value):
        stuck = self.candidates(done)
        first = min((self.operations[at].begin for at in stuck), default=0)
        around = [one for at, one in enumerate(self.operations)
                  if at in stuck or one.end != NEVER and one.end >= first - 0.2 and one.begin <= first + 0.2]
        lines = [f"{self.operations[0].id!r}: no order explains {len(self.operations)} operations; "
                 f"{(done & self.known).bit_count()} can be, then there would be {value!r}, but next are"]
        lines += [f"  -> {self.operations[at]}" for at in stuck]
        concerned = {value} | {self.operations[at].value for at in stuck}
        lines.append("  what they read, and what would be there, was written by:")
        lines += [f"     {one}{'' if done >> at & 1 else ' (not yet placed)'}" for at, one in enumerate(self.operations)
                  if one.kind != "read" and one.value in concerned - {None}]
        lines.append("  around them:")
        lines += [f"     {one}" for one in around[:30]]
        raise Violation("\n".join(lines))
