"""The table "Untrusted input", rows 3 to 5: frames, terms and requests. Each test fails when that row's
handling is removed."""
import struct
import time

import pytest

import etf
from dist_client import Closed, EI_FLAGS, OTP_FLAGS
from etf import Atom
from harness import wait_until
from untrusted import MEGABYTE, closed_and_counted, dist, log_lines


# ---- row 3: frames ------------------------------------------------------------------------------

SENDER = etf.pid("bad@localhost")
REG_SEND = etf.encode((6, SENDER, Atom(""), Atom("brain")))
BAD_HEADER_FRAMES = {
    "one byte": b"\x83", "two bytes": b"\x83D", "three bytes": b"\x83D\0", "five bytes": b"\x83D\0h\4",
    "twenty bytes": b"\x83D\0" + REG_SEND[:17], "control cut": b"\x83D\0" + REG_SEND[:-3],
    "wrong version": b"\x82D\0" + REG_SEND, "unknown header": b"\x83Z\0" + REG_SEND,
    "pass-through on a header link": b"p\x83" + REG_SEND + b"\x83a\1",
    "atom cache": b"\x83D\2\x08\0\5brain" + REG_SEND, "atom cache reference": b"\x83D\0h\4a\6" + SENDER + b"w\0R\0",
    "control is no tuple": b"\x83D\0a\1", "control is a list": b"\x83D\0l\0\0\0\1a\1j",
    "unknown operation": b"\x83D\0" + etf.encode((99, 1)), "operation is an atom": b"\x83D\0" + etf.encode((Atom("x"), 1)),
    "wrong arity": b"\x83D\0" + etf.encode((6, SENDER)), "wrong kinds": b"\x83D\0" + etf.encode((6, 1, 2, 3)),
    "empty tuple": b"\x83D\0h\0", "tuple claims more": b"\x83D\0h\xff" + REG_SEND[2:],
    "first fragment cut": b"\x83E" + bytes(7), "next fragment cut": b"\x83F" + bytes(15),
    "fragment number zero": b"\x83E" + struct.pack(">QQB", 1, 0, 0) + REG_SEND,
    "zeros": bytes(50), "ones": b"\xff" * 50,
}
BAD_PLAIN_FRAMES = {
    "one byte": b"p", "two bytes": b"p\x83", "three bytes": b"p\x83h", "not p": b"q\x83" + REG_SEND + b"\x83a\1",
    "wrong version": b"p\x82" + REG_SEND, "control cut": b"p\x83" + REG_SEND[:-3],
    "header on a plain link": b"\x83D\0" + REG_SEND + b"a\1", "unknown operation": b"p\x83" + etf.encode((99, 1)),
    "wrong arity": b"p\x83" + etf.encode((6, SENDER)), "zeros": bytes(20), "twenty bytes": b"p\x83" + REG_SEND[:18],
}


@pytest.mark.parametrize("frame", BAD_HEADER_FRAMES.values(), ids=BAD_HEADER_FRAMES.keys())
def test_row3_bad_frame_of_an_erlang_peer(server, witness, frame):
    check_bad_frame(server, witness, frame, OTP_FLAGS)


@pytest.mark.parametrize("frame", BAD_PLAIN_FRAMES.values(), ids=BAD_PLAIN_FRAMES.keys())
def test_row3_bad_frame_of_an_ei_peer(server, witness, frame):
    check_bad_frame(server, witness, frame, EI_FLAGS)


def check_bad_frame(server, witness, frame, flags):
    before, log = dist(witness, "protocol_errors"), log_lines(server)
    client = server.client(flags=flags, name="bad@localhost")
    assert client.set(b"x", 1) == "ok"  # a good frame comes before
    client.send_frame(frame)
    assert client.wait_closed(5)
    closed_and_counted(server, witness, "protocol_errors", before, log)


@pytest.mark.parametrize("flags", [OTP_FLAGS, EI_FLAGS], ids=["otp", "ei"])
def test_row3_empty_frames_are_ticks(server, flags):
    with server.client(flags=flags) as client:
        client.send_bytes(bytes(4 * 1000))
        assert client.ping() == "yes"


