"""The table "Untrusted input", row by row: each test fails when that row's handling is removed. Here what
is about connections; rows 3 to 5 are in test_untrusted_bytes.py."""
import socket
import struct
import threading
import time

import pytest

import etf
from dist_client import Closed, EI_FLAGS, OTP_FLAGS
from etf import Atom
from harness import RELEASE_BUILD, wait_until
from untrusted import MEGABYTE, closed_and_counted, dist, log_lines

MAP_TAG = 0x20000
DIGEST_BIT = 0x4000000


# ---- row 1: wrong cookie, wrong digest, unsupported flags ---------------------------------------

def test_row1_wrong_digest(server, witness):
    before, log = dist(witness, "refused_cookie"), log_lines(server)
    client = server.client(connect=False)
    with pytest.raises(Closed):
        client.handshake(digest=bytes(16))
    closed_and_counted(server, witness, "refused_cookie", before, log)


def test_row1_wrong_cookie_of_a_real_node(server, witness, erl):
    before, log = dist(witness, "refused_cookie"), log_lines(server)
    erl("pang = net_adm:ping(?NODE)", cookie="SOMEOTHERCOOKIE")
    wait_until(lambda: dist(witness, "refused_cookie") > before, what="refused_cookie")
    assert len(log_lines(server)) > len(log)


@pytest.mark.parametrize("flags", [0, EI_FLAGS & ~(MAP_TAG | DIGEST_BIT), OTP_FLAGS & ~(0x1000000 | DIGEST_BIT)],
                         ids=["none", "no maps", "no handshake 23"])
def test_row1_flags_that_are_not_supported(server, witness, flags):
    before, log = dist(witness, "refused_flags"), log_lines(server)
    client = server.client(connect=False, flags=flags)
    client.send_packet(client.name_packet())
    assert client.wait_closed(5)
    closed_and_counted(server, witness, "refused_flags", before, log)


@pytest.mark.parametrize("packet", [
    b"", b"N", b"x", b"N" + bytes(14), b"N" + struct.pack(">QIH", OTP_FLAGS, 4, 500) + b"short@host",
    b"N" + struct.pack(">QIH", OTP_FLAGS, 4, 6) + b"nohost", b"N" + struct.pack(">QIH", OTP_FLAGS, 4, 0),
    b"n" + struct.pack(">HI", 4, OTP_FLAGS & 0xFFFFFFFF) + b"old@host", b"r" + bytes(20),
    b"N" + struct.pack(">QIH", OTP_FLAGS, 4, 5000) + b"a" * 4998 + b"@b",
], ids=lambda packet: packet[:24].hex() or "empty")
def test_row1_handshake_packets_that_are_nonsense(server, witness, packet):
    before, log = dist(witness, "refused_handshake"), log_lines(server)
    client = server.client(connect=False)
    client.send_packet(packet)
    assert client.wait_closed(5)
    closed_and_counted(server, witness, "refused_handshake", before, log)


def test_row1_http_and_noise_instead_of_a_handshake(server, witness):
    for noise in (b"GET / HTTP/1.1\r\nHost: brain\r\n\r\n", bytes(range(256)) * 64, b"\xff" * 70000):
        client = server.client(connect=False)
        try:
            client.send_bytes(noise)
        except ConnectionError:
            pass
        assert client.wait_closed(8)


# ---- row 2: half-open and slow handshakes -------------------------------------------------------

def test_row2_half_open_and_slow_handshakes_end_at_the_deadline(new_server):
    server = new_server(handshake_timeout=1500)
    with server.client() as witness:
        assert witness.set(b"k", 1) == "ok"
        before = dist(witness, "handshake_timeouts")
        started = time.monotonic()
        silent = [server.client(connect=False) for _ in range(20)]
        waiting = [server.client(connect=False) for _ in range(5)]
        for client in waiting:  # the name is sent, the digest never comes
            client.send_packet(client.name_packet())
        slow = [server.client(connect=False, name="a" * 200 + "@localhost") for _ in range(5)]
        cut_at = [None] * len(slow)

        def drip(index):
            client = slow[index]
            packet = client.name_packet()
            for byte in struct.pack(">H", len(packet)) + packet:
                try:
                    client.send_bytes(bytes([byte]))
                except OSError:
                    break
                if client.wait_closed(0.1):
                    break
            cut_at[index] = time.monotonic() - started

        threads = [threading.Thread(target=drip, args=(index,)) for index in range(len(slow))]
        for thread in threads:
            thread.start()
        slowest = 0
        while time.monotonic() - started < 2.5:  # others are served all the while
            begin = time.monotonic()
            assert witness.get(b"k") == ("ok", 1)
            slowest = max(slowest, time.monotonic() - begin)
            with server.client() as newcomer:
                assert newcomer.get(b"k") == ("ok", 1)
            time.sleep(0.02)
        assert slowest < 1
        for client in silent + waiting:
            assert client.wait_closed(3)
        for thread in threads:
            thread.join(30)
        assert all(moment is not None and moment < 6 for moment in cut_at), cut_at
        wait_until(lambda: dist(witness, "handshake_timeouts") == before + 30, what="handshake_timeouts")
        wait_until(lambda: dist(witness, "handshakes_pending") == 0, what="handshakes_pending")


