"""Models change under a running service: what the alias names is taken over between two transactions."""

import hashlib
import json
import os
import shutil
import statistics
import subprocess
import threading
import time

from confluent_kafka import Consumer

from process import Failure, wait_for
from redis import Redis
import wire
from test_wire import TITLES, same

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
    """From a directory."""
    return _twenty_swaps(env, registry(env), {})


def test_twenty_swaps_under_load_from_redis(env):
    server = Redis(os.path.join(env.folder, "redis"))
    try:
        return _twenty_swaps(env, Registry(env, server.url), {"cache": os.path.join(env.folder, "cache")})
    finally:
        server.stop()


def _twenty_swaps(env, r, options):
    """Promoted back and forth while headlines flow: none lost, none doubled, one version a transaction, no pause, no
    growth."""
    topics = env.topics(6)
    versions = [r.push(env.model), r.push(variant(env, "other"))]
    r.promote(versions[0])
    worker = env.worker(topics, model=None, registry=r.url, **POLL, **options).wait_ready()
    gaps = Gaps(env.kafka, topics.output)
    gaps.start()
    feeder = env.feed(topics, 1500)
    wait_for("records to come out", lambda: len(gaps.moments) > 20, 30)
    sizes, measured = [], []
    while len(measured) < 3 and not any(_no_pause(*m) for m in measured):
        begun = time.monotonic()
        time.sleep(5)
        before = sorted(gaps.between(begun, time.monotonic()))
        worst = []
        for n in range(20):
            to = versions[(n + 1) % 2]
            at = time.monotonic()
            r.promote(to)
            wait_for("the swap", lambda: version_of(worker) == to, 10, step=0.02)
            time.sleep(0.3)
            worst.append(max(gaps.between(at, time.monotonic()), default=0))
            sizes.append(resident_mb(worker))
        measured.append((before[int(0.99 * len(before))], worst))
    expected = feeder.stop()
    env.wait_drained(topics, alive=[worker])
    swaps = worker.metric(r'^rubric_model_swaps_total\{outcome="swapped"\}')
    gaps.stop()
    worker.stop()
    same("swaps counted", swaps, len(sizes))
    env.check_exactly_once(topics, expected)
    one_version_between_markers(env.kafka, topics.output)
    if sizes[-1] > 1.1 * sizes[3] + 2:
        raise Failure(f"resident memory grows: {sizes}")
    if not _no_pause(*measured[-1]):
        raise Failure(f"commit gaps, p99 before and the longest across each swap: {measured}")
    p99, worst = measured[-1]
    return (f"{len(expected)} records, gap p99 before {1000 * p99:.0f} ms, across swaps median "
            f"{1000 * statistics.median(worst):.0f}, worst {1000 * max(worst):.0f} ms (attempt {len(measured)}); "
            f"{sizes[0]:.0f} to {sizes[-1]:.0f} MB")


def _no_pause(p99, worst):
    """Twice the p99 before is not passed. Some 400 gaps lie in the windows of twenty swaps, and one in a hundred is above
    the p99 without any swap: one may be. What else the machine does can spoil either figure, so twenty swaps are measured
    again, at most three times."""
    return sorted(worst)[-2] <= 2 * p99


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


def _labels_after_a_restart(env, url):
    """What was in service last is what a worker served, not what somebody looked at with the same cache."""
    topics = env.topics(1)
    r = Registry(env, url)
    cache = os.path.join(env.folder, "cache")
    first, other = r.push(env.model), r.push(variant(env, "other", _other_labels))
    r.promote(first)
    options = dict(model=None, registry=r.url, cache=cache, **POLL)
    env.worker(topics, **options).wait_ready().stop()
    r.promote(other)
    said = subprocess.run([env.program(env.args.worker), "classify", "--registry", r.url, "--name", "news", "--cache", cache,
                           "--json"], input=TITLES[0] + "\n", stdout=subprocess.PIPE, text=True, check=True, timeout=60).stdout
    same("version that classify takes", json.loads(said)["model"]["version"], other)
    worker = env.worker(topics, **options).wait_ready()
    same("version in service after a restart", version_of(worker), first)
    if not any(e.get("event") == "model-from-cache" and "other labels" in e["msg"] for e in worker.events()):
        raise Failure(f"the log does not say why: {worker.text()[-800:]}")
    worker.stop()
    worker = env.worker(topics, allow_new_labels=True, **options).wait_ready()
    same("version in service where it is allowed", version_of(worker), other)
    worker.stop()