@pytest.mark.parametrize("flags", [OTP_FLAGS, EI_FLAGS], ids=["otp", "ei"])
def test_row3_frame_that_lies_about_its_length(server, witness, flags):
    client = server.client(flags=flags)
    frame = client.message((6, client.pid, Atom(""), Atom("brain")), etf.encode((Atom("s"), b"lie", b"\xff" * 100)))
    before = client.info()["dist"]
    client.send_bytes(struct.pack(">I", len(frame) - 50) + frame)  # 50 bytes of 0xff are left over
    assert client.wait_closed(5)
    after = witness.info()["dist"]
    assert after["protocol_errors"] + after["limit_errors"] > before["protocol_errors"] + before["limit_errors"]
    assert witness.get(b"lie") == "ko"


@pytest.mark.parametrize("flags", [OTP_FLAGS, EI_FLAGS], ids=["otp", "ei"])
def test_row3_frame_that_is_cut_by_the_end_of_the_connection(server, witness, flags):
    for claimed in (100, 100000, 50 * MEGABYTE):
        client = server.client(flags=flags)
        before = dist(witness, "connections")
        frame = client.message((6, client.pid, Atom(""), Atom("brain")),
                               b"h\3w\1sm\0\0\0\3cut" + b"m" + struct.pack(">I", claimed) + b"x" * 20)
        client.send_bytes(struct.pack(">I", len(frame) + claimed - 20) + frame)
        client.close()
        wait_until(lambda: dist(witness, "connections") == before - 1, what="the connection's end")
    assert witness.get(b"cut") == "ko"


def fragment(sequence, number, data, first=False):
    if first:
        return b"\x83E" + struct.pack(">QQB", sequence, number, 0) + REG_SEND + data
    return b"\x83F" + struct.pack(">QQ", sequence, number) + data


BAD_FRAGMENTS = {
    "next without first": [fragment(1, 2, b"x")],
    "last without first": [fragment(1, 1, b"x")],
    "skips one": [fragment(1, 4, b"m\0\0\0\5", True), fragment(1, 2, b"x")],
    "same number twice": [fragment(1, 4, b"m\0\0\0\5", True), fragment(1, 3, b"x"), fragment(1, 3, b"x")],
    "counts up": [fragment(1, 2, b"m\0\0\0\5", True), fragment(1, 3, b"x")],
    "first twice": [fragment(1, 3, b"m\0\0\0\5", True), fragment(1, 3, b"m\0\0\0\5", True)],
    "goes on after the last": [fragment(1, 2, b"m\0\0\0\2a", True), fragment(1, 1, b"b"), fragment(1, 1, b"c")],
    "number zero": [fragment(1, 2, b"m\0\0\0\5", True), fragment(1, 0, b"x")],
}


@pytest.mark.parametrize("frames", BAD_FRAGMENTS.values(), ids=BAD_FRAGMENTS.keys())
def test_row3_fragments_in_a_wrong_order(server, witness, frames):
    before, log = dist(witness, "protocol_errors"), log_lines(server)
    client = server.client(name="bad@localhost")
    for frame in frames:
        client.send_frame(frame)
    assert client.wait_closed(5)
    closed_and_counted(server, witness, "protocol_errors", before, log)


def test_row3_good_fragments_interleaved(server):
    with server.client() as client:
        one = client.fragments((Atom("s"), b"one", b"1" * 500000), size=50000, sequence=1)
        two = client.fragments((Atom("s"), b"two", b"2" * 500000), size=70000, sequence=2)
        for index in range(max(len(one), len(two))):
            for frames in (one, two):
                if index < len(frames):
                    client.send_frame(frames[index])
            if index == 3:
                assert client.ping() == "yes"
        assert client.get(b"one") == ("ok", b"1" * 500000)
        assert client.get(b"two") == ("ok", b"2" * 500000)
        # Cut anywhere, also byte by byte.
        for frame in client.fragments((Atom("s"), b"three", [1.5, {b"k": Atom("v")}, 2 ** 80]), size=1, sequence=3):
            client.send_frame(frame)
        assert client.get(b"three") == ("ok", [1.5, {b"k": Atom("v")}, 2 ** 80])


def test_row3_fragment_sequences_are_limited(new_server):
    server = new_server(max_fragment_sequences=8)
    with server.client() as witness:
        before = dist(witness, "limit_errors")
        client = server.client(name="bad@localhost")
        for sequence in range(8):
            client.send_frame(fragment(sequence, 1 << 60, b"m\0\0\0\5", True))
        assert client.ping() == "yes"
        client.send_frame(fragment(9, 2, b"m\0\0\0\5", True))
        assert client.wait_closed(5)
        assert dist(witness, "limit_errors") == before + 1


