"""The verifiers themselves: each planted mistake must be found, and a faultless run must pass."""

from confluent_kafka import Producer

from data import DEAD, OUT, WHOLE, Expect, mixed_records, tiny
from process import Failure
from verify import Ledger
from wire import batch, category, confluent, field, fields, headline, murmur2, partition_of, unframed

PARTITIONS = 3
ROLES = {"categories": OUT, "letters": DEAD}


class Message:
    """A record with the client's methods."""

    def __init__(self, topic, partition, offset, key, timestamp, headers):
        self.at, self._key, self._time, self._headers = (topic, partition, offset), key, timestamp, headers

    def topic(self):
        return self.at[0]

    def partition(self):
        return self.at[1]

    def offset(self):
        return self.at[2]

    def key(self):
        return self._key

    def timestamp(self):
        return (1, self._time)

    def headers(self):
        return list(self._headers.items())


def _run():
    """What went in, and the faultless records that come out of it."""
    expected = {}
    out = []
    offsets = {}
    for offset in range(40):
        for source in (0, 1):
            key = f"k{offset % 7}".encode()
            kinds = WHOLE if offset == 9 else (OUT, DEAD, OUT) if offset % 10 == 3 else (OUT,)
            expect = expected[source, offset] = Expect(kinds, key, 1000 + offset)
            for index, kind in enumerate(kinds):
                topic = "categories" if kind == OUT else "letters"
                home = partition_of(key, PARTITIONS)
                offsets[topic, home] = offsets.get((topic, home), -1) + 1
                headers = {"source-topic": b"in", "source-partition": str(source).encode(),
                           "source-offset": str(offset).encode(), "source-index": str(index).encode()}
                if kind == OUT:
                    headers.update({"model-name": b"m", "model-version": b"1", "model-sha256": b"f" * 64})
                else:
                    headers["dlq.reason"] = b"empty-title"
                out.append(Message(topic, home, offsets[topic, home], key, expect.timestamp, headers))
    return expected, out


def _judge(expected, out, exactly_once=True):
    ledger = Ledger("in", expected, ROLES, PARTITIONS)
    for m in out:
        ledger.add(m)
    return ledger.judge(exactly_once)


def _finds(words, spoil, exactly_once=True):
    """spoil(out) changes the faultless run; the judge must say words."""
    expected, out = _run()
    changed = spoil(out)
    try:
        _judge(expected, out if changed is None else changed, exactly_once)
    except Failure as found:
        if words in str(found):
            return
        raise Failure(f"planted: {words}; found instead: {found}") from None
    raise Failure(f"not found: {words}")


def test_faultless_run(env):
    expected, out = _run()
    if _judge(expected, out) != 0:
        raise Failure("repeated records in a faultless run")


def _remove(out):
    del out[17]


def _repeat(out):
    # At the end of the same partition, as a second transaction would write it.
    out.append(out[17])


def _swap(out):
    first = next(i for i, m in enumerate(out) if m.topic() == "categories")
    other = next(i for i, m in enumerate(out) if i > first and m.at[:2] == out[first].at[:2]
                 and dict(m.headers())["source-partition"] == dict(out[first].headers())["source-partition"])
    out[first], out[other] = out[other], out[first]


def _header(name, value, topic="categories"):
    def spoil(out):
        m = next(m for m in out if m.topic() == topic)
        if value is None:
            del m._headers[name]
        else:
            m._headers[name] = value
    return spoil


def _partition(out):
    out[5].at = (out[5].at[0], (out[5].at[1] + 1) % PARTITIONS, 1000)


def _topic(out):
    m = next(m for m in out if m.topic() == "letters")
    m._headers.update({"model-name": b"m", "model-version": b"1", "model-sha256": b"f"})
    m.at = ("categories",) + m.at[1:]


