"""A small external term format: what the tests put on the wire and read back.

Python            Erlang
Atom("x")         x
b"x"              <<"x">>
Chars(b"x")       "x"      (STRING_EXT)
[..], (..), {..}  list, tuple, map
int, float        integer, float
Raw(bytes)        these bytes, as they are
Pid/Ref/Opaque    kept as the bytes they came as
"""
import struct


class Atom(str):
    """Equal to the Python text of its name, which stands for nothing else here."""
    __slots__ = ()

    def __repr__(self):
        return f"'{str(self)}'"


class Chars(bytes):
    """STRING_EXT: Erlang's "text" of up to 65,535 bytes."""


class Raw(bytes):
    """An encoded term (without version byte)."""


class Opaque(bytes):
    """A pid, reference, port, fun ... as it came."""


class Improper(list):
    """[a | b]: the last element is the tail."""


def atom(text):
    data = text.encode()
    return b"w" + bytes([len(data)]) + data if len(data) < 256 else b"v" + struct.pack(">H", len(data)) + data


def pid(node, number=1, serial=0, creation=4):
    return Opaque(b"X" + atom(node) + struct.pack(">III", number, serial, creation))


def ref(node, words=(1, 2, 3), creation=4):
    return Opaque(b"Z" + struct.pack(">H", len(words)) + atom(node) + struct.pack(">I", creation)
                  + b"".join(struct.pack(">I", word) for word in words))


def encode(term):
    """Without the version byte."""
    if isinstance(term, (Raw, Opaque)):
        return bytes(term)
    if isinstance(term, bool):
        return atom("true" if term else "false")
    if isinstance(term, Atom):
        return atom(str(term))
    if isinstance(term, Chars):
        return b"k" + struct.pack(">H", len(term)) + bytes(term)
    if isinstance(term, (bytes, bytearray)):
        return b"m" + struct.pack(">I", len(term)) + bytes(term)
    if isinstance(term, int):
        if 0 <= term < 256:
            return b"a" + bytes([term])
        if -(1 << 31) <= term < 1 << 31:
            return b"b" + struct.pack(">i", term)
        size = (abs(term).bit_length() + 7) // 8
        head = b"n" + bytes([size]) if size < 256 else b"o" + struct.pack(">I", size)
        return head + (b"\1" if term < 0 else b"\0") + abs(term).to_bytes(size, "little")
    if isinstance(term, float):
        return b"F" + struct.pack(">d", term)
    if isinstance(term, Improper):
        return (b"l" + struct.pack(">I", len(term) - 1) + b"".join(map(encode, term)))
    if isinstance(term, list):
        return b"l" + struct.pack(">I", len(term)) + b"".join(map(encode, term)) + b"j" if term else b"j"
    if isinstance(term, tuple):
        head = b"h" + bytes([len(term)]) if len(term) < 256 else b"i" + struct.pack(">I", len(term))
        return head + b"".join(map(encode, term))
    if isinstance(term, dict):
        return b"t" + struct.pack(">I", len(term)) + b"".join(
            encode(key) + encode(value) for key, value in term.items())
    raise TypeError(f"no external form for {term!r}")


def _atom_end(data, at):
    tag = data[at]
    if tag in (ord("w"), ord("s")):
        return at + 2 + data[at + 1]
    if tag in (ord("v"), ord("d")):
        return at + 3 + struct.unpack_from(">H", data, at + 1)[0]
    raise ValueError(f"no atom at {at}: tag {tag}")


def decode_at(data, at=0):
    """(term, offset after it). Recursive: for answers of the server under test only."""
    tag = chr(data[at])
    if tag == "a":
        return data[at + 1], at + 2
    if tag == "b":
        return struct.unpack_from(">i", data, at + 1)[0], at + 5
    if tag in "no":
        size, head = (data[at + 1], 2) if tag == "n" else (struct.unpack_from(">I", data, at + 1)[0], 5)
        begin = at + head + 1
        number = int.from_bytes(data[begin:begin + size], "little")
        return (-number if data[at + head] else number), begin + size
    if tag == "F":
        return struct.unpack_from(">d", data, at + 1)[0], at + 9
    if tag in "wvsd":
        end = _atom_end(data, at)
        head = 2 if tag in "ws" else 3
        text = data[at + head:end].decode("utf-8" if tag in "wv" else "latin-1")
        return {"true": True, "false": False}.get(text, Atom(text)), end
    if tag == "m":
        end = at + 5 + struct.unpack_from(">I", data, at + 1)[0]
        return bytes(data[at + 5:end]), end
    if tag == "k":
        end = at + 3 + struct.unpack_from(">H", data, at + 1)[0]
        return Chars(data[at + 3:end]), end
    if tag == "j":
        return [], at + 1
    if tag == "l":
        count = struct.unpack_from(">I", data, at + 1)[0]
        items, at = [], at + 5
        for _ in range(count):
            item, at = decode_at(data, at)
            items.append(item)
        if data[at] == ord("j"):
            return items, at + 1
        tail, at = decode_at(data, at)
        return Improper(items + [tail]), at
    if tag in "hi":
        count, at = (data[at + 1], at + 2) if tag == "h" else (struct.unpack_from(">I", data, at + 1)[0], at + 5)
        items = []
        for _ in range(count):
            item, at = decode_at(data, at)
            items.append(item)
        return tuple(items), at
    if tag == "t":
        count = struct.unpack_from(">I", data, at + 1)[0]
        at, items = at + 5, {}
        for _ in range(count):
            key, at = decode_at(data, at)
            items[key], at = decode_at(data, at)
        return items, at
    if tag == "X":
        end = _atom_end(data, at + 1) + 12
        return Opaque(data[at:end]), end
    if tag == "Z":
        words = struct.unpack_from(">H", data, at + 1)[0]
        end = _atom_end(data, at + 3) + 4 + 4 * words
        return Opaque(data[at:end]), end
    raise ValueError(f"tag {data[at]} at {at}")


def decode(data):
    term, end = decode_at(data)
    if end != len(data):
        raise ValueError(f"{len(data) - end} bytes after the term")
    return term