def test_row3_unfinished_messages_are_limited_in_bytes(new_server):
    server = new_server(max_receive_bytes=4 * MEGABYTE)
    with server.client() as witness:
        before = dist(witness, "limit_errors")
        client = server.client(name="bad@localhost")
        data = b"x" * 60000
        with pytest.raises((ConnectionError, Closed)):
            for sequence in range(200):
                client.send_frame(fragment(sequence, 9, b"m\0\x10\0\0" + data, True))
            client.ping()
        assert dist(witness, "limit_errors") == before + 1


@pytest.mark.parametrize("flags", [OTP_FLAGS, EI_FLAGS], ids=["otp", "ei"])
@pytest.mark.parametrize("claimed", [0x7FFF0000, 0xFFFFFFFF, 134217728 + 1], ids=hex)
def test_row3_frame_over_the_limit_allocates_nothing(server, witness, flags, claimed):
    before, log = dist(witness, "limit_errors"), log_lines(server)
    memory = server.memory_bytes()
    client = server.client(flags=flags)
    client.send_bytes(struct.pack(">I", claimed) + (b"p\x83" if flags == EI_FLAGS else b"\x83D\0") + REG_SEND)
    peak = server.memory_bytes()
    assert client.wait_closed(5)
    assert max(peak, server.memory_bytes()) - memory < 64 * MEGABYTE
    closed_and_counted(server, witness, "limit_errors", before, log)


def test_row3_large_frames_that_never_come_do_not_use_memory(new_server):
    """Forty peers claim 100 MB each, within the limit, and send nothing more."""
    server = new_server(max_buffers_bytes=1 << 30)
    with server.client() as witness:
        assert witness.set(b"k", 1) == "ok"
        memory = server.memory_bytes()
        clients = []
        for _ in range(40):
            client = server.client()
            head = client.message((6, client.pid, Atom(""), Atom("brain")), b"h\3w\1sa\1m" + struct.pack(">I", 60_000_000))
            client.send_bytes(struct.pack(">I", len(head) + 60_000_000) + head)
            clients.append(client)
        time.sleep(0.5)
        assert witness.get(b"k") == ("ok", 1)
        assert server.memory_bytes() - memory < 300 * MEGABYTE
        for client in clients:
            client.close()


def test_row3_value_over_the_limit_is_refused_and_the_link_lives(new_server):
    server = new_server(max_object_bytes=100000)
    with server.client() as client:
        assert client.call((Atom("set"), b"k", b"x" * 99000)) == "ok"
        assert client.call((Atom("set"), b"k", b"y" * 120000)) == (Atom("error"), Atom("too_big"))
        assert client.get(b"k") == ("ok", b"x" * 99000)


# ---- row 4: terms -------------------------------------------------------------------------------

DEEP = 1_000_000
BAD_TERMS = {
    "nested tuples": b"h\1" * DEEP + b"j",
    "nested lists": b"l\0\0\0\1" * DEEP + b"j" * (DEEP + 1),
    "nested list tails": b"l\0\0\0\1a\1" * DEEP + b"j",
    "nested maps": b"t\0\0\0\1a\1" * DEEP + b"j",
    "nested and cut": b"h\1" * DEEP,
    "list of 2^31": b"l\x80\0\0\0j", "list of 2^32-1": b"l\xff\xff\xff\xffj",
    "tuple of 2^31": b"i\x80\0\0\0j", "map of 2^31": b"t\x80\0\0\0j",
    "list of 60 million, in a tuple": b"h\1l\x03\x93\x87\x00a\1",
    "binary of 4 GB": b"m\xff\xff\xff\xffx", "bits of 4 GB": b"M\xff\xff\xff\xff\1x", "string cut": b"k\xff\xffx",
    "big of 4 GB": b"o\xff\xff\xff\xff\0x", "atom cut": b"w\xffa", "float cut": b"F\0\0", "integer cut": b"b\0",
    "bad UTF-8 atom": b"w\2\xff\xfe", "bad UTF-8 atom in a tuple": b"h\2w\1sw\2\xc3\x28",
    "surrogate in an atom": b"w\3\xed\xa0\x80", "overlong UTF-8 in an atom": b"w\2\xc0\x80",
    "unknown tag": b"\xc8", "compressed": b"P\0\0\1\0\x78\x9c", "atom cache reference": b"R\0",
    "two terms": b"a\1a\2", "term and rubbish": b"a\1\xff", "fun that lies": b"p\xff\xff\xff\xff\0",
    "fun of nothing": b"p\0\0\0\4", "pid without node": b"Xa\1" + bytes(12), "reference of 65535 words": b"Z\xff\xffw\1x" + bytes(8),
    "bits with 9 bits": b"M\0\0\0\1\x09x", "bits of no bytes": b"M\0\0\0\0\5",
    "atom of 256 characters": b"v\1\0" + b"a" * 256,
}


