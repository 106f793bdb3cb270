"""What the people who run it see: health, metrics, logs, signals, offsets."""

import json
import os
import re
import shutil
import signal
import subprocess
import time

from confluent_kafka import Producer

import wire
from process import Failure, wait_for
from test_wire import TITLES, same

GROUP = {"session.timeout.ms": 6000, "heartbeat.interval.ms": 500}


def _feed(env, topics, n, partition=0):
    env.kafka.produce(topics.input, [dict(value=wire.headline(TITLES[i % len(TITLES)]), partition=partition)
                                     for i in range(n)])


def test_offsets_out_of_range(env):
    """Records deleted before they were read: the worker goes on at the earliest one there is, says so and
    counts it."""
    topics = env.topics(2)
    _feed(env, topics, 100)
    env.work_off(topics)
    _feed(env, topics, 400)
    env.kafka.delete_records(topics.input, 0, 300)
    worker = env.worker(topics)
    env.wait_drained(topics, alive=[worker])
    counted = worker.metric(r"out_of_range")
    worker.stop()
    out = sorted(int(dict(r.headers)["source-offset"]) for r in env.kafka.read(topics.output))
    same("offsets published", out, list(range(100)) + list(range(300, 500)))
    if not counted:
        raise Failure(f"/metrics counts {counted} offsets out of range")
    if not any("out of range" in json.dumps(e).replace("_", " ").lower() and topics.input in json.dumps(e)
               for e in worker.events()):
        raise Failure("the log does not name the topic whose offset was out of range")


def test_new_group_starts_at_the_earliest(env):
    topics = env.topics(2)
    _feed(env, topics, 50)
    env.work_off(topics)
    same("records out", len(env.kafka.read(topics.output)), 50)


def test_read_committed_input(env):
    """Records of an aborted transaction are no headlines."""
    topics = env.topics(1)
    producer = Producer(env.kafka.conf(**{"transactional.id": topics.group}))
    producer.init_transactions(30)
    for end in (producer.abort_transaction, producer.commit_transaction, producer.abort_transaction):
        producer.begin_transaction()
        for t in TITLES[:10]:
            producer.produce(topics.input, wire.headline(t))
        producer.flush(10)
        end(10)
    worker = env.worker(topics)
    wait_for("ten categories", lambda: len(env.kafka.read(topics.output)) == 10, 30, step=0.3)
    time.sleep(0.5)
    worker.stop()
    same("records out", len(env.kafka.read(topics.output)), 10)


def test_metrics_and_health(env):
    topics = env.topics(3)
    records = [dict(value=wire.headline(t, published=int(time.time() * 1000) - 5000), key=f"k{n}".encode())
               for n, t in enumerate(TITLES)] + [dict(value=None, key=b"x")]
    env.kafka.produce(topics.input, records)
    worker = env.worker(topics, kafka={"statistics.interval.ms": 500}).wait_ready()
    env.wait_drained(topics, alive=[worker])
    wait_for("a lag of 0", lambda: worker.metric(r"^rubric_consumer_lag\w*\{") == 0, 10)
    same("/livez", worker.get("/livez")[0], 200)
    same("/readyz", worker.get("/readyz")[0], 200)
    same("another path", worker.get("/nothing-here")[0], 404)
    status, text = worker.get("/metrics")
    same("/metrics", status, 200)
    checked = subprocess.run(["promtool", "check", "metrics"], input=text, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True)
    if checked.returncode != 0 or checked.stdout.strip():
        raise Failure(f"promtool check metrics: status {checked.returncode}\n{checked.stdout}")
    worker.stop()
    series = [line for line in text.splitlines() if line and not line.startswith("#")]
    for what, pattern in {"lag": r"^rubric_\w*lag\w*\{", "why batches close": r"^rubric_batch\w*_total\{.*reason=",
                          **{f"the time of {stage}": rf"^rubric_stage_{stage}_seconds_count [1-9]"
                             for stage in ("decode", "classify", "produce", "commit")},
                          "dead letters by reason": r"dead_letter\w*\{.*null-value.*\} 1$",
                          "age from published to categorised": r"^rubric_\w*(age|latency)\w*seconds\w*_count\b.* [1-9]",
                          "the model": r"^rubric_model_info\{.*sha256=\"[0-9a-f]{64}\"",
                          "transactions": r"^rubric_\w*transaction\w*"}.items():
        if not any(re.search(pattern, line) for line in series):
            raise Failure(f"/metrics says nothing about {what} ({pattern})\n{text}")


def test_metrics_while_busy(env):
    """promtool on the page in the middle of work with many partitions, and quick answers."""
    topics = env.topics(24)
    feeder = env.feed(topics, 3000)
    worker = env.worker(topics, kafka={"statistics.interval.ms": 500}).wait_ready()
    slowest = 0
    for _ in range(20):
        begun = time.monotonic()
        status, text = worker.get("/metrics")
        slowest = max(slowest, time.monotonic() - begun)
        same("/metrics", status, 200)
        checked = subprocess.run(["promtool", "check", "metrics"], input=text, stdout=subprocess.PIPE,
                                 stderr=subprocess.STDOUT, text=True)
        if checked.returncode != 0 or checked.stdout.strip():
            raise Failure(f"promtool check metrics: status {checked.returncode}\n{checked.stdout}")
    feeder.stop()
    worker.stop()
    if slowest > 2:
        raise Failure(f"/metrics took {slowest:.1f} s")