def test_other_labels_stay_refused_after_a_restart(env):
    _labels_after_a_restart(env, "dir:" + os.path.join(env.folder, "registry"))


def test_other_labels_stay_refused_after_a_restart_with_redis(env):
    server = Redis(os.path.join(env.folder, "redis"))
    try:
        _labels_after_a_restart(env, server.url)
    finally:
        server.stop()


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
    _stays(worker, first, "truncated", "model.safetensors")
    with open(os.path.join(root, "news", "aliases", "production"), "w") as f:
        f.write("0123456789abcdef\n")
    _stays(worker, first, "no-version", "0123456789abcdef")
    os.unlink(os.path.join(root, "news", "aliases", "production"))
    wait_for("the alias to be missed", lambda: any("production" in e["msg"] for e in worker.events()
                                                   if e.get("event") == "model-not-swapped"), 5)
    same("version in service", version_of(worker), first)
    worker.stop()


def _all_new(path):
    """No file is one of another version's."""
    for name in os.listdir(path):
        if not name.startswith("."):
            with open(os.path.join(path, name), "a") as f:
                f.write(" ")


def _no_model(path):
    with open(os.path.join(path, "model.safetensors"), "r+b") as f:
        f.write(b"\xff" * 8)


def test_redis_what_is_wrong_leaves_the_old_one(env):
    """Each told apart in log and metric: a chunk missing, a chunk altered, a manifest without its chunks, no model,
    other labels, an alias to nowhere, Redis stopped, Redis empty; and a start from the cache."""
    server = Redis(os.path.join(env.folder, "redis"))
    try:
        return _redis_faults(env, server)
    finally:
        server.stop()


