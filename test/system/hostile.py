"""A node with the right cookie that claims to be a member of the cluster: its key is in etcd, it says hello, and then
it says what no member says. Nothing of it is meant to be right but what a test asks for."""
import json
import random
import struct

import etf
from cluster import MEMBER_KEYS
from dist_client import Closed
from etf import Atom, Raw
from workload import FastClient

PROTOCOL = 3
SLOTS = 4096

# As cnode/cluster/wire.h has them: k key, i id, n a number, e an epoch (two), f any epoch, v a version (three), s a
# state, b a boolean, o an operation, a an ack, t a status, F and T slots, x a value; O, C, L, A records of so many bytes.
KINDS = {
    "report": "FTOC", "report_ack": "T", "claim": "knnnef", "grant": "kneLv", "owned": "knne", "release": "kesvb",
    "confirm": "ke", "confirmed": "ke", "not_owner": "kesvb", "fetch": "ke", "fetched": "kesvx", "backup": "isvx",
    "backup_ack": "kvv", "offer": "C", "offer_ack": "A", "discard": "kv", "held": "iven", "keep": "kn", "nudge": "ie",
    "where": "kn", "located": "knne", "forward": "ienoax", "refuse": "kne", "reply": "kntx", "ping": "n", "room": "n"}
REPLICA_KINDS = {"sync": "g", "end": "", "tell": "iesvx", "offer": "iev", "ack": "iev"}
RECORDS = {"O": 32, "C": 40, "L": 32, "A": 64}
U64 = 2 ** 64 - 1
LAST_VIEW = U64 - 2 ** 40
NUMBERS = (0, 1, 2, 255, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1, 2 ** 43, 2 ** 44 - 1, 2 ** 44, 2 ** 44 + 1, 2 ** 63 - 1,
           2 ** 63, LAST_VIEW, U64 - 1, U64)
NO_NUMBERS = (-1, -2 ** 63, 2 ** 64, 2 ** 200, 1.5, Atom("one"), b"1", [1], (1,), {1: 1})


class Hostile(FastClient):
    """Linked with one member as `name`, which etcd has among the members under `incarnation` (hex)."""

    check = None  # of the seed of ids, once a member has said it

    def __init__(self, member, name, incarnation, view):
        super().__init__(member.port, member.server.cookie, name=name)
        self.member, self.number, self.view = member, int(incarnation, 16), view
        self.to = incarnation_of(member)

    def hello(self):
        """The first time it answers the one that the member says, which has something to say to who is in its view."""
        while Hostile.check is None:
            _, payload = self.receive(10)
            if isinstance(payload, tuple) and payload[0] == "hello":
                Hostile.check = payload[2]
        self.tell((Atom("hello"), PROTOCOL, self.check))
        return self

    def tell(self, term):
        self.reg_send(term, "brain_peer")

    def say(self, kind, *elements, view=None, sender=None, to=None):
        self.tell((self.view if view is None else view, Atom(kind), self.number if sender is None else sender,
                   self.to if to is None else to, *elements))

    def take_part(self):
        """Nothing to report, and what is reported is heard: all slots open."""
        self.say("report", 0, SLOTS, b"", b"")
        self.say("report_ack", SLOTS)

    def is_open(self):
        try:
            while True:
                self.read_exactly(1, 0.001)
                self.at = len(self.buffer)
        except TimeoutError:
            return True
        except Closed:
            return False


def view_of(member):
    """Its number, as messages have it."""
    info = member.info()["cluster"]
    return (info["history"] << 40) + info["view"]


def incarnation_of(member):
    return int(json.loads(member.cluster.etcd.keys(MEMBER_KEYS)[MEMBER_KEYS + member.name][0])["incarnation"], 16)


def member_value(incarnation, port=1, **more):
    return json.dumps({"incarnation": incarnation, "address": "127.0.0.1", "port": port, "protocol": PROTOCOL,
                       "lease_ms": 2000, **more})


