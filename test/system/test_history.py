"""The checker of histories: it must find what a store with two owners, or one that forgets, would do, and it must not
find fault with what a correct one may do."""
import itertools
import random

import pytest

from history import NEVER, History, Operation, Violation, check_one


def history(*rows):
    """Rows: (begin, end or None, sender, "w1" | "r1" | "r" | "d"): write and read of 1, a read of nothing, a delete."""
    kinds = {"w": "write", "r": "read", "d": "delete"}
    return [Operation(b"x", kinds[what[0]], sender, number, begin, what[1:] or None, NEVER if end is None else end)
            for number, (begin, end, sender, what) in enumerate(rows)]


GOOD = {
    "nothing happened": [],
    "one after the other": [(0, 1, "a", "w1"), (2, 3, "b", "r1"), (4, 5, "a", "d"), (6, 7, "b", "r")],
    "a read during the write, either way": [(0, 9, "a", "w1"), (1, 2, "b", "r"), (3, 4, "b", "r1")],
    "writes at once, in some order": [(0, 9, "a", "w1"), (0, 9, "b", "w2"), (10, 11, "c", "r1")],
    "unknown and never happened": [(0, None, "a", "w1"), (5, 6, "b", "r"), (7, 8, "b", "r")],
    "unknown and late": [(0, None, "a", "w1"), (5, 6, "b", "r"), (7, 8, "b", "w2"), (9, 10, "b", "r1")],
    "an unknown delete": [(0, 1, "a", "w1"), (2, None, "b", "d"), (3, 4, "c", "r1"), (5, 6, "c", "r")],
    "two deletes, a write between them": [(0, 9, "a", "d"), (0, 9, "b", "w1"), (0, 9, "c", "d"), (1, 2, "e", "r"),
                                          (3, 4, "e", "r1"), (5, 6, "e", "r")],
    "a sender's own order": [(0, 9, "a", "w1"), (1, 9, "a", "w2"), (2, 9, "a", "r2"), (10, 11, "b", "r2")],
    "an unknown write, and its sender's read done again": [(0, 9, "a", "r2"), (1, None, "a", "w1"), (2, 3, "b", "r1"),
                                                           (4, 5, "b", "w2")],
    "a read done again after its sender's next write was answered": [(0, 9, "a", "r2"), (1, 2, "a", "w1"), (3, 4, "b", "w2")],
    "unknown between a sender's others": [(0, 9, "a", "w1"), (1, None, "a", "w2"), (2, 9, "a", "r1")],
}

BAD = {
    "a stale read": [(0, 1, "a", "w1"), (2, 3, "a", "w2"), (4, 5, "b", "r1")],
    "a lost write": [(0, 1, "a", "w1"), (2, 3, "b", "r")],
    "a write lost later": [(0, 1, "a", "w1"), (2, 3, "b", "r1"), (4, 5, "a", "w2"), (6, 7, "b", "r2"), (8, 9, "c", "r1")],
    "two owners": [(0, 1, "a", "w1"), (2, 3, "b", "w2"), (4, 5, "c", "r1"), (6, 7, "d", "r2"), (8, 9, "c", "r1")],
    "two owners, writes at once": [(0, 9, "a", "w1"), (0, 9, "b", "w2"), (10, 11, "c", "r1"), (10, 11, "d", "r2")],
    "back in time": [(0, 9, "a", "w1"), (1, 2, "b", "r1"), (3, 4, "b", "r")],
    "out of nowhere": [(0, 1, "a", "r7")],
    "from the future": [(0, 1, "a", "r1"), (2, 3, "b", "w1")],
    "a deleted one returns": [(0, 1, "a", "w1"), (2, 3, "a", "d"), (4, 5, "b", "r1")],
    "unknown, seen and gone": [(0, None, "a", "w1"), (1, 2, "b", "r1"), (3, 4, "b", "r")],
    "unknown, overwritten, seen again": [(0, None, "a", "w1"), (1, 2, "b", "r1"), (3, 4, "b", "w2"), (5, 6, "b", "r1")],
    "a sender's writes in another order": [(0, 9, "a", "w1"), (1, 9, "a", "w2"), (10, 11, "b", "r1")],
    "a read after its sender's next write": [(0, 9, "a", "r2"), (1, 9, "a", "w1"), (2, 3, "b", "r1"), (4, 5, "b", "w2")],
    "a read answered before its sender's next write": [(0, 4, "a", "r2"), (1, 5, "a", "w1"), (2, 3, "b", "r1"),
                                                       (3.5, 5, "b", "w2")],
    "a read done again, and not the one behind it": [(0, 9, "a", "r"), (1, 4, "a", "r2"), (2, 3, "a", "w1"),
                                                     (3.1, 5, "a", "w3"), (3.2, 3.4, "b", "r3"), (3.5, 5, "b", "w2")],
    "two unknown writes in another order": [(0, None, "a", "w1"), (0, None, "a", "w2"), (1, 2, "b", "r2"), (3, 4, "b", "r1")],
    "a sender does not see its own write": [(0, 9, "a", "w1"), (1, 9, "a", "r")],
    "an unknown write after its sender's next": [(0, None, "a", "w1"), (1, 9, "a", "w2"), (10, 11, "b", "r2"),
                                                 (12, 13, "b", "r1")],
}


