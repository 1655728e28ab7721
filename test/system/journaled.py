"""Numbered values that are written to a node with a journal, and which of them are there."""
import etf
from etf import Atom
from workload import connect

JOURNAL_ERROR = (Atom("error"), Atom("journal"))


def put(client, id, value, ack=None, timeout=10):
    options = [[(Atom("ack"), Atom(ack))]] if ack else []
    return client.call((Atom("set"), id, value, *options), timeout)


def read(client, id):
    return client.call((Atom("get"), id))


def remove(client, id):
    return client.call((Atom("delete"), id))


def fill(node, count=100, size=200, **options):
    """Writes 0..count-1, one after the other, so that the records stand in this order; killed."""
    node.start(**options)
    with connect(node.server) as client:
        for number in range(count):
            assert put(client, number, marked(number, size)) == "ok"
    node.kill()


def marked(number, size=200):
    return b"<%06d>" % number + bytes([number % 251]) * size


def present(node, count=100, size=200):
    """The numbers that are there; what is there is right."""
    found = []
    with connect(node.server) as client:
        for number, answer in enumerate(client.pipeline([(Atom("get"), n) for n in range(count)])):
            if answer != "ko":
                assert answer == (Atom("ok"), etf.encode(marked(number, size))), number
                found.append(number)
    return found


def journal_info(node):
    with connect(node.server) as client:
        return client.info()["journal"]