class Chatter:
    """Messages of any kind from a seed: well-formed, with the numbers that break things, or not well-formed."""

    def __init__(self, seed, hostile, ids=()):
        self.random, self.hostile = random.Random(seed), hostile
        self.ids = [*ids, b"a", b"id", b"\0" * 1024]
        self.keys = [self.random.randbytes(16) for _ in range(20)] + [bytes(16), b"\xff" * 16]

    def number(self):
        near = (self.hostile.view, self.hostile.view - 1, self.hostile.view + 1, self.hostile.number, self.hostile.to)
        return self.random.choice(self.random.choice((NUMBERS, near, (self.random.randrange(2 ** 64),))))

    def view(self):
        return min(self.number(), LAST_VIEW - 1)  # above the last one is none: that would harm for good

    def version(self):
        return [self.view(), self.number(), self.number()]

    def record(self, letter):
        key = self.random.choice(self.keys)
        words = {"O": lambda: [self.view(), self.number()], "C": self.version, "L": lambda: [self.number(), *self.version()],
                 "A": lambda: self.version() + self.version()}[letter]()
        return (b"" if letter == "L" else key) + b"".join(struct.pack(">Q", word) for word in words)

    def elements(self, letter):
        pick = self.random.choice
        if letter in RECORDS:
            return [b"".join(self.record(letter) for _ in range(pick((0, 0, 1, 2, 20))))]
        return {"k": lambda: [pick(self.keys)], "i": lambda: [pick(self.ids)], "n": lambda: [self.number()],
                "e": lambda: [self.view(), pick((1, 7, 2 ** 44 - 1))], "f": lambda: [self.number(), self.number()],
                "v": self.version, "s": lambda: [Atom(pick(("none", "value", "deleted")))],
                "b": lambda: [pick((True, False))], "o": lambda: [Atom(pick(("read", "write", "delete", "persist")))],
                "a": lambda: [pick((0, 1, 2, 3, 4, 5, 255))], "t": lambda: [pick((0, 1, 2, -1, -12, -25, -99, -1000))],
                "F": lambda: [pick((0, 0, 0, 1))], "T": lambda: [pick((1, 2, 4095, 4096))], "g": lambda: [b"users:*"],
                "x": lambda: [pick(([], b"value", {b"a": [1, 2.5]}, Raw(etf.encode(self.random.randbytes(3000)))))],
                }[letter]()

    @staticmethod
    def fits(letters, elements):
        """With the value there has to be, or without, as the message says."""
        if "x" not in letters:
            return elements
        states = [element for element in elements if isinstance(element, Atom)]
        has = elements[-2] == 1 if "t" in letters else "value" in states or "write" in states
        return [*elements[:-1], (elements[-1] or b"value") if has else []]

    def message(self):
        pick, hostile = self.random.choice, self.hostile
        if self.random.random() < 0.15:
            kind = pick(list(REPLICA_KINDS))
            letters, head = REPLICA_KINDS[kind], [Atom("replica"), Atom(kind), self.number()]
        else:
            kind = pick(list(KINDS))
            letters, head = KINDS[kind], [pick((hostile.view, hostile.view, hostile.view, self.view())), Atom(kind)]
        sender = pick((hostile.number, hostile.number, hostile.number, self.number()))
        to = pick((hostile.to, hostile.to, hostile.to, self.number()))
        elements = [element for letter in letters for element in self.elements(letter)]
        return tuple([*head, sender, to, *self.fits(letters, elements)])

    def malformed(self):
        message = list(self.message())
        at = self.random.randrange(len(message))
        how = self.random.randrange(5)
        if how == 0:
            del message[at]
        elif how == 1:
            message.insert(at, 1)
        elif how == 2:
            message[at] = self.random.choice(NO_NUMBERS)
        elif how == 3:
            message[at] = b"\0" * 65535
        else:
            return Raw(etf.encode(tuple(message))[:-1])
        return tuple(message)
