"""The proxy between node and store that misbehaves on demand.

HttpProxy understands requests and answers (S3); FtpProxy understands the lines of an FTP control
connection (data connections go to the server directly); TcpProxy understands nothing; all run in the process of the test, on a
free port of 127.0.0.1 (or on a host of a netlab, `host`), and are switched at run time:

    with HttpProxy(("127.0.0.1", store_port)) as proxy:
        rule = proxy.add(lose_answer(), methods="PUT", key="user", times=3)
        ...
        assert rule.hits == 3
        proxy.clear()
        with proxy.down():          # nobody listens: connections are refused, open ones reset
            ...

The newest rule that matches a request decides; without one it passes. `proxy.seen` has every request
with what was done to it, `proxy.count(...)` counts them.
"""
import contextlib
import dataclasses
import random
import re
import socket
import threading
import time

from wire import PIECE, Gone, Reader, headers_of, reset_connection

CONDITIONS = ("if-match", "if-none-match")


@dataclasses.dataclass(frozen=True)
class Fault:
    action: str
    bytes: int = 0        # of cut_request, cut_answer, truncate
    seconds: float = 0    # of late, late_answer
    status: int = 0       # of answer, apply_and_answer
    honest: bool = True   # truncate: the announced length stays that of the whole body
    text: bytes = b""     # ftp_answer


def reset():
    """The request is read, never applied; the connection is reset."""
    return Fault("reset")


def cut_request(size):
    """The store sees the first `size` bytes of the request, then both connections end."""
    return Fault("cut_request", bytes=size)


def cut_answer(size):
    """The request is applied; the client sees the first `size` bytes of the answer."""
    return Fault("cut_answer", bytes=size)


def lose_answer():
    """The request is applied, its answer never arrives."""
    return Fault("cut_answer", bytes=0)


def late(seconds):
    """The request reaches the store after `seconds`, also when the client gave up long ago."""
    return Fault("late", seconds=seconds)


def late_answer(seconds):
    """The request is applied at once, its answer arrives after `seconds`."""
    return Fault("late_answer", seconds=seconds)


def answer(status):
    """Not applied; answered with an error document of this status."""
    return Fault("answer", status=status)


def apply_and_answer(status):
    """Applied, and yet answered with an error of this status."""
    return Fault("apply_and_answer", status=status)


def truncate(size, honest=True):
    """The head of the answer is whole, its body ends after `size` bytes. Not honest: the head
    announces the short length, so that only the content can tell."""
    return Fault("truncate", bytes=size, honest=honest)


def passing():
    """Nothing is wrong: an exception to an older rule."""
    return Fault("pass")


def ftp_answer(line):
    """FTP: the command is not passed on, `line` answers it."""
    return Fault("ftp_answer", text=line)


@dataclasses.dataclass
class Rule:
    fault: Fault
    methods: frozenset = frozenset()    # empty: all. FTP: the verbs
    key: str = ""                       # a pattern searched for in the path. FTP: in the argument
    conditional: bool = None            # True, False: only requests with, without a condition
    times: int = None                   # None: until it is removed
    probability: float = 1.0
    hits: int = 0


@dataclasses.dataclass
class Seen:
    method: str
    path: str
    conditional: bool
    fault: str           # "pass" or the action
    at: float
    status: int = 0      # what the store answered; 0: it was not asked, or gave no answer


