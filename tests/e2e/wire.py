"""The wire formats written a second time, by hand and from the .proto files' text, so that the tests do not
believe the code they test; and Kafka's murmur2 partitioner."""

import struct


def varint(n):
    n &= (1 << 64) - 1
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def field(number, value):
    """One protobuf field: bytes and str as length-delimited, int as varint."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, str):
        value = value.encode()
    return varint(number << 3 | 2) + varint(len(value)) + value


def headline(title, id=None, published=None, source=None, extra=b""):
    """A Headline. title: str, or bytes when it shall be no UTF-8, or None to leave it out."""
    out = b""
    if id is not None:
        out += field(1, id)
    if title is not None:
        out += field(2, title)
    if published is not None:
        out += field(3, published)
    if source is not None:
        out += field(4, source)
    return out + extra


def batch(headlines):
    return b"".join(field(16, h) for h in headlines)


def zigzag(n):
    return varint(n << 1 ^ n >> 31)


def confluent(schema_id, index, message, magic=0):
    """A message in a schema registry's frame. index: the path of the message type in its .proto file ([0] is
    written long: give None for the short form), or bytes as they are."""
    if index is None:
        index = b"\0"
    elif not isinstance(index, bytes):
        index = zigzag(len(index)) + b"".join(map(zigzag, index))
    return struct.pack(">BI", magic, schema_id) + index + message


def unframed(data):
    """(schema id, index, message) of a frame; raises ValueError when it is none."""
    if len(data) < 6 or data[0] != 0:
        raise ValueError(f"no frame: {data[:6].hex()}")
    [schema_id] = struct.unpack(">I", data[1:5])
    at, numbers, wanted = 5, [], None
    while wanted is None or len(numbers) < wanted:
        value = shift = 0
        while True:
            if at == len(data):
                raise ValueError("index cut off")
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        value = value >> 1 ^ -(value & 1)
        if wanted is None:
            wanted = value
        else:
            numbers.append(value)
    return schema_id, numbers or [0], data[at:]


def fields(data):
    """[(number, value)] of a protobuf message; raises ValueError when it is none."""
    at, out = 0, []

    def read_varint():
        nonlocal at
        value = shift = 0
        while True:
            if at >= len(data) or shift > 63:
                raise ValueError("varint cut off")
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(data):
        tag = read_varint()
        kind, number = tag & 7, tag >> 3
        if number == 0:
            raise ValueError("field number 0")
        if kind == 0:
            out.append((number, read_varint()))
            continue
        if kind == 2:
            size = read_varint()
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError(f"wire type {kind}")
        if at + size > len(data):
            raise ValueError("field cut off")
        value = data[at:at + size]
        at += size
        out.append((number, value if kind == 2 else struct.unpack("<d" if kind == 1 else "<f", value)[0]))
    return out


def category(data):
    """A Category as a dict with the names of category.proto."""
    names = {1: "id", 2: "label", 3: "index", 4: "probability", 6: "model_name", 7: "model_version",
             8: "published_unix_ms", 9: "classified_unix_ms", 10: "title"}
    out = {"id": "", "label": "", "index": 0, "probability": 0.0, "top": [], "model_name": "",
           "model_version": "", "published_unix_ms": 0, "classified_unix_ms": 0, "title": ""}
    for number, value in fields(data):
        if number == 5:
            score = dict(fields(value))
            out["top"].append({"label": score.get(1, b"").decode(), "index": score.get(2, 0),
                               "probability": score.get(3, 0.0)})
        elif number in names:
            out[names[number]] = value.decode() if isinstance(value, bytes) else value
        else:
            raise ValueError(f"field {number} is not in category.proto")
    return out


def murmur2(key):
    """Kafka's 32-bit murmur2 (org.apache.kafka.common.utils.Utils), seed 0x9747b28c."""
    mask, m = 0xFFFFFFFF, 0x5BD1E995
    h = (0x9747B28C ^ len(key)) & mask
    whole = len(key) & ~3
    for (k,) in struct.iter_unpack("<I", key[:whole]):
        k = k * m & mask
        k = (k ^ k >> 24) * m & mask
        h = h * m & mask ^ k
    rest = key[whole:]
    if rest:
        h = (h ^ int.from_bytes(rest, "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return h ^ h >> 15


def partition_of(key, partitions):
    """Where Java's default partitioner puts a record with this key."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions
