"""An Erlang distribution client that can also misbehave: handshake step by step, any flags, any
digest, frames byte by byte."""
import hashlib
import itertools
import select
import socket
import struct
import time

import etf
from etf import Atom

# Flags as ei and PHP's Peb offer them, and as OTP 25 does.
EI_FLAGS = 0x407074F9C
OTP_FLAGS = 0xD07DF7FBD
OFFERED_BY_US = 0xD07DF5FBC
FRAGMENTS = 0x800000
ALIAS = 1 << 35

FRAGMENT = 65536


class Closed(Exception):
    """The other side closed the connection."""


def epmd_port_of(epmd_port, alive, host="127.0.0.1"):
    """PORT2: the port of a registered node, or None."""
    with socket.create_connection((host, epmd_port), timeout=5) as link:
        name = alive.encode()
        link.sendall(struct.pack(">HB", len(name) + 1, 122) + name)
        answer = b""
        while True:
            data = link.recv(4096)
            if not data:
                break
            answer += data
    return struct.unpack_from(">H", answer, 2)[0] if answer[:2] == b"w\0" else None


class DistClient:
    counter = itertools.count(1)

    def __init__(self, port, cookie, name=None, flags=OTP_FLAGS, host="127.0.0.1", connect=True, opener=None):
        """opener((host, port), timeout=...): makes the connection, where that is not this process's network."""
        self.cookie, self.flags = cookie, flags
        self.name = name or f"raw{next(self.counter)}@localhost"
        self.creation = 4
        self.buffer = b""
        self.sequences = {}
        self.server_flags = None
        self.tags = itertools.count(1)
        self.socket = (opener or socket.create_connection)((host, port), timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if connect:
            self.handshake()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    # ---- handshake ------------------------------------------------------------------------------

    def send_packet(self, data):
        self.socket.sendall(struct.pack(">H", len(data)) + data)

    def receive_packet(self):
        return self.read_exactly(struct.unpack(">H", self.read_exactly(2))[0])

    def name_packet(self):
        name = self.name.encode()
        return b"N" + struct.pack(">QIH", self.flags, self.creation, len(name)) + name

    def digest(self, challenge):
        return hashlib.md5(self.cookie.encode() + str(challenge).encode()).digest()

    def handshake(self, digest=None):
        self.send_packet(self.name_packet())
        status = self.receive_packet()
        assert status == b"sok", status
        packet = self.receive_packet()
        assert packet[:1] == b"N", packet
        self.server_flags, challenge, self.server_creation, size = struct.unpack_from(">QIIH", packet, 1)
        self.server_name = packet[19:19 + size].decode()
        self.send_packet(b"r" + struct.pack(">I", 0x01020304) + (digest or self.digest(challenge)))
        acknowledgement = self.receive_packet()
        assert acknowledgement == b"a" + self.digest(0x01020304), "the server does not know the cookie"

    # ---- bytes ----------------------------------------------------------------------------------

    def send_bytes(self, data):
        self.socket.sendall(data)

    def read_exactly(self, size, timeout=10):
        deadline = time.monotonic() + timeout
        while len(self.buffer) < size:
            wait = deadline - time.monotonic()
            if wait <= 0 or not select.select([self.socket], [], [], wait)[0]:
                raise TimeoutError(f"{len(self.buffer)} of {size} bytes came in {timeout} s")
            try:
                data = self.socket.recv(1 << 20)
            except ConnectionError as error:
                raise Closed() from error
            if not data:
                raise Closed()
            self.buffer += data
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data

    def wait_closed(self, timeout=10):
        """Reads until the server closes; False when it does not within `timeout` seconds."""
        deadline = time.monotonic() + timeout
        try:
            while True:
                self.read_exactly(1, max(deadline - time.monotonic(), 0.01))
        except Closed:
            return True
        except TimeoutError:
            return False

    # ---- frames ---------------------------------------------------------------------------------

    @property
    def header(self):
        return bool(self.flags & self.server_flags & FRAGMENTS)

    def send_frame(self, data):
        self.socket.sendall(struct.pack(">I", len(data)) + data)

    def message(self, control, payload=None):
        """The frame's bytes; `payload` is encoded already, without version byte."""
        control = etf.encode(control)
        if self.header:
            return b"\x83D\0" + control + (payload or b"")
        return b"p\x83" + control + (b"\x83" + payload if payload is not None else b"")

    def send_message(self, control, payload=None):
        self.send_frame(self.message(control, payload))

    @property
    def pid(self):
        return etf.pid(self.name, creation=self.creation)

    def reg_send(self, term, to="brain"):
        self.send_message((6, self.pid, Atom(""), Atom(to)), etf.encode(term))

    def reg_send_raw(self, payload, to="brain"):
        self.send_message((6, self.pid, Atom(""), Atom(to)), payload)

    def fragments(self, term, to="brain", size=FRAGMENT, sequence=1):
        """The frames of one fragmented message."""
        payload = etf.encode(term)
        control = etf.encode((6, self.pid, Atom(""), Atom(to)))
        parts = [payload[at:at + size] for at in range(0, len(payload), size)] or [b""]
        frames = []
        for index, part in enumerate(parts):
            number = len(parts) - index
            if index == 0:
                frames.append(b"\x83E" + struct.pack(">QQB", sequence, number, 0) + control + part)
            else:
                frames.append(b"\x83F" + struct.pack(">QQ", sequence, number) + part)
        return frames

    def receive(self, timeout=10):
        """The next message: (control, payload), decoded; payload None when there is none."""
        control, payload = self.receive_raw(timeout)
        return control, None if payload is None else etf.decode(payload)

    def receive_raw(self, timeout=10):
        """The same with the payload's bytes; ticks are skipped, fragments put together."""
        while True:
            size = struct.unpack(">I", self.read_exactly(4, timeout))[0]
            if size == 0:
                continue
            frame = self.read_exactly(size, timeout)
            if frame[:1] == b"p":
                control, at = etf.decode_at(frame, 2)
                return control, frame[at + 1:] if at < len(frame) else None
            assert frame[0] == 131, frame[:16]
            if frame[1] == 68:
                assert frame[2] == 0
                control, at = etf.decode_at(frame, 3)
                return control, frame[at:] if at < len(frame) else None
            sequence, number = struct.unpack_from(">QQ", frame, 2)
            if frame[1] == 69:
                assert frame[18] == 0
                control, at = etf.decode_at(frame, 19)
                assert sequence not in self.sequences
                self.sequences[sequence] = [number, control, [frame[at:]]]
            else:
                assert frame[1] == 70, frame[:16]
                entry = self.sequences[sequence]
                assert number == entry[0] - 1, "fragments out of order"
                entry[0] = number
                entry[2].append(frame[18:])
            if number == 1:
                _, control, parts = self.sequences.pop(sequence)
                return control, b"".join(parts)

    # ---- brain ----------------------------------------------------------------------------------

    def answer(self, tag, timeout=10):
        """The answer tagged `tag`."""
        while True:
            _, payload = self.receive(timeout)
            if isinstance(payload, tuple) and len(payload) == 2 and payload[0] == tag:
                return payload[1]

    def tag(self):
        return next(self.tags)

    def get(self, id, consistency=True, timeout=10):
        tag = self.tag()
        self.reg_send((Atom("g"), consistency, id, self.pid, tag))
        return self.answer(tag, timeout)

    def set(self, id, value, timeout=10):
        tag = self.tag()
        self.reg_send((Atom("s"), id, value, self.pid, tag))
        return self.answer(tag, timeout)

    def call(self, request, timeout=10):
        tag = self.tag()
        self.reg_send((Atom("$gen_call"), (self.pid, tag), request))
        return self.answer(tag, timeout)

    def info(self):
        return {str(key): value for key, value in self.call(Atom("info")).items()}

    def ping(self, timeout=10):
        tag = self.tag()
        self.reg_send((Atom("$gen_call"), (self.pid, tag), (Atom("is_auth"), Atom(self.name))), "net_kernel")
        return self.answer(tag, timeout)