class _Proxy:
    """Listens, accepts, keeps rules and counts; what happens on a connection is the subclass's."""

    def __init__(self, upstream, seed=1, host=None):
        self.upstream = upstream
        self.host, self.address = host, host.address if host else "127.0.0.1"
        self.lock = threading.Lock()
        self.rules = []
        self.seen = []
        self.accepted = 0
        self.errors = []                # what the proxy itself did not expect
        self.random = random.Random(seed)
        self.sockets = set()
        self.listener = None
        self.stopping = threading.Event()
        self.port = 0
        self._listen()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    # ---- switching ------------------------------------------------------------------------------

    def add(self, fault, methods=(), key="", conditional=None, times=None, probability=1.0):
        methods = frozenset([methods] if isinstance(methods, str) else methods)
        rule = Rule(fault, methods, key, conditional, times, probability)
        with self.lock:
            self.rules.insert(0, rule)
        return rule

    def remove(self, rule):
        with self.lock:
            self.rules = [other for other in self.rules if other is not rule]

    def clear(self):
        with self.lock:
            self.rules = []

    @contextlib.contextmanager
    def during(self, fault, **filters):
        """The rule, for the length of a block."""
        rule = self.add(fault, **filters)
        try:
            yield rule
        finally:
            self.remove(rule)

    def refuse(self):
        """From now on connections are refused; the open ones are reset."""
        listener, self.listener = self.listener, None
        if listener:
            listener.shutdown(socket.SHUT_RDWR)  # wakes the thread in accept
            listener.close()
        self.reset_all()

    def reset_all(self):
        with self.lock:
            victims = list(self.sockets)
        for victim in victims:
            reset_connection(victim)

    def resume(self):
        if self.listener is None:
            self._listen()

    @contextlib.contextmanager
    def down(self):
        self.refuse()
        try:
            yield
        finally:
            self.resume()

    def stop(self):
        self.stopping.set()
        self.refuse()

    def count(self, method=None, fault=None, conditional=None, key="", status=None):
        with self.lock:
            return sum((method is None or one.method == method) and (fault is None or one.fault == fault)
                       and (conditional is None or one.conditional == conditional)
                       and (status is None or one.status == status)
                       and re.search(key, one.path) is not None for one in self.seen)

    # ---- inside ---------------------------------------------------------------------------------

    def _listen(self):
        listener = self.host.socket() if self.host else socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((self.address, self.port))
        listener.listen(1024)
        self.port = listener.getsockname()[1]
        self.listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def _accept(self, listener):
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            if self.listener is not listener:
                reset_connection(client)
                return
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._track(client)
            self.accepted += 1
            threading.Thread(target=self._run, args=(client,), daemon=True).start()

    def _run(self, client):
        try:
            self.serve(client)
        except (Gone, OSError):
            pass
        except Exception as problem:  # a bug of the proxy must not look like a fault it made
            self.errors.append(problem)
        finally:
            self._untrack(client)

    def _track(self, one):
        with self.lock:
            self.sockets.add(one)

    def _untrack(self, one):
        with self.lock:
            self.sockets.discard(one)
        one.close()

    def _connect(self):
        try:
            server = socket.create_connection(self.upstream, timeout=60)
        except OSError as error:
            raise Gone() from error
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._track(server)
        return server

    def _decide(self, method, path, conditional):
        with self.lock:
            for rule in self.rules:
                if rule.methods and method not in rule.methods:
                    continue
                if rule.conditional is not None and rule.conditional != conditional:
                    continue
                if rule.times is not None and rule.hits >= rule.times:
                    continue
                if re.search(rule.key, path) is None or self.random.random() >= rule.probability:
                    continue
                rule.hits += 1
                fault = rule.fault
                break
            else:
                fault = passing()
            seen = Seen(method, path, conditional, fault.action, time.monotonic())
            self.seen.append(seen)
            return fault, seen