@pytest.mark.parametrize("rows", GOOD.values(), ids=GOOD.keys())
def test_a_good_history(rows):
    check_one(history(*rows))


@pytest.mark.parametrize("rows", BAD.values(), ids=BAD.keys())
def test_a_bad_history(rows):
    with pytest.raises(Violation):
        check_one(history(*rows))


def simulated(seed, clients=5, count=400):
    """What a correct register does: every operation takes effect at a moment between its begin and its end."""
    source = random.Random(seed)
    plans, now = [], {client: 0.0 for client in range(clients)}
    for number in range(count):
        client = min(now, key=now.get)
        begin = now[client]
        effect = begin + source.expovariate(1)
        end = effect + source.expovariate(1)
        now[client] = end + source.expovariate(3)
        kind = source.choices(("write", "read", "delete"), (5, 6, 1))[0]
        lost = kind != "read" and source.random() < 0.1
        plans.append((None if lost and source.random() < 0.5 else effect,
                      Operation(b"x", kind, f"c{client}.{number}" if lost else f"c{client}", number, begin,
                                f"v{number}" if kind == "write" else None, NEVER if lost else end)))
    state = None
    for effect, one in sorted((plan for plan in plans if plan[0] is not None), key=lambda plan: plan[0]):
        if one.kind == "read":
            one.value = state
        else:
            state = one.value
    return [one for _, one in plans]


@pytest.mark.parametrize("seed", range(20))
def test_a_correct_register(seed):
    check_one(simulated(seed))


@pytest.mark.parametrize("seed", range(20))
def test_one_wrong_read_among_many(seed):
    """A read that shows an older value, of a write after which another one had been acknowledged and seen."""
    operations = simulated(seed)
    reads = [one for one in operations if one.kind == "read"]
    for late in reads[len(reads) // 2:]:
        seen = {one.value for one in reads if one.end < late.begin - 20} - {late.value, None}
        if seen:
            late.value = min(seen)
            break
    with pytest.raises(Violation):
        check_one(operations)


def is_explained(operations):
    """The same question, answered by trying every order."""
    def fits(order):
        value = None
        for at, one in enumerate(order):
            if one.kind == "read" and one.value != value:
                return False
            value = one.value
            for later in order[at + 1:]:
                if later.end < one.begin:
                    return False
                done_again = later.kind == "read" and (not one.known or later.end > one.end)
                if later.sender == one.sender and later.number < one.number and not done_again:
                    return False
        return True

    operations = [one for one in operations if one.known or one.kind != "read"]
    unknown = [one for one in operations if not one.known]
    for count in range(len(unknown) + 1):
        for happened in itertools.combinations(unknown, count):
            some = [one for one in operations if one.known] + list(happened)
            if any(map(fits, itertools.permutations(some))):
                return True
    return False


def test_as_trying_every_order():
    """Small histories, right and wrong ones, with everything in them that makes the search cut corners."""
    source, verdicts = random.Random(4711), []
    for _ in range(1500):
        operations = []
        for number in range(source.randint(2, 6)):
            kind = source.choices(("write", "read", "delete"), (3, 5, 2))[0]
            begin = source.uniform(0, 10)
            written = [one.value for one in operations if one.kind == "write"]
            value = {"write": f"v{number}", "delete": None, "read": source.choice([None, *written])}[kind]
            lost = kind != "read" and source.random() < 0.3
            operations.append(Operation(b"x", kind, source.choice("ab") if source.random() < 0.6 else f"s{number}",
                                        number, begin, value, NEVER if lost else begin + source.expovariate(0.3)))
        # A sender numbers what it sends as it sends it.
        for number, one in enumerate(sorted(operations, key=lambda one: one.begin)):
            one.number = number
        try:
            check_one(operations)
            found = True
        except Violation:
            found = False
        assert found == is_explained(operations), "\n".join(map(str, operations))
        verdicts.append(found)
    assert 300 < sum(verdicts) < 1200


def long_one():
    """45,000 operations of 8 clients at once on each of 12 ids, some of which hang for long or have an unknown outcome."""
    made = History()
    for number in range(12):
        id = b"long:%d" % number
        operations = simulated(number, clients=8, count=3750)
        source = random.Random(number)
        for one in operations:
            one.id = id
            if one.known and source.random() < 0.01:
                one.end += 200
                one.sender += f".{one.number}"  # it goes on as another
        made.operations += operations
    return made


def test_a_long_history():
    made = long_one()
    assert len(made.operations) == 45000
    made.check()


def test_a_wrong_read_in_a_long_history():
    made = long_one()
    reads = [one for one in made.operations if one.kind == "read" and one.id == b"long:7"]
    late = reads[len(reads) * 9 // 10]
    late.value = min({one.value for one in reads if one.end < late.begin - 100} - {None})
    with pytest.raises(Violation, match="1 ids"):
        made.check()


def test_ids_are_judged_apart():
    made = History()
    for id, value in ((b"x", "1"), (b"y", "2")):
        one = made.begin(id, "write", "a", value)
        one.end = one.begin + 0.001
        read = made.begin(id, "read", "b", value)
        read.end = read.begin + 0.001
    made.check()
    made.operations[1].value = "2"
    with pytest.raises(Violation, match="1 ids"):
        made.check()
