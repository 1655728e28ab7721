"""The fault proxy does what it says: it is asked by plain clients, in front of a tiny store."""
import contextlib
import http.client
import http.server
import socket
import threading
import time

import pytest

from fault_proxy import (FtpProxy, HttpProxy, answer, apply_and_answer, cut_answer, cut_request, ftp_answer,
                         late, late_answer, lose_answer, passing, reset, truncate)
from harness import wait_until


class Store(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def say(self, status, body=b""):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self):
        held = self.server.objects.get(self.path)
        self.say(*((200, held) if held is not None else (404, b"none")))

    do_HEAD = do_GET

    def do_PUT(self):
        size = int(self.headers["Content-Length"])
        body = self.rfile.read(size)
        if len(body) == size:
            self.server.objects[self.path] = body
            self.say(200)

    def do_DELETE(self):
        self.server.objects.pop(self.path, None)
        self.say(204)


@pytest.fixture
def store():
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Store)
    made.objects = {"/b/x": bytes(range(256)) * 8}
    made.daemon_threads = True
    threading.Thread(target=made.serve_forever, args=(0.02,), daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture
def proxy(store):
    with HttpProxy(store.server_address) as made:
        yield made
    assert made.errors == []


def ask(proxy, method="GET", path="/b/x", body=None, headers=None, timeout=5):
    link = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=timeout)
    try:
        link.request(method, path, body, headers or {})
        got = link.getresponse()
        return got.status, got.read()
    finally:
        link.close()


BROKEN = (ConnectionError, http.client.BadStatusLine, http.client.IncompleteRead)


def test_it_passes(proxy, store):
    link = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=5)
    for number in range(5):  # on one connection
        link.request("PUT", f"/b/{number}", b"v" * number * 1000)
        assert link.getresponse().read() == b""
        link.request("HEAD", f"/b/{number}")
        head = link.getresponse()
        assert head.read() == b"" and head.headers["Content-Length"] == str(number * 1000)
        link.request("GET", f"/b/{number}")
        assert link.getresponse().read() == b"v" * number * 1000
    link.request("DELETE", "/b/1")
    assert link.getresponse().status == 204
    link.close()
    assert proxy.accepted == 1 and "/b/1" not in store.objects
    assert proxy.count("PUT", "pass") == 5 and proxy.count(key="/b/3$") == 3
    assert proxy.count("DELETE", status=204) == 1


def test_it_refuses_and_comes_back_on_the_same_port(proxy):
    link = socket.create_connection(("127.0.0.1", proxy.port))
    wait_until(lambda: proxy.accepted == 1)
    port = proxy.port
    with proxy.down():
        with pytest.raises(ConnectionRefusedError):
            ask(proxy)
        link.settimeout(5)
        with pytest.raises(ConnectionResetError):
            if link.recv(1) == b"":
                raise ConnectionResetError
    assert ask(proxy)[0] == 200 and proxy.port == port


def test_reset_applies_nothing(proxy, store):
    proxy.add(reset(), methods="PUT")
    with pytest.raises(BROKEN):
        ask(proxy, "PUT", "/b/y", b"value")
    assert "/b/y" not in store.objects
    assert ask(proxy)[0] == 200


@pytest.mark.parametrize("size", [1, 30, 150])
def test_a_cut_request_is_not_applied(proxy, store, size):
    proxy.add(cut_request(size), methods="PUT")
    with pytest.raises(BROKEN):
        ask(proxy, "PUT", "/b/y", b"v" * 1000)
    assert "/b/y" not in store.objects


def test_a_lost_answer_is_applied(proxy, store):
    rule = proxy.add(lose_answer(), methods="PUT", times=1)
    with pytest.raises(BROKEN):
        ask(proxy, "PUT", "/b/y", b"value")
    assert store.objects["/b/y"] == b"value" and rule.hits == 1
    assert ask(proxy, "PUT", "/b/y", b"again")[0] == 200


def test_a_cut_answer(proxy):
    proxy.add(cut_answer(300))
    with pytest.raises(BROKEN):
        ask(proxy)


def test_truncated_bodies(proxy, store):
    rule = proxy.add(truncate(100))
    with pytest.raises(http.client.IncompleteRead) as caught:
        ask(proxy)
    assert caught.value.partial == store.objects["/b/x"][:100]
    proxy.remove(rule)
    proxy.add(truncate(100, honest=False))
    assert ask(proxy) == (200, store.objects["/b/x"][:100])