class HttpProxy(_Proxy):
    @property
    def url(self):
        return f"http://{self.address}:{self.port}"

    def serve(self, client):
        reader, server, answers = Reader(client), None, None
        try:
            while True:
                head = reader.until(b"\r\n\r\n")
                method, path, _ = head.split(b"\r\n")[0].decode("latin-1").split(" ", 2)
                fields = headers_of(head)
                if fields.get("expect", "").lower() == "100-continue":
                    client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                    # The store must not say it again.
                    head = re.sub(rb"\r\nexpect:[^\r]*", b"", head, flags=re.IGNORECASE)
                if "chunked" in fields.get("transfer-encoding", ""):
                    body = reader.chunks()
                else:
                    body = reader.take(int(fields.get("content-length", "0")))
                conditional = any(name in fields for name in CONDITIONS)
                fault, seen = self._decide(method, path, conditional)
                if fault.action == "reset":
                    return reset_connection(client)
                if fault.action == "answer":
                    client.sendall(_error_document(fault.status, method))
                    continue
                if fault.action == "late":
                    # In slices, so that stopping the proxy does not wait for it.
                    if self.stopping.wait(fault.seconds):
                        return None
                if server is None:
                    server = self._connect()
                    answers = Reader(server)
                if fault.action == "cut_request":
                    server.sendall((head + body)[:fault.bytes])
                    # The store sees the end of the stream, not a reset that discards what it has.
                    server.shutdown(socket.SHUT_WR)
                    time.sleep(0.05)
                    return reset_connection(client)
                try:
                    server.sendall(head + body)
                    answered = self._read_answer(answers, method)
                except (Gone, OSError):
                    # The store closes an idle connection at will: once more, on a new one.
                    if server is None or not _idempotent(method):
                        raise
                    self._untrack(server)
                    server = self._connect()
                    answers = Reader(server)
                    server.sendall(head + body)
                    answered = self._read_answer(answers, method)
                status_head, status_body, closes, seen.status = answered
                if not self._send_answer(client, fault, method, status_head, status_body):
                    return None
                if closes or fields.get("connection", "").lower() == "close":
                    return None
        finally:
            if server is not None:
                self._untrack(server)

    def _read_answer(self, answers, method):
        """(head, body, does the store close the connection, status)."""
        while True:
            head = answers.until(b"\r\n\r\n")
            status = int(head.split(b" ", 2)[1])
            if status >= 200:
                break
        fields = headers_of(head)
        closes = fields.get("connection", "").lower() == "close"
        if method == "HEAD" or status in (204, 304):
            return head, b"", closes, status
        if "chunked" in fields.get("transfer-encoding", ""):
            return head, answers.chunks(), closes, status
        if "content-length" in fields:
            return head, answers.take(int(fields["content-length"])), closes, status
        return head, answers.rest(), True, status

    def _send_answer(self, client, fault, method, head, body):
        """False: the connection is over."""
        if fault.action == "late_answer" and self.stopping.wait(fault.seconds):
            return False
        if fault.action == "cut_answer":
            if fault.bytes:
                client.sendall((head + body)[:fault.bytes])
                time.sleep(0.02)  # so that the reset does not overtake them
            reset_connection(client)
            return False
        if fault.action == "apply_and_answer":
            client.sendall(_error_document(fault.status, method))
            return True
        if fault.action == "truncate":
            if not fault.honest and b"content-length" in head.lower():
                size = b"%d" % min(fault.bytes, len(body))
                head = re.sub(rb"(?i)(\r\ncontent-length: *)\d+", rb"\g<1>" + size, head)
                client.sendall(head + body[:fault.bytes])
                return True
            client.sendall(head + body[:fault.bytes])
            client.shutdown(socket.SHUT_WR)
            time.sleep(0.02)
            return False
        client.sendall(head + body)
        return True


def _idempotent(method):
    """Sent again by the proxy itself after the store had closed an idle connection: only what cannot
    have two effects. A PUT or DELETE whose answer was lost is the client's to think about."""
    return method in ("GET", "HEAD")


REASONS = {409: "ConditionalRequestConflict", 412: "PreconditionFailed", 429: "SlowDown",
           500: "InternalError", 501: "NotImplemented", 503: "SlowDown"}


def _error_document(status, method):
    code = REASONS.get(status, "Error")
    body = (f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code>'
            f"<Message>by the fault proxy</Message></Error>").encode()
    return (f"HTTP/1.1 {status} {code}\r\nContent-Type: application/xml\r\n"
            f"Content-Length: {len(body)}\r\n\r\n").encode() + (b"" if method == "HEAD" else body)