def test_sigterm_drains(env):
    """Under load: commits what it has, leaves the group at once, exits 0 in time, leaves nothing open."""
    topics = env.topics(6)
    feeder = env.feed(topics, 3000)
    worker = env.worker(topics, kafka=dict(GROUP, **{"session.timeout.ms": 30000})).wait_ready()
    env.kafka.wait_open(topics.output, 5, beyond=2000)
    took = worker.stop(20)
    # The broker answers a commit before its markers are written: a moment for those.
    begun = time.monotonic()
    while env.kafka.ends(topics.output, True) != env.kafka.ends(topics.output) and time.monotonic() < begun + 3:
        time.sleep(0.05)
    same("last stable offset", env.kafka.ends(topics.output, True), env.kafka.ends(topics.output))
    # Left the group: the next member does not wait for a session of 30 s.
    begun = time.monotonic()
    second = env.worker(topics, kafka=GROUP)
    before = sum(env.kafka.committed(topics.group, topics.input).values())
    wait_for("the next member to go on", lambda: sum(
        env.kafka.committed(topics.group, topics.input).values()) > before, 15, step=0.1)
    joined = time.monotonic() - begun
    expected = feeder.stop()
    env.wait_drained(topics, alive=[second])
    second.stop()
    env.check_exactly_once(topics, expected)
    return f"drained in {took:.1f} s, successor at work after {joined:.1f} s"


def test_not_ready_while_draining(env):
    """SIGTERM with a broker that does not answer: /readyz turns 503, the process still lives; a second
    SIGTERM ends it at once; nothing is lost or doubled by that."""
    topics = env.topics(6)
    feeder = env.feed(topics, 3000)
    worker = env.worker(topics, kafka=GROUP).wait_ready()
    env.kafka.wait_open(topics.output, 5, beyond=2000)
    env.kafka.child.send_signal(signal.SIGSTOP)
    try:
        time.sleep(0.5)
        worker.signal(signal.SIGTERM)
        wait_for("/readyz to say 503", lambda: worker.get("/readyz")[0] in (503, 0), 3)
        time.sleep(0.5)
        worker.must_live()
        begun = time.monotonic()
        worker.signal(signal.SIGTERM)
        worker.wait(5)
        took = time.monotonic() - begun
    finally:
        env.kafka.child.send_signal(signal.SIGCONT)
    second = env.worker(topics, kafka=GROUP)
    expected = feeder.stop()
    env.wait_drained(topics, 60, alive=[second])
    second.stop()
    env.check_exactly_once(topics, expected)
    return f"gone {took:.1f} s after the second SIGTERM with status {worker.child.returncode}"


def test_sigterm_is_bounded_without_a_broker(env):
    """One SIGTERM while the broker does not answer: gone within the stated bound all the same."""
    topics = env.topics(2)
    feeder = env.feed(topics, 2000)
    worker = env.worker(topics, kafka=GROUP, drain_timeout_ms=4000).wait_ready()
    env.kafka.wait_open(topics.output, 5, beyond=500)
    env.kafka.child.send_signal(signal.SIGSTOP)
    try:
        worker.signal(signal.SIGTERM)
        begun = time.monotonic()
        worker.wait(9)
        took = time.monotonic() - begun
    finally:
        env.kafka.child.send_signal(signal.SIGCONT)
    second = env.worker(topics, kafka=GROUP)
    expected = feeder.stop()
    env.wait_drained(topics, 60, alive=[second])
    second.stop()
    env.check_exactly_once(topics, expected)
    return f"gone after {took:.1f} s with status {worker.child.returncode}"


def test_sigterm_before_ready(env):
    topics = env.topics(1, create=False)
    worker = env.worker(topics)
    wait_for("/readyz to say 503", lambda: worker.get("/readyz")[0] == 503, 20)
    took = worker.stop(15)
    return f"{took:.1f} s"


def test_no_title_in_the_logs(env):
    """Neither of good headlines nor of bad ones; and every line off a terminal is one JSON object."""
    topics = env.topics(1)
    word = "秘密标题XYZZY"
    values = [wire.headline(word, id="idXYZZY"), wire.headline(word.encode() + b"\xff"), wire.headline(word + "\0"),
              b"\x12\x7f" + word.encode(), wire.batch([wire.headline(word), wire.headline(word.encode() + b"\xfe")]),
              wire.headline(word * 3000)]
    env.kafka.produce(topics.input, [dict(value=v, key="XYZZY-key".encode()) for v in values])
    worker = env.work_off(topics)
    text = worker.text()
    if "XYZZY" in text or "秘密" in text or "\\u79d8" in text:
        raise Failure("a title stands in the log: "
                      + next(line for line in text.splitlines() if re.search("XYZZY|秘密|u79d8", line)))
    lines = text.splitlines()
    for line in lines:
        try:
            if not isinstance(json.loads(line), dict):
                raise ValueError
        except ValueError:
            raise Failure(f"a log line that is no JSON object: {line!r}") from None
    if len(lines) < 3:
        raise Failure(f"start, group and end make more than {len(lines)} log lines")
    same("records out", len(env.kafka.read(topics.output, topics.dead)), 7)