def test_statuses_and_conditions(proxy, store):
    for status in (500, 501, 503, 429):
        with proxy.during(answer(status)):
            assert ask(proxy)[0] == status
    proxy.add(answer(501), conditional=True)
    assert ask(proxy, "PUT", "/b/y", b"v", {"If-None-Match": "*"})[0] == 501
    assert "/b/y" not in store.objects
    assert ask(proxy, "PUT", "/b/y", b"v")[0] == 200
    proxy.clear()
    proxy.add(apply_and_answer(500), methods="DELETE")
    assert ask(proxy, "DELETE", "/b/y")[0] == 500
    assert "/b/y" not in store.objects


def test_late_requests_arrive_after_the_client_has_left(proxy, store):
    proxy.add(late(0.6), methods="PUT")
    with pytest.raises(TimeoutError):
        ask(proxy, "PUT", "/b/y", b"late", timeout=0.2)
    assert "/b/y" not in store.objects
    wait_until(lambda: store.objects.get("/b/y") == b"late", 5)


def test_late_answers(proxy, store):
    proxy.add(late_answer(0.5), methods="PUT")
    begin = time.monotonic()
    with pytest.raises(TimeoutError):
        ask(proxy, "PUT", "/b/y", b"v", timeout=0.2)
    assert store.objects["/b/y"] == b"v"
    assert ask(proxy, "PUT", "/b/z", b"v")[0] == 200 and time.monotonic() - begin >= 0.7


def test_the_newest_rule_that_matches_decides(proxy):
    proxy.add(answer(500), key="^/b/")
    proxy.add(passing(), key="x$")
    limited = proxy.add(answer(503), key="x$", times=2)
    assert [ask(proxy)[0] for _ in range(4)] == [503, 503, 200, 200]
    assert ask(proxy, path="/b/y")[0] == 500 and ask(proxy, path="/c")[0] == 404
    assert limited.hits == 2 and proxy.count(fault="answer") == 3


def test_probability(proxy):
    rule = proxy.add(answer(503), probability=0.5)
    got = [ask(proxy)[0] for _ in range(60)]
    assert got.count(503) == rule.hits and 10 < rule.hits < 50


def ftp_stub(listener, applied):
    """Answers 2xx to everything, STOR with 150 and 226."""
    while True:
        try:
            link, _ = listener.accept()
        except OSError:
            return
        with contextlib.suppress(ConnectionError), link, link.makefile("rb") as lines:  # a link that is cut may be reset
            link.sendall(b"220-hello\r\n220 stub\r\n")
            for line in lines:
                applied.append(line.strip().decode())
                link.sendall(b"150 go\r\n226 done\r\n" if line.startswith(b"STOR") else b"250 ok\r\n")


@pytest.fixture
def ftp():
    listener, applied = socket.create_server(("127.0.0.1", 0)), []
    threading.Thread(target=ftp_stub, args=(listener, applied), daemon=True).start()
    with FtpProxy(listener.getsockname()) as made:
        made.applied = applied
        yield made
    listener.close()
    assert made.errors == []


def test_ftp_lines(ftp):
    def talk(*commands):
        with socket.create_connection(("127.0.0.1", ftp.port), timeout=5) as link, link.makefile("rb") as lines:
            assert lines.readline() == b"220-hello\r\n" and lines.readline() == b"220 stub\r\n"
            replies = []
            for command in commands:
                link.sendall(command.encode() + b"\r\n")
                while True:
                    try:
                        reply = lines.readline()
                    except ConnectionResetError:
                        reply = b""
                    replies.append(reply.strip().decode())
                    if not reply or reply[:1] != b"1":
                        break
            return replies
    assert talk("STOR a", "RNFR a") == ["150 go", "226 done", "250 ok"]
    ftp.add(ftp_answer(b"552 full"), methods="STOR")
    assert talk("STOR b", "NOOP") == ["552 full", "250 ok"]
    assert "STOR b" not in ftp.applied
    ftp.add(lose_answer(), methods="RNTO", key="final")
    assert talk("RNTO other", "RNTO final") == ["250 ok", ""]
    assert ftp.applied[-1] == "RNTO final"
    with ftp.down():
        with pytest.raises(ConnectionRefusedError):
            talk()
