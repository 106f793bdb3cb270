"""What cannot be classified, and what does not fit: each has one outcome, and the rest goes on."""

import json
import random

import data
import wire
from process import Failure
from test_wire import TITLES, run, same

LONG = "很" * 100000  # 300 kB: over any sensible bound for a title, under the broker's for a record

# The broker's limit is on what it gets, after compression.
INCOMPRESSIBLE = random.Random(5).randbytes(50000)

PROTOBUF = [  # (value, reasons allowed)
    (None, {"null-value"}),
    (b"", {"empty-batch"}),
    (b"\x12\x7fshort", {"malformed"}),                        # a length beyond the end
    (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", {"malformed"}),   # a varint without end
    (b"\x07", {"malformed"}),                                  # wire type 7
    (wire.field(2, 5), {"malformed", "empty-title"}),          # the title as a number: another field to some
    (wire.headline("both") + wire.batch([wire.headline("and")]), {"malformed"}),
    (wire.headline("t", id=b"\xff\xfe"), {"malformed"}),       # an id that is no UTF-8
    (wire.field(16, b"\x12\x7fshort"), {"malformed"}),         # broken inside a batch
    (wire.headline(b"\xe4\xb8\xff"), {"invalid-utf8"}),
    (wire.headline(b"\xed\xa0\x80"), {"invalid-utf8"}),        # a surrogate
    (wire.headline(b"\xc0\xaf"), {"invalid-utf8"}),            # overlong
    (wire.headline(None, id="no title"), {"empty-title"}),
    (wire.headline(b" \t\n"), {"empty-title"}),
    (wire.headline("　　"), {"empty-title"}),                  # ideographic spaces are white space
    (wire.headline(b"nul\x00inside"), {"nul-in-title"}),
    (wire.headline(LONG), {"title-too-long"}),
    (b"{\"title\": \"json by mistake\"}", {"malformed"}),
]

JSON = [
    (None, {"null-value"}),
    (b"[]", {"empty-batch"}),
    (b'{"headlines": []}', {"empty-batch"}),
    (b"{", {"malformed"}),
    (b'{"title": "a"} trailing', {"malformed"}),
    (b'"a title as a string"', {"malformed"}),
    (b"[1]", {"malformed", "empty-title"}),
    (b'{"title": "\xff\xfe"}', {"malformed", "invalid-utf8"}),
    (b'{"title": "\\ud800"}', {"malformed", "invalid-utf8"}),
    (b'{"title": "a\\u0000b"}', {"nul-in-title", "malformed"}),
    (b'{"title": 5}', {"empty-title", "malformed"}),
    (b'{"id": "x"}', {"empty-title", "malformed"}),
    (b'{"title": ""}', {"empty-title"}),
    (b"[" * 50000, {"malformed"}),
    (data.json_headline(LONG), {"title-too-long"}),
]

TEXT = [
    (None, {"null-value"}),
    (b"", {"empty-title", "empty-batch"}),
    (b"\n", {"empty-title"}),
    (b"\xff", {"invalid-utf8"}),
    (b"a\x00b", {"nul-in-title"}),
    (LONG.encode(), {"title-too-long"}),
]


def dead_letters(env, cases, good, **options):
    """Each case between two good records; every one must come out as a dead letter with one of its
    reasons, the bytes, key, headers and timestamp that it had, and every good one as a category."""
    records = []
    for n, (value, _) in enumerate(cases):
        records.append(dict(value=good, partition=0, key=b"good"))
        records.append(dict(value=value, partition=0, key=b"" if n == 3 else f"bad-{n}".encode(),
                            timestamp=1_650_000_000_000 + n, headers=[("mine", b"\x00\xff"), ("mine", b"2")]))
    topics, places, out = run(env, records, partitions=1, **options)
    faults = []
    for i, record in enumerate(records):
        r = out.get(places[i] + (0,))
        if i % 2 == 0:
            if r is None or r.topic != topics.output:
                faults.append(f"good record {i} is not on the output topic: {r}")
            continue
        value, reasons = cases[i // 2]
        case = f"{options.get('wire_in', 'protobuf')} {value if value is None else value[:40]!r}"
        if r is None or r.topic != topics.dead:
            faults.append(f"{case}: no dead letter: {r}")
            continue
        h = dict(r.headers)
        if h.get("dlq.reason", b"").decode() not in reasons:
            faults.append(f"{case}: dlq.reason {h.get('dlq.reason')}, not {' or '.join(reasons)}")
        if not h.get("dlq.error") or not h.get("dlq.stage"):
            faults.append(f"{case}: dlq.error or dlq.stage missing: {h}")
        if r.value != value:
            faults.append(f"{case}: value changed to {r.value if r.value is None else r.value[:40]!r}")
        if r.key != record["key"]:
            faults.append(f"{case}: key {r.key}")
        if r.timestamp[1] != record["timestamp"]:
            faults.append(f"{case}: timestamp {r.timestamp}")
        if [x for x in r.headers if x[0] == "mine"] != record["headers"]:
            faults.append(f"{case}: original headers changed: {r.headers}")
        if "dlq.truncated" in h:
            faults.append(f"{case}: marked as truncated")
    if faults:
        raise Failure("\n".join(faults))


def test_protobuf_reasons(env):
    dead_letters(env, PROTOBUF, wire.headline(TITLES[0]))


def test_json_reasons(env):
    dead_letters(env, JSON, data.json_headline(TITLES[0]), wire_in="json")


def test_text_reasons(env):
    dead_letters(env, TEXT, TITLES[0].encode(), wire_in="text")


def test_bad_headlines_inside_a_batch(env):
    """The whole record goes to dead letters once for each bad headline, its index named; the others of the
    batch are published."""
    bad = {1: (b"\xff", "invalid-utf8"), 3: (b"", "empty-title"), 4: (b"a\x00", "nul-in-title"),
           6: (TITLES[6], "malformed")}  # a good title, but the id is no UTF-8
    value = wire.batch(wire.headline(bad[i][0] if i in bad else TITLES[i], id=b"\xff" if i == 6 else str(i))
                       for i in range(8))
    lines = b"\n".join([data.json_headline("一"), data.json_headline(""), data.json_headline("三")])
    topics, places, out = run(env, [dict(value=value, partition=0, key=b"k")], partitions=1)
    same("records", sorted(i for _, _, i in out), list(range(8)))
    for (_, _, i), r in out.items():
        same(f"topic of index {i}", r.topic, topics.dead if i in bad else topics.output)
        same(f"source-index of {i}", dict(r.headers)["source-index"], str(i).encode())
        if i in bad:
            same(f"value of index {i}", r.value, value)
            same(f"reason of index {i}", dict(r.headers)["dlq.reason"].decode(), bad[i][1])
        else:
            same(f"id of index {i}", wire.category(r.value)["id"], str(i))
    topics, places, out = run(env, [dict(value=lines, partition=0)], partitions=1, wire_in="json", wire_out="json")
    same("topics", [out[0, 0, i].topic for i in range(3)], [topics.output, topics.dead, topics.output])
    same("value", out[0, 0, 1].value, lines)


def test_too_many_headlines_in_a_record(env):
    """A record over max-headlines is one dead letter; none of its headlines is published."""
    values = [wire.batch(wire.headline(t) for t in TITLES[:n]) for n in (3, 4, 5, 2)]
    topics, places, out = run(env, [dict(value=v, partition=0) for v in values], partitions=1, max_headlines=4)
    same("records", sorted((o, i) for _, o, i in out),
         [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (1, 3), (2, 0), (3, 0), (3, 1)])
    same("topic", out[0, 2, 0].topic, topics.dead)
    same("value", out[0, 2, 0].value, values[2])
    same("reason", dict(out[0, 2, 0].headers)["dlq.reason"], b"malformed")


def _with_limits(env, records, output=None, dead=None, wire_out=None):
    """Sends records through a worker whose output or dead-letter topic takes no record batch over that many
    bytes; returns ({source offset: record}, topics)."""
    topics = env.topics(1)
    if output:
        env.kafka.set_topic(topics.output, max_message_bytes=output)
    if dead:
        env.kafka.set_topic(topics.dead, max_message_bytes=dead)
    env.kafka.produce(topics.input, records)
    env.work_off(topics, 90, wire_out=wire_out)
    got = {}
    for r in env.kafka.read(topics.output, topics.dead):
        offset = int(dict(r.headers)["source-offset"])
        if offset in got:
            raise Failure(f"offset {offset} came out twice")
        got[offset] = r
    same("source offsets", sorted(got), list(range(len(records))))
    return got, topics


def test_oversize_output(env):
    """A category that the output topic does not take (the key is kept, so a large key makes it large)."""
    big = INCOMPRESSIBLE[:20000]
    records = [dict(value=wire.headline(t), key=big if n in (7, 20) else f"k{n}".encode(), partition=0)
               for n, t in enumerate(TITLES)]
    got, topics = _with_limits(env, records, output=16000)
    for n, r in got.items():
        if n in (7, 20):
            same(f"topic of record {n}", r.topic, topics.dead)
            same("reason", dict(r.headers)["dlq.reason"], b"output-too-large")
            same("value", r.value, records[n]["value"])
            same("key", r.key, big)
        else:
            same(f"topic of record {n}", r.topic, topics.output)


def test_many_small_outputs_under_a_small_limit(env):
    """The limit holds for a batch of records; categories that fit one by one all arrive."""
    records = [dict(value=wire.headline(t), key=f"k{n}".encode(), partition=0)
               for n, t in enumerate(TITLES * 25)]
    got, topics = _with_limits(env, records, output=2000)
    wrong = [n for n, r in got.items() if r.topic != topics.output]
    same("records that did not arrive on the output topic", wrong, [])


def test_oversize_dead_letter(env):
    """A dead letter that its topic does not take goes there without the value, with its length."""
    junk = b"\x12\xff" + INCOMPRESSIBLE
    records = [dict(value=junk if n in (3, 5) else wire.headline(t), key=f"k{n}".encode(), partition=0,
                    timestamp=1_650_000_000_000 + n) for n, t in enumerate(TITLES[:10])]
    got, topics = _with_limits(env, records, dead=10000)
    for n, r in got.items():
        if n not in (3, 5):
            same(f"topic of record {n}", r.topic, topics.output)
            continue
        h = dict(r.headers)
        same("topic", r.topic, topics.dead)
        same("value", r.value, None)
        same("dlq.truncated", h.get("dlq.truncated"), str(len(junk)).encode())
        same("dlq.reason", h["dlq.reason"], b"malformed")
        same("key", r.key, f"k{n}".encode())
        same("timestamp", r.timestamp[1], 1_650_000_000_000 + n)


def test_oversize_everywhere(env):
    """Neither topic takes the record whole: it still has one outcome, and what follows is not held up."""
    big = INCOMPRESSIBLE[:20000]
    records = [dict(value=wire.headline(t), key=big if n == 4 else f"k{n}".encode(), partition=0)
               for n, t in enumerate(TITLES[:10])]
    got, topics = _with_limits(env, records, output=16000, dead=10000)
    same("topic of the large record", got[4].topic, topics.dead)
    same("dlq.reason", dict(got[4].headers)["dlq.reason"], b"output-too-large")
    same("the others' topics", {r.topic for n, r in got.items() if n != 4}, {topics.output})


def test_a_limit_that_no_dead_letter_fits(env):
    """A topic so small that not even a bare dead letter fits is refused at the start, by name."""
    topics = env.topics(1)
    env.kafka.set_topic(topics.dead, max_message_bytes=600)
    worker = env.worker(topics)
    status = worker.wait(20)
    if status <= 0 or f"topic {topics.dead}: max.message.bytes is 600: at least" not in worker.text():
        raise Failure(f"status {status}, said: {worker.text()[-400:]}")


def test_one_large_record_with_many_bad_headlines(env):
    """Every bad headline of a batch is a dead letter with the whole record's bytes; from 16 MiB of copies on, with
    their number instead."""
    lines = b"\n".join(json.dumps({"id": "x" * 30000, "title": "" if n < 30 else TITLES[0]}).encode()
                       for n in range(31))
    topics, places, out = run(env, [dict(value=b"[" + lines.replace(b"\n", b",") + b"]", partition=0),
                                    dict(value=json.dumps({"title": TITLES[1]}).encode(), partition=0)],
                              partitions=1, wire_in="json", wire_out="json")
    size = len(lines) + 2
    whole = [i for i in range(30) if out[0, 0, i].value is not None]
    same("headlines with the record's bytes", whole, list(range((16 << 20) // size)))
    for i in range(len(whole), 30):
        same("dlq.truncated", dict(out[0, 0, i].headers)["dlq.truncated"], str(size).encode())
    same("the good ones", [out[0, 0, 30].topic, out[0, 1, 0].topic], [topics.output] * 2)


def test_dead_letters_of_json_are_the_bytes(env):
    """Nothing is parsed and printed again on the way."""
    value = b'{ "title" :\t"" , "x":1.10, "x":2 }\n'
    topics, places, out = run(env, [dict(value=value, partition=0)], partitions=1, wire_in="json")
    same("value", out[0, 0, 0].value, value)
    json.loads(value)