def test_planted_mistakes(env):
    _finds("source position lost", _remove)
    _finds("source position lost", _remove, exactly_once=False)
    _finds("source position lost", lambda out: [])
    _finds("source position more than once", _repeat)
    _finds("out of the order of its source partition", _swap)
    _finds("does not say where it comes from", _header("source-offset", None))
    _finds("does not say where it comes from", _header("source-topic", b"another"))
    _finds("source position that never was", _header("source-offset", b"4000"))
    _finds("source index that never was", _header("source-index", b"7"))
    _finds("on a partition that its key does not hash to", _partition)
    _finds("with another key", lambda out: setattr(out[3], "_key", b"x"))
    _finds("with another key", lambda out: setattr(out[3], "_key", None))
    _finds("with another timestamp", lambda out: setattr(out[3], "_time", 5))
    _finds("that does not name its model", _header("model-sha256", None))
    _finds("dead letter without a reason", _header("dlq.reason", None, "letters"))
    _finds("that belongs to 'dead'", _topic)


def test_repeats_are_counted_at_least_once(env):
    expected, out = _run()
    _repeat(out)
    if _judge(expected, out, exactly_once=False) != 1:
        raise Failure("one record was repeated")


def test_wire_by_hand(env):
    # The vectors of Kafka's own UtilsTest.
    for key, hash32 in {b"21": -973932308, b"foobar": -790332482, b"a-little-bit-long-string": -985981536,
                        b"a-little-bit-longer-string": -1486304829, b"abc": 479470107}.items():
        if murmur2(key) != hash32 & 0xFFFFFFFF:
            raise Failure(f"murmur2 of {key}: {murmur2(key)}")
    one = fields(headline("标题", id="a", published=1 << 40, extra=field(99, 7)))
    if one != [(1, b"a"), (2, "标题".encode()), (3, 1 << 40), (99, 7)]:
        raise Failure(str(one))
    if [n for n, _ in fields(batch([headline("a"), headline("b")]))] != [16, 16]:
        raise Failure("batch")
    for index, written in ([0], "0200"), ([1], "0202"), ([1, 0], "040200"), ([-1, 64], "04018001"), (None, "00"):
        frame = confluent(0x01020304, index, b"m")
        if frame != bytes.fromhex("0001020304" + written) + b"m" or unframed(frame) != (0x01020304, index or [0], b"m"):
            raise Failure(f"frame of index {index}: {frame.hex()}")
    got = category(field(1, "a") + field(2, "realty") + field(3, 1) + b"\x25\x00\x00\x00\x3f" + field(8, 5))
    if (got["label"], got["index"], got["probability"], got["published_unix_ms"]) != ("realty", 1, 0.5, 5):
        raise Failure(str(got))


def test_mixed_records_hold_every_fault(env):
    kinds = [expect.kinds for _, expect in mixed_records(tiny() * 20, seed=3)]
    singles = sum(k == (OUT,) for k in kinds)
    if not (kinds.count(WHOLE) > 5 and kinds.count((DEAD,)) > 5 and singles > 0.8 * len(kinds)
            and any(len(k) > 1 and DEAD in k for k in kinds)):
        raise Failure("the mixture lacks a kind of record")


def test_reader_and_transactions(env):
    """The reading side on the real broker: aborted records are seen uncommitted only, and an end that an
    open transaction holds back is not taken for the end."""
    topic = env.new_name("verifier")
    env.create(topic, partitions=2)
    producer = Producer(env.kafka.conf(**{"transactional.id": topic}))
    producer.init_transactions(30)

    def write(n):
        producer.begin_transaction()
        for i in range(n):
            producer.produce(topic, str(i), partition=i % 2)
        producer.flush(10)
    write(30)
    producer.abort_transaction(10)
    write(20)
    producer.commit_transaction(10)
    seen = len(env.kafka.read(topic)), len(env.kafka.read(topic, committed=False))
    if seen != (20, 50):
        raise Failure(f"{seen} records instead of 20 committed and 50 in all")
    if env.kafka.wait_open(topic, 0.2) is not None:
        raise Failure("an open transaction where there is none")
    write(10)
    if env.kafka.wait_open(topic, 1) is None:
        raise Failure("the open transaction is not seen")
    try:
        env.kafka.read(topic, seconds=2)
    except Failure as why:
        if "open transaction" not in str(why):
            raise
    else:
        raise Failure("read on past an open transaction")
    producer.abort_transaction(10)
