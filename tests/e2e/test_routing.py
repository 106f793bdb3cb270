"""Which topic a category goes to."""

import os
import statistics

import data
import wire
from process import Failure, wait_for
from test_wire import classify, same

TITLES = data.tiny()


def _labels(env):
    with open(os.path.join(env.model, "labels.txt"), encoding="utf-8") as f:
        return f.read().split()


def _send(env, topics):
    env.kafka.produce(topics.input, [dict(value=wire.headline(t, id=str(n)), key=f"k{n % 20}".encode())
                                     for n, t in enumerate(TITLES)])


def _by_category(env, topics):
    prefix = topics.output + "."
    return prefix, {label: prefix + label for label in _labels(env)}


def test_one_topic_per_category(env):
    topics = env.topics(3)
    prefix, names = _by_category(env, topics)
    env.create(*names.values(), partitions=3)
    _send(env, topics)
    env.work_off(topics, output=prefix + "{label}")
    got = env.kafka.read(*names.values())
    same("records out", len(got), len(TITLES))
    said = classify(env, TITLES)
    for r in got:
        category = wire.category(r.value)
        same("topic", r.topic, names[category["label"]])
        same("label", category["label"], said[int(category["id"])]["label"])
        same("partition", r.partition, wire.partition_of(r.key, 3))
    if len({r.topic for r in got}) < 5:
        raise Failure("the headlines of ten categories went to fewer than five topics")
    same("records on the topic without a label", len(env.kafka.read(topics.output)), 0)


def test_missing_category_topic_is_named(env):
    topics = env.topics(1)
    prefix, names = _by_category(env, topics)
    labels = sorted(names)
    env.create(*(names[x] for x in labels[1:]))
    _send(env, topics)
    worker = env.worker(topics, output=prefix + "{label}")
    wait_for("/readyz to name " + names[labels[0]],
             lambda: worker.get("/readyz")[0] == 503 and names[labels[0]] in worker.get("/readyz")[1], 20)
    env.create(names[labels[0]])
    worker.wait_ready()
    env.wait_drained(topics, alive=[worker])
    worker.stop()
    same("records out", len(env.kafka.read(*names.values())), len(TITLES))


def test_review_below_the_threshold(env):
    """Low-confidence headlines go to the review topic, nothing to both."""
    said = classify(env, TITLES)
    threshold = round(statistics.median(s["probability"] for s in said), 4)
    topics = env.topics(3)
    _send(env, topics)
    env.work_off(topics, review=topics.review, review_threshold=threshold)
    low = env.kafka.read(topics.review)
    high = env.kafka.read(topics.output)
    same("records out", len(low) + len(high), len(TITLES))
    for r in low + high:
        category = wire.category(r.value)
        p = said[int(category["id"])]["probability"]
        if abs(p - threshold) > 1e-4 and (p < threshold) != (r.topic == topics.review):
            raise Failure(f"probability {p}, threshold {threshold}, but on {r.topic}")
        for name in ("model-name", "model-version", "model-sha256", "source-offset"):
            if not dict(r.headers).get(name):
                raise Failure(f"{r.topic}: header {name} is missing")
    if not low or not high:
        raise Failure(f"{len(low)} below and {len(high)} above a median of {threshold}")


def test_review_beside_category_topics(env):
    topics = env.topics(1)
    prefix, names = _by_category(env, topics)
    env.create(*names.values())
    _send(env, topics)
    env.work_off(topics, output=prefix + "{label}", review=topics.review, review_threshold=0.9999)
    low, high = len(env.kafka.read(topics.review)), len(env.kafka.read(*names.values()))
    same("records out", low + high, len(TITLES))
    if not low:
        raise Failure("nothing below 0.9999")