@pytest.mark.parametrize("flags", [OTP_FLAGS, EI_FLAGS], ids=["otp", "ei"])
@pytest.mark.parametrize("payload", BAD_TERMS.values(), ids=BAD_TERMS.keys())
def test_row4_bad_term_is_refused_and_the_link_lives(server, witness, payload, flags):
    memory = server.memory_bytes()
    with server.client(flags=flags) as client:
        assert client.set(b"before", 1) == "ok"
        for wrapped in (payload,                                            # as the message
                        b"h\3w\1sm\0\0\0\3bad" + payload,                   # as a value
                        b"h\2w\1p" + payload,                               # as an id
                        b"h\5w\1gw\4true" + payload + client.pid + b"w\4null"):
            before = refused(witness)
            started = time.monotonic()
            client.reg_send_raw(wrapped)
            assert client.get(b"before") == ("ok", 1)
            assert time.monotonic() - started < 5
            assert refused(witness) == before + 1
    assert server.memory_bytes() - memory < 256 * MEGABYTE  # the sanitizer's own keeps what was freed
    assert witness.get(b"bad") == "ko"


def refused(client):
    """How many messages to the registered process were refused, for whatever reason."""
    counted = client.info()["command"]
    return counted["refused_terms"] + counted["refused_requests"] + counted["refused_ids"]


def test_row4_nothing_after_131(server, witness):
    """What PHP really sends for a format of nothing."""
    with server.client(flags=EI_FLAGS) as client:
        before = dist(witness, "terms_refused")
        client.send_frame(b"p\x83" + etf.encode((6, client.pid, Atom(""), Atom("brain"))) + b"\x83")
        assert client.ping() == "yes"
        assert dist(witness, "terms_refused") == before + 1
    with server.client() as client:
        before = dist(witness, "terms_refused")
        client.send_message((6, client.pid, Atom(""), Atom("brain")), b"")
        assert client.ping() == "yes"
        assert dist(witness, "terms_refused") == before + 1


@pytest.mark.parametrize("payload", [BAD_TERMS[name] for name in (
    "nested tuples", "list of 2^31", "bad UTF-8 atom", "unknown tag", "binary of 4 GB")],
    ids=["nested tuples", "list of 2^31", "bad UTF-8 atom", "unknown tag", "binary of 4 GB"])
def test_row4_a_call_with_a_bad_term_is_told(server, payload):
    with server.client() as client:
        for request in (b"h\3w\3setm\0\0\0\3bad" + payload, b"h\2w\3get" + payload):
            client.reg_send_raw(b"h\3w\x09$gen_callh\2" + client.pid + b"a\x63" + request)
            answer = client.answer(99, 5)
            assert answer[0] == Atom("error"), answer
        assert client.get(b"bad") == "ko"


def test_row4_bad_terms_in_fragments(server, witness):
    with server.client(name="bad@localhost") as client:
        for sequence, payload in enumerate((BAD_TERMS["nested tuples"], b"h\2w\1sw\2\xc3\x28" + b"x" * 200000), 10):
            before = refused(witness)
            parts = [payload[at:at + 60000] for at in range(0, len(payload), 60000)]
            for index, part in enumerate(parts):
                client.send_frame(fragment(sequence, len(parts) - index, part, first=index == 0))
            assert client.ping() == "yes"
            assert refused(witness) == before + 1


# ---- row 5: requests ----------------------------------------------------------------------------