class FtpProxy(_Proxy):
    """The control connection, line by line, until TLS hides the lines: then bytes pass as they are.

    A rule's methods are verbs (RNTO, STOR, DELE), its key is searched for in the argument. Faults:
    reset, lose_answer, late, late_answer, ftp_answer, passing."""

    def serve(self, client):
        server = self._connect()
        commands, answers = Reader(client), Reader(server)
        try:
            client.sendall(self._answer_lines(answers))
            while True:
                line = commands.until(b"\n")
                verb, _, argument = line.decode("utf-8", "replace").strip().partition(" ")
                verb = verb.upper()
                fault, seen = self._decide(verb, argument, False)
                if fault.action == "reset":
                    return reset_connection(client)
                if fault.action == "ftp_answer":
                    client.sendall(fault.text + b"\r\n")
                    continue
                if fault.action == "late" and self.stopping.wait(fault.seconds):
                    return None
                server.sendall(line)
                while True:
                    reply = self._answer_lines(answers)
                    seen.status = int(reply[:3])
                    if fault.action == "cut_answer" and seen.status >= 200:
                        return reset_connection(client)
                    if fault.action == "late_answer" and self.stopping.wait(fault.seconds):
                        return None
                    client.sendall(reply)
                    if seen.status >= 200:  # 150: the transfer goes on, another answer follows
                        break
                if verb == "AUTH" and seen.status == 234:
                    return self._pump(client, server)
                if verb == "QUIT":
                    return None
        finally:
            self._untrack(server)

    @staticmethod
    def _answer_lines(answers):
        """One reply, of one or many lines: `123-...` until `123 ...`."""
        line = answers.until(b"\n")
        reply, code = line, line[:3]
        if line[3:4] == b"-":
            while not (line[:3] == code and line[3:4] == b" "):
                line = answers.until(b"\n")
                reply += line
        return reply

    @staticmethod
    def _pump(client, server):
        def one_way(source, sink):
            try:
                while True:
                    data = source.recv(PIECE)
                    if not data:
                        break
                    sink.sendall(data)
            except OSError:
                pass
            for end in (source, sink):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
        back = threading.Thread(target=one_way, args=(server, client), daemon=True)
        back.start()
        one_way(client, server)
        back.join()


class TcpProxy(_Proxy):
    """Bytes, whatever they mean. `refuse` and `resume` as with the others."""

    def __init__(self, upstream, seed=1):
        self.swallowing = False
        self.held = set()
        self.streams = {}  # client: the beginning of what it sent
        super().__init__(upstream, seed)

    def swallow(self):
        """Connections are accepted, and nothing is ever answered on those that come from now on."""
        self.swallowing = True

    def unswallow(self):
        """New ones are answered again; the others never."""
        self.swallowing = False

    def hold(self, mark):
        """Connections on which the client has sent `mark` stand still towards it, without being cut."""
        with self.lock:
            victims = {client for client, sent in self.streams.items() if mark in sent}
            self.held |= victims
        return len(victims)

    def serve(self, client):
        if self.swallowing:
            while client.recv(PIECE):
                pass
            return
        server = self._connect()
        self.streams[client] = b""

        def back():
            with contextlib.suppress(OSError):
                while data := server.recv(PIECE):
                    while client in self.held and not self.stopping.is_set():
                        time.sleep(0.05)
                    client.sendall(data)
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
        thread = threading.Thread(target=back, daemon=True)
        thread.start()
        try:
            while data := client.recv(PIECE):
                self.streams[client] = (self.streams[client] + data)[-PIECE:]
                server.sendall(data)
        finally:
            with self.lock:
                self.streams.pop(client)
                self.held.discard(client)
            with contextlib.suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
            thread.join()
            self._untrack(server)