def _redis_faults(env, server):
    topics = env.topics(2)
    r = Registry(env, server.url)
    options = dict(model=None, registry=r.url, cache=os.path.join(env.folder, "cache"), **POLL)
    first = r.push(env.model)
    r.promote(first)
    worker = env.worker(topics, **dict(options, registry_poll_ms=60000)).wait_ready()
    second = r.push(variant(env, "second"))
    time.sleep(1)  # it has looked, and would look again in a minute
    r.promote(second)
    wait_for("a swap by the hint alone", lambda: version_of(worker) == second, 5)
    r.promote(first)
    worker.stop()
    worker = env.worker(topics, **options).wait_ready()

    def by_hand(version):
        """The alias is moved past the checks of promote."""
        server.command("HSET", "rubric:{news}:aliases", "production", version)

    def publish(name, edit=None):
        """A version of its own weights, pushed and not yet fetched; a model that does not load cannot be pushed, so its
        bytes are exchanged on the way in."""
        return r.push(variant(env, name, edit))

    def own_chunk(version):
        """A chunk that only this version has: its config.json's."""
        return "rubric:{news}:chunk:" + server.command("HGET", f"rubric:{{news}}:version:{version}", "chunks").split()[1]

    def counted(outcome):
        return worker.metric(rf'^rubric_model_swaps_total\{{outcome="{outcome}"\}}')

    def stays(what, outcome, word):
        wait_for(f"{what} to be counted as {outcome}", lambda: counted(outcome) > before[outcome], 15)
        same(f"version in service after {what}", version_of(worker), first)
        wait_for(f"a log line with {word}", lambda: any(e.get("event") == "model-not-swapped" and word in e["msg"]
                                                        for e in worker.events()), 5)
        by_hand(first)
        wait_for("agreement", lambda: worker.metric("^rubric_model_current") == 1, 10)

    outcomes = ("no-alias", "no-version", "no-content", "incomplete", "truncated", "corrupt", "labels", "does-not-load",
                "unavailable")
    for n, (what, spoil, outcome, word) in enumerate((
            ("a chunk missing", lambda v: server.command("DEL", own_chunk(v)), "incomplete", "chunks are there"),
            ("a chunk altered", lambda v: server.command("SETRANGE", own_chunk(v), "3", "?"), "corrupt", "have the sum"),
            ("a chunk cut short", lambda v: server.command("SET", own_chunk(v), "x"), "truncated", "bytes instead of"),
            ("a manifest altered", lambda v: server.command("HSET", f"rubric:{{news}}:version:{v}", "manifest", "{}"),
             "corrupt", "version:"),
            ("an alias to nowhere", lambda v: "0123456789abcdef", "no-version", "0123456789abcdef"))):
        before = {o: counted(o) for o in outcomes}
        version = publish(f"variant{n}")
        moved = spoil(version)
        by_hand(moved if what == "an alias to nowhere" else version)
        stays(what, outcome, word)
    before = {o: counted(o) for o in outcomes}
    by_hand(publish("labels", _other_labels))
    stays("other labels", "labels", "other labels")
    # A model that does not load: the same push, with bytes that are no tensors and whose sums are right.
    broken = variant(env, "broken", _no_model)
    refused = subprocess.run([env.program(env.args.trainer), "push", "--model", broken, "--registry", r.url, "--name", "news"],
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if refused.returncode == 0 or "model.safetensors" not in refused.stdout:
        raise Failure(f"push takes a model that does not load: {refused.stdout}")
    before = {o: counted(o) for o in outcomes}
    by_hand(_push_by_hand(server, broken))
    stays("a model that does not load", "does-not-load", "model.safetensors")
    # A manifest before its chunks: what a push that publishes first would look like.
    before = {o: counted(o) for o in outcomes}
    by_hand(_push_by_hand(server, variant(env, "early", _all_new), chunks=False))
    stays("a manifest before its chunks", "no-content", " 0 of its ")

    before = {o: counted(o) for o in outcomes}
    server.stop()
    wait_for("Redis to be missed", lambda: counted("unavailable") > before["unavailable"], 15)
    env.kafka.produce(topics.input, [dict(value=wire.headline(t)) for t in TITLES])
    env.wait_drained(topics, alive=[worker])
    same("version in service without Redis", version_of(worker), first)
    worker.stop()
    worker = env.worker(topics, **options).wait_ready()  # from the cache
    same("version of a start without Redis", version_of(worker), first)
    if not any(e.get("event") == "model-from-cache" for e in worker.events()):
        raise Failure(f"the log does not say that the model is from the cache: {worker.text()[-800:]}")
    server.start()  # empty
    wait_for("the empty Redis to be seen", lambda: counted("no-alias") > 0, 15)
    same("version in service beside an empty Redis", version_of(worker), first)
    worker.stop()
    worker = env.worker(topics, **options).wait_ready()
    same("version of a start beside an empty Redis", version_of(worker), first)
    same("version pushed again", r.push(env.model), first)
    other = r.push(variant(env, "labels-again", _other_labels))
    by_hand(other)
    worker.stop()
    worker = env.worker(topics, **options).wait_ready()
    same("version of a start beside other labels", version_of(worker), first)
    r.promote(first)
    wait_for("agreement", lambda: worker.metric("^rubric_model_current") == 1, 10)
    worker.stop()
    same("records out", len(env.kafka.read(topics.output)), len(TITLES))


def _push_by_hand(server, model, chunks=True):
    """What a push writes (the layout is in models/registry.h), without its checks."""
    files, lines, sums = [], "", ""
    for n, name in enumerate(sorted(x for x in os.listdir(model) if not x.startswith("."))):
        with open(os.path.join(model, name), "rb") as f:
            data = f.read()
        digest = hashlib.sha256(data).hexdigest()
        files.append({"name": name, "bytes": len(data), "sha256": digest})
        sums += f"{digest}  {name}\n"
        if len(data) > 2 << 20:
            raise Failure("the tests' model is larger than a chunk")
        lines += f"{n} {digest} {len(data)}\n"
        if chunks:
            subprocess.run(["redis-cli", "-p", str(server.port), "-x", "SET", "rubric:{news}:chunk:" + digest],
                           input=data, stdout=subprocess.DEVNULL, check=True)
    version = hashlib.sha256(sums.encode()).hexdigest()[:16]
    manifest = json.dumps({"format": 1, "name": "news", "version": version, "created": "2026-01-01T00:00:00Z",
                           "files": files})
    server.command("HSET", f"rubric:{{news}}:version:{version}", "manifest", manifest, "chunks", lines)
    server.command("ZADD", "rubric:{news}:versions", "1", version)
    return version