def test_configuration_from_a_file_and_the_environment(env):
    """The same names in the file and in RUBRIC_ variables; an unknown one ends the start, with its line."""
    topics = env.topics(1)
    _feed(env, topics, 10)
    os.makedirs(env.folder, exist_ok=True)
    path = os.path.join(env.folder, "worker.conf")
    with open(path, "w") as f:
        f.write(f"# a comment\nbrokers = {env.kafka.bootstrap}\ngroup = {topics.group}\ninput = {topics.input}\n"
                f"output = {topics.output}\ndead-letter = nowhere\nmodel = {env.model}\n"
                "kafka.session.timeout.ms = 6000\n")
    worker = env.worker(topics, config=path, brokers=None, group=None, input=None, output=None, dead_letter=None,
                        model=None, environment={"RUBRIC_DEAD_LETTER": topics.dead})
    env.wait_drained(topics, alive=[worker])
    worker.stop()
    same("records out", len(env.kafka.read(topics.output)), 10)
    with open(path, "a") as f:
        f.write("broker = x\n")
    worker = env.worker(topics, config=path)
    status = worker.wait(10)
    if status <= 0 or "brokers" not in worker.text() or f"{path}:9" not in worker.text():
        raise Failure(f"status {status}, said: {worker.text()}")


def test_kafka_options_that_break_the_promise(env):
    """Passed-through properties that would break the delivery promise are refused at the start, by name."""
    topics = env.topics(1)
    for name, value in {"enable.auto.commit": "true", "isolation.level": "read_uncommitted",
                        "enable.idempotence": "false", "acks": "1"}.items():
        worker = env.worker(topics, kafka={name: value})
        status = worker.wait(10)
        if status <= 0 or name not in worker.text():
            raise Failure(f"kafka.{name}={value}: status {status}, said: {worker.text()[-300:]}")


def test_what_does_not_go_together_is_refused_by_check_config(env):
    """Two properties that are each legal: check-config says what run would say."""
    done = subprocess.run([env.program(env.args.worker), "check-config", "--brokers", "127.0.0.1:1", "--input", "in",
                           "--group", "g", "--output", "out", "--dead-letter", "dead", "--model", env.model,
                           "--kafka.message.timeout.ms=120000"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, timeout=20)
    if done.returncode == 0 or "message.timeout.ms" not in done.stdout:
        raise Failure(f"status {done.returncode}, said: {done.stdout}")


def test_lag_of_every_assigned_partition(env):
    """A partition without a record has a row as well: 0, or what was there before the worker came."""
    topics = env.topics(4)
    worker = env.worker(topics).wait_ready()

    def rows():
        return {s: v for s, v in worker.metrics().items() if s.startswith("rubric_consumer_lag{")}
    wait_for("a lag of 0 for four partitions", lambda: sorted(rows().values()) == [0, 0, 0, 0], 20)
    worker.stop()


def test_static_membership_taken_over(env):
    """A second member with the same group.instance.id fences the first, which cannot go on and says so."""
    topics = env.topics(2)
    kafka = dict(GROUP, **{"group.instance.id": "one"})
    first = env.worker(topics, kafka=kafka).wait_ready()
    second = env.worker(topics, kafka=kafka)
    status = first.wait(40)
    if status <= 0 or "failed for good" not in first.text():
        raise Failure(f"status {status}, said: {first.text()[-400:]}")
    second.wait_ready(60)
    _feed(env, topics, 10)
    env.wait_drained(topics, alive=[second])
    second.stop()
    same("records out", len(env.kafka.read(topics.output)), 10)


def test_labels_that_no_topic_can_be_named_after(env):
    """With {label} in the output's name the start ends, with the label named."""
    model = os.path.join(env.folder, "model")
    shutil.copytree(env.model, model)
    with open(os.path.join(model, "labels.txt")) as f:
        labels = f.read().split("\n")
    labels[0], old = "real estate", labels[0]
    with open(os.path.join(model, "labels.txt"), "w") as f:
        f.write("\n".join(labels))
    with open(os.path.join(model, "config.json")) as f:
        config = f.read()
    with open(os.path.join(model, "config.json"), "w") as f:
        f.write(config.replace(f'"{old}"', '"real estate"'))
    worker = env.worker(env.topics(1), model=model, output="news-{label}")
    status = worker.wait(15)
    if status <= 0 or "cannot be part of a topic" not in worker.text():
        raise Failure(f"status {status}, said: {worker.text()[-400:]}")
