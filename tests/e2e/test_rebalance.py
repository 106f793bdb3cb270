"""Members that come and go while records flow."""

import os
import signal
import time

import wire
from process import Failure, wait_for

GROUP = {"session.timeout.ms": 3000, "heartbeat.interval.ms": 500}


def _storm(env, topics, kafka, seconds=12, rate=2500):
    """One worker stays, others join and leave every two seconds, by SIGTERM and once by SIGKILL."""
    feeder = env.feed(topics, rate)
    stays = env.worker(topics, log="stays", kafka=kafka).wait_ready()
    begun, n = time.monotonic(), 0
    while time.monotonic() - begun < seconds:
        n += 1
        guest = env.worker(topics, log=f"guest{n}", kafka=kafka)
        time.sleep(2)
        stays.must_live()
        if n == 2:
            guest.kill()
        else:
            guest.stop()
    expected = feeder.stop()
    env.wait_drained(topics, 60, alive=[stays])
    stays.stop()
    env.check_exactly_once(topics, expected)
    return f"{len(expected)} records, {n} guests"


def test_members_join_and_leave_under_load(env):
    return _storm(env, env.topics(6), GROUP)


def test_both_members_get_work(env):
    """Two workers with default transactional ids share the partitions and never fence each other."""
    topics = env.topics(6)
    feeder = env.feed(topics, 2000)
    workers = [env.worker(topics, kafka=GROUP) for _ in range(2)]
    for worker in workers:
        worker.wait_ready()

    def classified(worker):
        return worker.metric(r"outputs_produced_total") or 0
    wait_for("both workers to publish", lambda: all(classified(w) > 0 for w in workers), 20)
    before = [classified(w) for w in workers]
    time.sleep(2)
    after = [classified(w) for w in workers]
    expected = feeder.stop()
    env.wait_drained(topics, 60, alive=workers)
    for worker in workers:
        worker.stop()
    env.check_exactly_once(topics, expected)
    if any(a <= b for a, b in zip(after, before)):
        raise Failure(f"a worker stood still: published {before}, two seconds later {after}")


def test_slow_members(env):
    """Workers that are held up again and again (for less than the session's time-out), while one leaves."""
    topics = env.topics(6)
    feeder = env.feed(topics, 2000)
    workers = [env.worker(topics, kafka=GROUP).wait_ready() for _ in range(2)]
    for n in range(8):
        slow = workers[n % 2]
        slow.signal(signal.SIGSTOP)
        time.sleep(0.9)
        slow.signal(signal.SIGCONT)
        time.sleep(0.3)
    workers[1].stop()
    expected = feeder.stop()
    env.wait_drained(topics, 60, alive=workers[:1])
    workers[0].stop()
    env.check_exactly_once(topics, expected)


def test_cooperative_is_refused_or_works(env):
    """Only eager assignors must work; the incremental one may be refused, but at the start and by name."""
    topics = env.topics(6)
    kafka = dict(GROUP, **{"partition.assignment.strategy": "cooperative-sticky"})
    worker = env.worker(topics, log="asks", kafka=kafka)
    end = time.monotonic() + 8
    while worker.alive() and time.monotonic() < end and worker.get("/readyz")[0] != 200:
        time.sleep(0.1)
    if not worker.alive():
        text = worker.text()
        if worker.child.returncode <= 0 or "partition.assignment.strategy" not in text:
            raise Failure(f"status {worker.child.returncode}, said: {text[-500:]}")
        return "refused"
    worker.stop()
    return "works: " + _storm(env, topics, kafka, seconds=6)


def test_roundrobin(env):
    return _storm(env, env.topics(6), dict(GROUP, **{"partition.assignment.strategy": "roundrobin"}), seconds=6)


def test_memory_is_bounded_whatever_the_lag(env):
    """A lag of some 250 MB must not come into memory, not even while the broker takes no records."""
    topics = env.topics(6)
    filler = os.urandom(120).hex()
    records = (dict(value=wire.headline(f"标题{i}", source=filler * 4), partition=i % 6) for i in range(250000))
    env.kafka.produce(topics.input, records)
    worker = env.worker(topics)
    env.wait_drained(topics, 120, alive=[worker])
    with open(f"/proc/{worker.child.pid}/status") as f:
        peak = next(int(line.split()[1]) for line in f if line.startswith("VmHWM")) / 1024
    worker.stop()
    if peak > 400:
        raise Failure(f"{peak:.0f} MB resident at the peak")
    return f"peak {peak:.0f} MB"