A = Atom
UNKNOWN = [A("hello"), 1, b"x", [], [1, 2], (), (A("s"),), (A("s"), 1), (A("s"), 1, 2, 3), (A("x"), 1, 2),
           (A("g"), True, 1), (A("g"), True), (A("p"),), (A("p"), 1, 2), (A("d"),), (A("d"), 1, 2, 3, 4, 5), {},
           {A("s"): 1}, 1.5, (1, 2, 3), (b"s", 1, 2), ((),), (A("$gen_call"),), (A("$gen_call"), 1, 2),
           (A("$gen_cast"),), (A("$gen_cast"), A("x"), 1), (A("s"), b"k", 1, b"notapid", 1)]


@pytest.mark.parametrize("message", UNKNOWN, ids=repr)
def test_row5_unknown_plain_message_is_ignored_and_counted(server, message):
    with server.client() as client:
        assert client.set(b"k", 1) == "ok"
        before = refused(client)
        client.reg_send(message)
        assert client.get(b"k") == ("ok", 1)  # the very next answer: nothing came for it
        assert refused(client) == before + 1


@pytest.mark.parametrize("consistency", [A("maybe"), 1, b"true", [], A("null")], ids=repr)
def test_row5_strange_consistency(server, consistency):
    with server.client() as client:
        assert client.set(b"k", 1) == "ok"
        before = refused(client)
        client.reg_send((A("g"), consistency, b"k", client.pid, A("null")))
        assert client.get(b"k") == ("ok", 1)
        assert refused(client) == before + 1
        assert client.get(b"k", consistency=consistency) == (A("error"), A("bad_request"))
        assert client.call((A("get"), b"k", [(A("consistency"), consistency)])) == (A("error"), A("bad_request"))
        assert refused(client) == before + 3


@pytest.mark.parametrize("pid", [A("nobody"), 1, b"<0.1.0>", (), etf.ref("x@y")], ids=["atom", "int", "binary", "tuple", "ref"])
def test_row5_bad_pid(server, pid):
    with server.client() as client:
        assert client.set(b"k", 1) == "ok"
        before = refused(client)
        client.reg_send((A("g"), True, b"k", pid, A("null")))
        client.reg_send((A("g"), True, b"k", pid, 5))
        client.reg_send((A("s"), b"k", 2, pid, 5))
        client.reg_send((A("$gen_call"), (pid, 5), (A("get"), b"k")))
        assert client.get(b"k") == ("ok", 1)
        assert refused(client) == before + 4


def test_row5_pid_of_a_node_without_a_link(server):
    with server.client() as client:
        assert client.set(b"k", 1) == "ok"
        before = dist(client, "answers_undeliverable")
        client.reg_send((A("g"), True, b"k", etf.pid("elsewhere@nowhere"), A("null")))
        assert client.get(b"k") == ("ok", 1)
        assert dist(client, "answers_undeliverable") == before + 1


@pytest.mark.parametrize("id", [b"", Atom(""), [], (), 1.5, {}, b"x" * 1025], ids=["binary", "atom", "list", "tuple", "float", "map", "long"])
def test_row5_bad_id(server, id):
    with server.client() as client:
        before = client.info()["command"]["refused_ids"]
        for message in ((A("s"), id, 1), (A("p"), id), (A("d"), id), (A("g"), True, id, client.pid, A("null"))):
            client.reg_send(message)
        assert client.get(id) == (A("error"), A("bad_id"))
        assert client.set(id, 1) == (A("error"), A("bad_id"))
        assert client.call((A("delete"), id)) == (A("error"), A("bad_id"))
        assert client.info()["command"]["refused_ids"] == before + 7


@pytest.mark.parametrize("request_", [
    A("hello"), (A("get"),), (A("set"), b"k"), (A("frobnicate"), b"k"), (A("get"), b"k", A("options")), 7, [],
    (A("get"), b"k", [A("x")]), (A("set"), b"k", 1, [(A("ack"), A("sometimes"))]), (A("get"), b"k", [(A("what"), 1)])],
    ids=repr)
def test_row5_unknown_call_is_answered_with_an_error(server, request_):
    with server.client() as client:
        before = refused(client)
        assert client.call(request_) == (A("error"), A("bad_request"))
        assert refused(client) == before + 1


def test_row5_messages_to_names_and_pids_that_are_not_there(server):
    with server.client() as client:
        before = dist(client, "messages_dropped")
        client.reg_send((A("s"), b"k", 1), to="nobody")
        client.send_message((2, A(""), etf.pid("brain@localhost", 999, 0, client.server_creation)), b"a\1")
        assert client.get(b"k") == "ko"
        assert dist(client, "messages_dropped") == before + 2
