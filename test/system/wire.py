"""One side of a connection, read and broken as the proxies of fault_proxy.py need it."""
import contextlib
import socket
import struct

LIMIT = 256 << 20       # bytes of one head and body together that are held
PIECE = 1 << 16


class Gone(Exception):
    """The other side closed in the middle of a message, or the connection failed."""


def reset_connection(one):
    """RST instead of FIN: what was on its way is gone."""
    with contextlib.suppress(OSError):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with contextlib.suppress(OSError):
        # Not only closed: another thread may be reading from it.
        one.shutdown(socket.SHUT_RD)
    with contextlib.suppress(OSError):
        one.close()


class Reader:
    """Buffered reading of HTTP messages and lines from one socket."""

    def __init__(self, source):
        self.source = source
        self.buffer = bytearray()

    def _more(self):
        data = self.source.recv(PIECE)
        if not data:
            raise Gone()
        self.buffer += data
        if len(self.buffer) > LIMIT:
            raise Gone()

    def take(self, size):
        while len(self.buffer) < size:
            self._more()
        data = bytes(self.buffer[:size])
        del self.buffer[:size]
        return data

    def until(self, mark):
        begin = 0
        while True:
            found = self.buffer.find(mark, begin)
            if found >= 0:
                return self.take(found + len(mark))
            begin = max(0, len(self.buffer) - len(mark) + 1)
            self._more()

    def rest(self):
        try:
            while True:
                self._more()
        except Gone:
            return self.take(len(self.buffer))

    def chunks(self):
        """A chunked body, as it stands on the wire."""
        raw = b""
        while True:
            line = self.until(b"\r\n")
            raw += line
            size = int(line.split(b";")[0], 16)
            if size == 0:
                while True:
                    line = self.until(b"\r\n")
                    raw += line
                    if line == b"\r\n":
                        return raw
            raw += self.take(size + 2)


def headers_of(head):
    fields = {}
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name:
            fields[name.strip().lower().decode("latin-1")] = value.strip().decode("latin-1")
    return fields