def test_row2_pending_handshakes_are_limited(new_server):
    server = new_server(max_pending_handshakes=10, handshake_timeout=3000)
    with server.client() as witness:
        pending = [server.client(connect=False) for _ in range(30)]
        wait_until(lambda: dist(witness, "connections_refused") == 20, what="connections_refused")
        assert dist(witness, "handshakes_pending") == 10
        for client in pending:
            client.close()
        wait_until(lambda: dist(witness, "handshakes_pending") == 0, what="handshakes_pending")
        with server.client() as newcomer:
            assert newcomer.ping() == "yes"


def test_row2_connections_are_limited(new_server):
    server = new_server(max_connections=5)
    clients = [server.client() for _ in range(5)]
    refused = server.client(connect=False)
    assert refused.wait_closed(5)
    assert dist(clients[0], "connections_refused") == 1
    clients.pop().close()
    wait_until(lambda: dist(clients[0], "connections") == 4, what="connections")
    with server.client() as newcomer:
        assert newcomer.ping() == "yes"
    for client in clients:
        client.close()


# ---- row 6: the reader that never reads ---------------------------------------------------------

@pytest.mark.parametrize("flags", [OTP_FLAGS, EI_FLAGS], ids=["otp", "ei"])
def test_row6_reader_that_never_reads_is_closed(new_server, flags):
    server = new_server(max_output_bytes=8 * MEGABYTE)
    with server.client() as witness:
        assert witness.set(b"big", b"x" * MEGABYTE) == "ok"
        assert witness.set(b"k", 1) == "ok"
        before = dist(witness, "connections")
        memory = server.memory_bytes()
        client = server.client(flags=flags)
        request = client.message((6, client.pid, Atom(""), Atom("brain")),
                                 etf.encode((Atom("g"), True, b"big", client.pid, Atom("null"))))
        frame = struct.pack(">I", len(request)) + request
        slowest = 0
        try:
            for _ in range(200):  # 200 MB of answers, none read
                client.send_bytes(frame)
                started = time.monotonic()
                assert witness.get(b"k") == ("ok", 1)
                slowest = max(slowest, time.monotonic() - started)
        except ConnectionError:
            pass
        wait_until(lambda: dist(witness, "slow_readers") == 1, what="slow_readers")
        wait_until(lambda: dist(witness, "connections") == before, what="the connection's end")
        assert slowest < 1
        assert server.memory_bytes() - memory < 100 * MEGABYTE
        # The log is written by a thread of its own: the line may come after the counter.
        wait_until(lambda: any("raw" in line for line in log_lines(server)), what="the log line")
        assert sum("raw" in line for line in log_lines(server)) == 1, log_lines(server)
        client.close()


def test_row6_a_slow_reader_below_the_limit_is_served(new_server):
    server = new_server(max_output_bytes=64 * MEGABYTE)
    with server.client() as client:
        assert client.set(b"big", b"x" * MEGABYTE) == "ok"
        for _ in range(20):
            client.reg_send((Atom("g"), True, b"big", client.pid, Atom("null")))
        time.sleep(1)
        for _ in range(20):
            _, answer = client.receive()
            assert answer == (Atom("ok"), b"x" * MEGABYTE)


# ---- row 7: connects and closes -----------------------------------------------------------------

@pytest.mark.parametrize("build", ["sanitized", "release"])
def test_row7_ten_thousand_connects_leave_nothing(new_server, build):
    server = new_server(build=RELEASE_BUILD if build == "release" else None)
    with server.client() as witness:
        assert witness.set(b"k", 1) == "ok"

        def storm(count):
            for index in range(count):
                kind = index % 8
                if kind < 5:  # only connects
                    socket.create_connection(("127.0.0.1", server.port)).close()
                    continue
                client = server.client(connect=False)
                if kind == 5:  # leaves in the middle of the handshake
                    client.send_packet(client.name_packet())
                    client.receive_packet()
                elif kind == 6:  # leaves in the middle of a frame
                    client.handshake()
                    client.send_bytes(b"\0\0\1\0\x83D\0h")
                else:  # a client that works, monitors, and leaves without a word
                    client.handshake()
                    client.send_message((19, client.pid, Atom("brain"), etf.ref(client.name)))
                    client.reg_send((Atom("g"), True, b"k", client.pid, Atom("null")))
                    assert client.receive()[1] == (Atom("ok"), 1)
                client.close()

        def settled():
            info = witness.info()["dist"]
            return info["connections"] == 1 and info["handshakes_pending"] == 0 and info["monitors"] == 0

        storm(400)  # whatever is allocated once, is
        wait_until(settled, 20, "the end of all connections")
        descriptors, memory = server.descriptors(), server.memory_bytes()
        storm(10000)
        wait_until(settled, 20, "the end of all connections")
        assert server.descriptors() == descriptors
        # The sanitizer keeps what was freed for a while; leaks are its to report when the server stops.
        if build == "release":
            assert server.memory_bytes() - memory < 4 * MEGABYTE
        assert witness.info()["dist"]["connections_accepted"] >= 10401
        assert witness.get(b"k") == ("ok", 1)
