"""Headlines for the tests and mixed records made of them, with what must become of each."""

import json
import os
import random
from collections import namedtuple

import wire

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
TINY = os.path.join(ROOT, "tests", "data", "tiny")
REAL = os.path.join(os.path.dirname(ROOT), "shared", "data", "thucnews", "train.txt")

# What must become of one input record. kinds: OUT or DEAD for each headline in it, or WHOLE when the
# record as such is a dead letter.
Expect = namedtuple("Expect", "kinds key timestamp")
OUT, DEAD = "out", "dead"
WHOLE = ("whole",)


def _titles(path):
    with open(path, encoding="utf-8") as f:
        return [line.rsplit("\t", 1)[0] for line in f]


def tiny():
    """The few hundred headlines that the repository holds."""
    return _titles(os.path.join(TINY, "train.txt")) + _titles(os.path.join(TINY, "dev.txt"))


def headlines(n, seed=1):
    """n titles and a word about where they come from: real ones where the data set lies beside the
    checkout, otherwise new ones put together from the halves of the repository's own."""
    chance = random.Random(seed)
    if os.path.exists(REAL):
        titles = _titles(REAL)
        chance.shuffle(titles)
        while len(titles) < n:
            titles += titles
        return titles[:n], "real headlines"
    own = tiny()
    halves = [(t[:len(t) // 2], t[len(t) // 2:]) for t in own]
    return [chance.choice(halves)[0] + chance.choice(halves)[1] + str(chance.randrange(10000))
            for _ in range(n)], "generated headlines (no data set beside the checkout)"


BAD_TITLES = [b"\xff\xfe\xe4\xb8", b"", b"\xe6\xb1\xaa\xed\xa0\x80", b"nul\x00inside", b"   "]
BAD_RECORDS = [None, b"", b"\x0a\xff\xff\xff\xff\x0f", b"\xff\xff\xff\xff", b"\x12\x05ab"]


def mixed_records(titles, seed, partitions=6, bad_share=0.02):
    """Protobuf records that hold these titles: most alone, some in batches, bad_share of the records bad in
    one of every way. Yields (arguments for produce, Expect)."""
    chance = random.Random(seed)
    keys = [f"source-{k}".encode() for k in range(500)]
    at, n = 0, 0
    while at < len(titles):
        n += 1
        key = chance.choice(keys) if chance.random() < 0.9 else None
        timestamp = 1_700_000_000_000 + n
        partition = chance.randrange(partitions)
        bad = chance.random() < bad_share
        size = chance.randint(2, 6) if chance.random() < 0.03 else 1
        group = titles[at:at + size]
        at += len(group)
        if bad and size == 1 and chance.random() < 0.5:
            value, kinds = chance.choice(BAD_RECORDS), WHOLE
        elif size == 1:
            title = chance.choice(BAD_TITLES) if bad else group[0]
            value, kinds = wire.headline(title, id=f"h{n}", published=timestamp - 500), (DEAD if bad else OUT,)
        else:
            wrong = {chance.randrange(len(group))} if bad else set()
            value = wire.batch(wire.headline(chance.choice(BAD_TITLES) if i in wrong else title, id=f"h{n}.{i}")
                               for i, title in enumerate(group))
            kinds = tuple(DEAD if i in wrong else OUT for i in range(len(group)))
        yield (dict(value=value, key=key, partition=partition, timestamp=timestamp),
               Expect(kinds, key, timestamp))


def fill(kafka, topic, records):
    """Produces what mixed_records gives; returns {(partition, offset): Expect}."""
    expects = []

    def arguments():
        for record, expect in records:
            expects.append(expect)
            yield record
    places = kafka.produce(topic, arguments())
    return {places[i]: expect for i, expect in enumerate(expects)}


def json_headline(title, **more):
    return json.dumps(dict(title=title, **more), ensure_ascii=False).encode()
