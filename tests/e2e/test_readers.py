"""Readers and writers that were not written for this project."""

import importlib.util
import json
import os
import subprocess
import sys

import data
import wire
from confluent_kafka import Consumer, KafkaError
from process import Failure
from test_wire import TITLES, same

PROTO = os.path.join(data.ROOT, "proto")


def generated(env, name):
    """The class file that protoc makes of proto/NAME.proto."""
    os.makedirs(env.folder, exist_ok=True)
    try:
        subprocess.run(["protoc", "-I", PROTO, "--python_out", env.folder, name + ".proto"], check=True)
    except FileNotFoundError:
        raise Failure("protoc is missing (Debian: apt-get install protobuf-compiler)") from None
    path = os.path.join(env.folder, name + "_pb2.py")
    spec = importlib.util.spec_from_file_location(name + "_pb2", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name + "_pb2"] = module
    spec.loader.exec_module(module)
    return module


def test_python_with_generated_classes(env):
    """python3-confluent-kafka writes headlines and reads categories with protoc's classes."""
    headline_pb2, category_pb2 = generated(env, "headline"), generated(env, "category")
    topics = env.topics(3)
    one = [headline_pb2.Headline(id=str(i), title=t, published_unix_ms=i, source="s", url="u", language="zh")
           for i, t in enumerate(TITLES[:20])]
    batch = headline_pb2.HeadlineBatch(headlines=one)
    env.kafka.produce(topics.input, [dict(value=h.SerializeToString()) for h in one]
                      + [dict(value=batch.SerializeToString())])
    env.work_off(topics)
    consumer = Consumer({"bootstrap.servers": env.kafka.bootstrap, "group.id": topics.group + "-reader",
                         "auto.offset.reset": "earliest", "enable.partition.eof": True})
    consumer.subscribe([topics.output])
    got, ends = [], set()
    while len(ends) < 3:
        m = consumer.poll(20)
        if m is None:
            raise Failure(f"the reader got {len(got)} records and then nothing for 20 s")
        if m.error():
            if m.error().code() != KafkaError._PARTITION_EOF:
                raise Failure(m.error().str())
            ends.add(m.partition())
        else:
            got.append(category_pb2.Category.FromString(m.value()))
    consumer.close()
    same("ids", sorted(int(c.id) for c in got), sorted(list(range(20)) * 2))
    with open(os.path.join(env.model, "labels.txt"), encoding="utf-8") as f:
        labels = f.read().split()
    for c in got:
        same("label of the index", c.label, labels[c.index])
        same("published_unix_ms", c.published_unix_ms, int(c.id))
        if not 0 < c.probability <= 1.000001 or not c.model_name or not c.model_version:
            raise Failure(str(c))
        unknown = wire.category(c.SerializeToString())
        same("probability by hand", round(unknown["probability"], 6), round(c.probability, 6))


def _kcat(env, topic, *args):
    try:
        done = subprocess.run(["kcat", "-b", env.kafka.bootstrap, "-C", "-t", topic, "-e", "-q",
                               "-X", "isolation.level=read_committed", *args],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
    except FileNotFoundError:
        raise Failure("kcat is missing (Debian: apt-get install kcat)") from None
    if done.returncode != 0:
        raise Failure(f"kcat: {done.stderr.decode()}")
    return done.stdout


def test_kcat(env):
    """kcat writes titles as JSON lines and reads categories as JSON, with their headers."""
    topics = env.topics(3)
    lines = "".join(json.dumps({"id": str(i), "title": t}, ensure_ascii=False) + "\n" for i, t in enumerate(TITLES))
    subprocess.run(["kcat", "-b", env.kafka.bootstrap, "-P", "-t", topics.input], input=lines.encode(), check=True,
                   timeout=60)
    env.work_off(topics, wire_in="json", wire_out="json")
    got = [line.split(b"\t") for line in _kcat(env, topics.output, "-f", "%h\t%p\t%s\n").splitlines()]
    same("records", len(got), len(TITLES))
    same("ids", sorted(int(json.loads(value)["id"]) for _, _, value in got), list(range(len(TITLES))))
    for headers, _, value in got:
        names = dict(h.split("=", 1) for h in headers.decode().split(","))
        same("source-topic", names["source-topic"], topics.input)
        if not (names["model-name"] and names["model-version"] and len(names["model-sha256"]) == 64):
            raise Failure(str(names))
        if json.loads(value)["label"] not in {t for t in open(os.path.join(env.model, "labels.txt")).read().split()}:
            raise Failure(value.decode())


def test_kcat_reads_protobuf(env):
    """The raw bytes that kcat passes on decode with protoc."""
    topics = env.topics(1)
    env.kafka.produce(topics.input, [dict(value=wire.headline(TITLES[0], id="kcat"))])
    env.work_off(topics)
    raw = _kcat(env, topics.output, "-f", "%s")
    done = subprocess.run(["protoc", "-I", PROTO, "--decode", "rubric.v1.Category", "category.proto"], input=raw,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if done.returncode != 0 or b'id: "kcat"' not in done.stdout or b"label:" not in done.stdout:
        raise Failure(f"protoc --decode: {done.stdout} {done.stderr}")
