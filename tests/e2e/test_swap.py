"""Models change under a running service: what the alias names is taken over between two transactions."""

import json
import os
import shutil
import statistics
import subprocess
import threading
import time

from confluent_kafka import Consumer

from process import Failure, wait_for
from test_wire import same

POLL = {"registry_poll_ms": 100, "name": "news"}


class Registry:
    """A registry of the project's own commands: push, promote."""

    def __init__(self, env, url):
        self.env, self.url = env, url

    def run(self, *argv):
        done = subprocess.run([self.env.program(self.env.args.trainer), *argv, "--registry", self.url, "--name", "news"],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
        if done.returncode != 0:
            raise Failure(f"rubric-trainer {' '.join(argv)}: status {done.returncode}\n{done.stdout}")
        return done.stdout.strip()

    def push(self, model):
        return self.run("push", "--model", model).splitlines()[-1]

    def promote(self, version):
        self.run("models", "promote", "--version", version)


def variant(env, name, edit=None):
    """The tests' model under another name: the same answers, another version. edit(dir) may spoil it."""
    path = os.path.join(env.folder, name)
    shutil.copytree(env.model, path)
    with open(os.path.join(path, "config.json")) as f:
        config = json.load(f)
    config["model_name"] = name
    with open(os.path.join(path, "config.json"), "w") as f:
        json.dump(config, f)
    if edit:
        edit(path)
    return path


def registry(env):
    return Registry(env, "dir:" + os.path.join(env.folder, "registry"))


def version_of(worker):
    [row] = [s for s in worker.metrics() if s.startswith("rubric_model_info")]
    return row.split('version="')[1].split('"')[0]


def resident_mb(worker):
    with open(f"/proc/{worker.child.pid}/status") as f:
        return int([line for line in f if line.startswith("VmRSS")][0].split()[1]) / 1024


class Gaps(threading.Thread):
    """Reads what is committed and notes when: the time between two moments at which records became visible."""

    def __init__(self, kafka, topic):
        super().__init__(daemon=True)
        self._consumer = Consumer(kafka.conf(**{"group.id": topic + "-gaps", "isolation.level": "read_committed",
                                                "auto.offset.reset": "latest", "fetch.wait.max.ms": 5}))
        self._consumer.subscribe([topic])
        self._end = threading.Event()
        self.moments = []

    def run(self):
        while not self._end.is_set():
            got = [m for m in self._consumer.consume(10000, 0.005) if not m.error()]
            if got:
                self.moments.append(time.monotonic())
        self._consumer.close()

    def stop(self):
        self._end.set()
        self.join()

    def between(self, begin, end):
        inside = [t for t in self.moments if begin <= t <= end]
        return [b - a for a, b in zip(inside, inside[1:])]


def one_version_between_markers(kafka, topic):
    """A transaction ends with a marker, which takes an offset: records with consecutive offsets on a partition are of
    one transaction."""
    runs, last, mixed = {}, {}, []

    def each(m):
        p, version = m.partition(), dict(m.headers())["model-version"]
        if last.get(p) == m.offset() - 1 and runs[p] != version:
            mixed.append((p, m.offset()))
        runs[p], last[p] = version, m.offset()
    kafka.read(topic, each=each)
    same("transactions with records of two versions", mixed, [])


def test_twenty_swaps_under_load(env):
    """Promoted back and forth while headlines flow: none lost, none doubled, one version a transaction, no pause, no
    growth."""
    topics = env.topics(6)
    r = registry(env)
    versions = [r.push(env.model), r.push(variant(env, "other"))]
    r.promote(versions[0])
    worker = env.worker(topics, model=None, registry=r.url, **POLL).wait_ready()
    gaps = Gaps(env.kafka, topics.output)
    gaps.start()
    feeder = env.feed(topics, 1500)
    wait_for("records to come out", lambda: len(gaps.moments) > 20, 30)
    begun = time.monotonic()
    time.sleep(5)
    before = sorted(gaps.between(begun, time.monotonic()))
    p99 = before[int(0.99 * len(before))]
    sizes, worst = [], []
    for n in range(20):
        to = versions[(n + 1) % 2]
        at = time.monotonic()
        r.promote(to)
        wait_for("the swap", lambda: version_of(worker) == to, 10, step=0.02)
        time.sleep(0.3)
        worst.append(max(gaps.between(at, time.monotonic()), default=0))
        sizes.append(resident_mb(worker))
    expected = feeder.stop()
    env.wait_drained(topics, alive=[worker])
    swaps = worker.metric(r'^rubric_model_swaps_total\{outcome="swapped"\}')
    gaps.stop()
    worker.stop()
    same("swaps counted", swaps, 20)
    env.check_exactly_once(topics, expected)
    one_version_between_markers(env.kafka, topics.output)
    if sizes[-1] > 1.1 * sizes[3] + 2:
        raise Failure(f"resident memory grows: {sizes}")
    # Some 400 gaps lie in these windows, and one in a hundred is above the p99 without any swap: one may be.
    if sorted(worst)[-2] > 2 * p99:
        raise Failure(f"commit gaps across swaps {worst}, p99 before {p99}")
    return (f"{len(expected)} records, gap p99 before {1000 * p99:.0f} ms, across swaps median "
            f"{1000 * statistics.median(worst):.0f}, worst {1000 * max(worst):.0f} ms; {sizes[0]:.0f} to {sizes[-1]:.0f} MB")


def _other_labels(path):
    with open(os.path.join(path, "labels.txt")) as f:
        labels = f.read().splitlines()
    with open(os.path.join(path, "config.json")) as f:
        config = f.read()
    with open(os.path.join(path, "config.json"), "w") as f:
        f.write(config.replace(f'"{labels[0]}"', '"novelty"'))
    with open(os.path.join(path, "labels.txt"), "w") as f:
        f.write("\n".join(["novelty"] + labels[1:]) + "\n")


def _stays(worker, old, outcome, word):
    """The old version serves on; metric and log tell the reason."""
    wait_for(f"a failed swap ({outcome})",
             lambda: worker.metric(rf'^rubric_model_swaps_total\{{outcome="{outcome}"\}}') > 0, 15)
    same("version in service", version_of(worker), old)
    same("rubric_model_current", worker.metric("^rubric_model_current"), 0)
    if not any(e.get("event") == "model-not-swapped" and word in e["msg"] for e in worker.events()):
        raise Failure(f"no log line says {word}: {worker.text()[-1500:]}")


def test_other_labels_are_refused_unless_allowed(env):
    topics = env.topics(1)
    r = registry(env)
    first, other = r.push(env.model), r.push(variant(env, "other", _other_labels))
    r.promote(first)
    worker = env.worker(topics, model=None, registry=r.url, **POLL).wait_ready()
    r.promote(other)
    _stays(worker, first, "labels", "other labels")
    r.promote(first)
    wait_for("agreement", lambda: worker.metric("^rubric_model_current") == 1, 5)
    worker.stop()
    r.promote(first)
    worker = env.worker(topics, model=None, registry=r.url, allow_new_labels=True, **POLL).wait_ready()
    r.promote(other)
    wait_for("the swap", lambda: version_of(worker) == other, 5)
    worker.stop()


def test_what_is_wrong_with_a_version_leaves_the_old_one(env):
    """A file altered or cut short, an alias to nowhere, the registry gone: each told apart."""
    topics = env.topics(1)
    r = registry(env)
    root = os.path.join(env.folder, "registry")
    first, second = r.push(env.model), r.push(variant(env, "second"))
    r.promote(first)
    worker = env.worker(topics, model=None, registry=r.url, **POLL).wait_ready()
    weights = os.path.join(root, "news", "versions", second, "model.safetensors")
    r.promote(second)
    wait_for("the swap", lambda: version_of(worker) == second, 5)
    r.promote(first)
    wait_for("the swap back", lambda: version_of(worker) == first, 5)
    os.chmod(weights, 0o644)
    with open(weights, "r+b") as f:
        f.truncate(os.path.getsize(weights) - 1)
    with open(os.path.join(root, "news", "aliases", "production"), "w") as f:
        f.write(second + "\n")
    _stays(worker, first, "corrupt", "model.safetensors")
    with open(os.path.join(root, "news", "aliases", "production"), "w") as f:
        f.write("0123456789abcdef\n")
    _stays(worker, first, "missing", "0123456789abcdef")
    os.unlink(os.path.join(root, "news", "aliases", "production"))
    wait_for("the alias to be missed", lambda: any("production" in e["msg"] for e in worker.events()
                                                   if e.get("event") == "model-not-swapped"), 5)
    same("version in service", version_of(worker), first)
    worker.stop()
