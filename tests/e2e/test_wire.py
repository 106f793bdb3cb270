"""Every form a headline may come in and a category may go out in."""

import json
import os
import re
import subprocess
import time

import data
import wire
from process import Failure

TITLES = data.tiny()[:40]
TRACE = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def same(what, got, wanted):
    if got != wanted:
        raise Failure(f"{what}: {repr(got)[:200]} instead of {repr(wanted)[:200]}")


def run(env, records, partitions=3, **options):
    """Sends records (produce's arguments) through one worker; returns the records on output and dead-letter
    topic by (source partition, offset, index) and the places of what was sent."""
    topics = env.topics(partitions)
    places = env.kafka.produce(topics.input, records)
    env.work_off(topics, **options)
    out = {}
    for r in env.kafka.read(topics.output, topics.dead):
        h = dict(r.headers)
        at = int(h["source-partition"]), int(h["source-offset"]), int(h.get("source-index") or 0)
        if at in out:
            raise Failure(f"{at} came out twice")
        same("source-topic", h["source-topic"], topics.input.encode())
        out[at] = r
    return topics, places, out


def classify(env, titles):
    """What the command line says of the same titles."""
    done = subprocess.run([env.program(env.args.worker), "classify", "--model", env.model, "--json"],
                          input="\n".join(titles) + "\n", stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise Failure(f"classify: status {done.returncode}\n{done.stderr}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def check_category(env, got, title, said):
    if got["label"] != said["label"] or got["index"] != said["index"]:
        raise Failure(f"{title}: {got['label']} ({got['index']}), but classify says {said['label']} ({said['index']})")
    if abs(got["probability"] - said["probability"]) > 1e-4:
        raise Failure(f"{title}: probability {got['probability']}, but classify says {said['probability']}")


def check_headers(r, model_name, model_version):
    h = dict(r.headers)
    same("number of each header", len(h), len(r.headers))
    if not re.fullmatch(rb"[0-9a-f]{64}", h.get("model-sha256", b"")):
        raise Failure(f"model-sha256: {h.get('model-sha256')}")
    same("model-name", h["model-name"].decode(), model_name)
    same("model-version", h["model-version"].decode(), model_version)
    for name in ("source-partition", "source-offset", "source-index"):
        if not re.fullmatch(rb"[0-9]+", h.get(name, b"")):
            raise Failure(f"{name}: {h.get(name)}")


def test_protobuf_single(env):
    """Fields, headers, key, timestamp, partition of a headline on its own."""
    keys = [b"", b"k", "键".encode(), b"\x00\xff", None] + [f"key-{i}".encode() for i in range(35)]
    records = [dict(value=wire.headline(t, id=f"id-{i}", published=1_600_000_000_000 + i, source="s"), key=keys[i],
                    timestamp=1_650_000_000_000 + i, headers=[("traceparent", TRACE), ("mine", b"x")])
               for i, t in enumerate(TITLES)]
    begun = time.time()
    topics, places, out = run(env, records)
    same("records out", len(out), len(records))
    said = classify(env, TITLES)
    for i, title in enumerate(TITLES):
        r = out[places[i] + (0,)]
        same("topic", r.topic, topics.output)
        same("key", r.key, keys[i])
        same("timestamp", r.timestamp[1], 1_650_000_000_000 + i)
        if keys[i] is not None:
            same(f"partition of key {keys[i]}", r.partition, wire.partition_of(keys[i], 3))
        same("traceparent", dict(r.headers).get("traceparent"), TRACE)
        got = wire.category(r.value)
        check_category(env, got, title, said[i])
        check_headers(r, got["model_name"], got["model_version"])
        same("id", got["id"], f"id-{i}")
        same("published_unix_ms", got["published_unix_ms"], 1_600_000_000_000 + i)
        same("title", got["title"], "")
        if not begun - 1 <= got["classified_unix_ms"] / 1000 <= time.time() + 1:
            raise Failure(f"classified_unix_ms: {got['classified_unix_ms']}")


def test_protobuf_batch(env):
    """One record out for each headline, in order, with its index; keyless input too."""
    groups = [TITLES[0:1], TITLES[1:4], TITLES[4:24]]
    records = [dict(value=wire.batch(wire.headline(t, id=t[:2]) for t in g), key=None if n else b"key",
                    partition=0, timestamp=1_650_000_000_000 + n) for n, g in enumerate(groups)]
    topics, places, out = run(env, records, partitions=1)
    same("records out", len(out), 24)
    order = [(int(h["source-offset"]), int(h["source-index"]))
             for h in (dict(r.headers) for r in env.kafka.read(topics.output))]
    same("order on the output partition", order, [(n, i) for n, g in enumerate(groups) for i in range(len(g))])
    said = classify(env, TITLES[:24])
    n = 0
    for record, group in enumerate(groups):
        for index, title in enumerate(group):
            r = out[places[record] + (index,)]
            same("key", r.key, records[record]["key"])
            same("timestamp", r.timestamp[1], 1_650_000_000_000 + record)
            got = wire.category(r.value)
            same("id", got["id"], title[:2])
            check_category(env, got, title, said[n])
            n += 1


def test_protobuf_unknown_fields(env):
    """A newer producer's fields change nothing."""
    extra = (wire.field(7, "later") + wire.field(900, 5) + wire.varint(33 << 3 | 1) + b"12345678"
             + wire.varint(34 << 3 | 5) + b"1234" + wire.field(15, b"\xff\x00"))
    values = [wire.headline(TITLES[0], extra=extra), extra + wire.headline(TITLES[1]),
              wire.batch([wire.headline(TITLES[2], extra=extra), wire.headline(TITLES[3])]) + wire.field(40, "more")]
    topics, _, out = run(env, [dict(value=v, partition=0) for v in values], partitions=1)
    got = [wire.category(r.value)["label"] for r in env.kafka.read(topics.output)]
    same("labels", got, [s["label"] for s in classify(env, TITLES[:4])])
    same("dead letters", len(out) - len(got), 0)


JSON_FORMS = [
    (lambda t: data.json_headline(t[0], id="a", published_unix_ms=1_600_000_000_000, unknown={"x": [1, None]}), 1),
    (lambda t: json.dumps({"title": t[0]}).encode(), 1),                                # escaped
    (lambda t: b" \r\n" + data.json_headline(t[0]) + b"\n", 1),
    (lambda t: b"[" + b", ".join(data.json_headline(x) for x in t[:3]) + b"]", 3),
    (lambda t: b"\n".join(data.json_headline(x) for x in t[:4]), 4),
    (lambda t: b"\r\n".join(data.json_headline(x) for x in t[:2]) + b"\r\n", 2),
    (lambda t: b'{"headlines": [' + b",".join(data.json_headline(x, id="b") for x in t[:5]) + b"]}", 5),
]


def test_json(env):
    """Objects, arrays, lines and batches in; JSON out."""
    records, wanted = [], []
    for n, (form, size) in enumerate(JSON_FORMS):
        titles = TITLES[n * 5:n * 5 + 5]
        records.append(dict(value=form(titles), partition=0, key=f"k{n}".encode()))
        wanted += titles[:size]
    topics, places, out = run(env, records, partitions=1, wire_in="json", wire_out="json")
    got = [json.loads(r.value) for r in env.kafka.read(topics.output)]
    same("records out", len(got), len(wanted))
    for category, title, said in zip(got, wanted, classify(env, wanted)):
        check_category(env, category, title, said)
    first = got[0]
    same("id", first.get("id"), "a")
    same("published_unix_ms", first.get("published_unix_ms"), 1_600_000_000_000)
    for name in ("model_name", "model_version", "classified_unix_ms"):
        if not first.get(name):
            raise Failure(f"JSON category without {name}: {first}")
    for r in out.values():
        if b"\n" in r.value:
            raise Failure("a JSON category on more than one line")


def test_text(env):
    """A record is a title; protobuf and JSON out of it."""
    records = [dict(value=t.encode() + end, partition=0)
               for t, end in zip(TITLES[:4], (b"", b"\n", b"\r\n", b""))]
    said = [s["label"] for s in classify(env, TITLES[:4])]
    topics, _, out = run(env, records, partitions=1, wire_in="text")
    same("labels", [wire.category(r.value)["label"] for r in env.kafka.read(topics.output)], said)
    topics, _, out = run(env, records, partitions=1, wire_in="text", wire_out="json")
    same("labels", [json.loads(r.value)["label"] for r in env.kafka.read(topics.output)], said)


def test_protobuf_in_json_out(env):
    value = wire.headline('引号"与\\反斜线\t制表', id='a"b', published=5)
    topics, _, out = run(env, [dict(value=value, partition=0)], partitions=1, wire_out="json")
    [r] = env.kafka.read(topics.output)
    got = json.loads(r.value)
    same("id", got["id"], 'a"b')
    same("published_unix_ms", got["published_unix_ms"], 5)


def test_compressed_input(env):
    """Whatever codec the producer chose."""
    topics = env.topics(1)
    for codec in ("gzip", "snappy", "lz4", "zstd"):
        env.kafka.produce(topics.input, [dict(value=wire.headline(t)) for t in TITLES[:10]],
                          **{"compression.type": codec})
    env.work_off(topics)
    same("records out", len(env.kafka.read(topics.output)), 40)


def test_top_and_title_when_asked(env):
    """The k best categories, falling, and a copy of the title: only when asked for."""
    records = [dict(value=wire.headline(t), partition=0) for t in TITLES]
    for form, read in (("protobuf", wire.category), ("json", json.loads)):
        topics, _, out = run(env, records, partitions=1, wire_out=form, top=3, with_title=True)
        for r, title in zip(env.kafka.read(topics.output), TITLES):
            got = read(r.value)
            same("title", got["title"], title)
            same("number of the best", len(got["top"]), 3)
            same("the best of them", got["top"][0]["label"], got["label"])
            falling = [s["probability"] for s in got["top"]]
            if sorted(falling, reverse=True) != falling or sum(falling) > 1.0001:
                raise Failure(f"probabilities of the best: {falling}")


def test_several_input_topics(env):
    """Each record says which topic it came from; offsets of all are committed."""
    first, second = env.topics(2), env.topics(3)
    for topics, titles in ((first, TITLES[:20]), (second, TITLES[20:])):
        env.kafka.produce(topics.input, [dict(value=wire.headline(t, id=t)) for t in titles])
    worker = env.worker(first, input=f"{first.input},{second.input}")
    env.wait_drained(first, alive=[worker])
    env.wait_drained(second._replace(group=first.group), alive=[worker])
    worker.stop()
    came = {wire.category(r.value)["id"]: dict(r.headers)["source-topic"].decode()
            for r in env.kafka.read(first.output)}
    same("source topics", came, {t: (first.input if i < 20 else second.input) for i, t in enumerate(TITLES)})


def test_model_from_a_registry(env):
    """The alias is resolved, and the version stands in every record."""
    registry = "dir:" + os.path.join(env.folder, "registry")
    pushed = subprocess.run([env.program(env.args.trainer), "push", "--model", env.model, "--registry", registry,
                             "--name", "news", "--alias", "today"], stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True)
    if pushed.returncode != 0:
        raise Failure(f"rubric-trainer push: {pushed.stdout}")
    [version] = os.listdir(os.path.join(env.folder, "registry", "news", "versions"))
    topics, _, out = run(env, [dict(value=wire.headline(t)) for t in TITLES], model=None, registry=registry,
                         name="news", alias="today")
    same("records out", len(out), len(TITLES))
    for r in out.values():
        got = wire.category(r.value)
        check_headers(r, "news", version)
        same("model_name", got["model_name"], "news")
        same("model_version", got["model_version"], version)
