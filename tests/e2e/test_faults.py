"""Parts that are missing, go away or come back too late."""

import os
import signal
import time

import wire
from process import Failure, wait_for
from test_wire import TITLES, same

GROUP = {"session.timeout.ms": 3000, "heartbeat.interval.ms": 500}


def test_topics_missing_at_the_start(env):
    """Not ready, each missing topic named; ready by itself when they are there."""
    topics = env.topics(2, create=False)
    worker = env.worker(topics)
    wait_for("/readyz to name the missing topics",
             lambda: worker.get("/readyz")[0] == 503
             and all(t in worker.get("/readyz")[1] for t in (topics.input, topics.output, topics.dead)), 20)
    same("/livez", worker.get("/livez")[0], 200)
    env.kafka.create_topics(topics.input, topics.dead, partitions=2)
    wait_for("/readyz to name the output topic alone",
             lambda: worker.get("/readyz")[0] == 503 and topics.output in worker.get("/readyz")[1]
             and topics.input not in worker.get("/readyz")[1], 20)
    env.kafka.create_topics(topics.output, partitions=2)
    env.kafka.produce(topics.input, [dict(value=wire.headline(t)) for t in TITLES])
    worker.wait_ready()
    env.wait_drained(topics, alive=[worker])
    worker.stop()
    same("records out", len(env.kafka.read(topics.output)), len(TITLES))


def test_broker_away_at_the_start(env):
    """Wait and retry, no exit; alive and not ready meanwhile."""
    topics = env.topics(2)
    env.kafka.produce(topics.input, [dict(value=wire.headline(t)) for t in TITLES])
    env.model  # made before the broker goes
    env.kafka.stop()
    worker = env.worker(topics)
    wait_for("/livez", lambda: worker.get("/livez")[0] == 200, 20)
    time.sleep(2)
    worker.must_live()
    same("/readyz", worker.get("/readyz")[0], 503)
    env.kafka.start()
    worker.wait_ready(60)
    env.wait_drained(topics, alive=[worker])
    worker.stop()
    same("records out", len(env.kafka.read(topics.output)), len(TITLES))


def _broker_restarts(env, end, **options):
    topics = env.topics(6)
    feeder = env.feed(topics, 1500)
    workers = [env.worker(topics, kafka=GROUP, **options).wait_ready() for _ in range(2)]
    for _ in range(2):
        env.kafka.wait_open(topics.output, 2, beyond=500)
        end()
        time.sleep(1.5)
        for worker in workers:
            worker.must_live()
            same("/livez without a broker", worker.get("/livez")[0], 200)
        env.kafka.start()
        time.sleep(3)
    expected = feeder.stop()
    env.wait_drained(topics, 90, alive=workers)
    for worker in workers:
        worker.wait_ready()
        worker.stop()
    ledger = env.check_exactly_once(topics, expected, exactly_once=not options)
    return f"{len(expected)} records" + (f", {ledger.repeated} repeated" if options else "")


def test_broker_stopped_and_restarted(env):
    return _broker_restarts(env, env.kafka.stop)


def test_broker_killed_and_restarted(env):
    return _broker_restarts(env, env.kafka.kill)


def test_broker_restarted_at_least_once(env):
    return _broker_restarts(env, env.kafka.stop, delivery="at-least-once")


def test_zombie(env):
    """A worker that sleeps past its session while another takes over: what it had begun must not count
    when it wakes, and it must find its way back."""
    topics = env.topics(6)
    feeder = env.feed(topics, 2000)
    sleeper, other = [env.worker(topics, log=n, kafka=GROUP).wait_ready() for n in ("sleeper", "other")]
    rounds = 0
    for _ in range(2):
        env.kafka.wait_open(topics.output, 3, beyond=1000)
        sleeper.signal(signal.SIGSTOP)
        time.sleep(6)  # twice its session time-out
        sleeper.signal(signal.SIGCONT)
        time.sleep(4)
        sleeper.must_live()
        rounds += 1
    # Alone, it must do the work again.
    other.stop()
    before = sum(env.kafka.committed(topics.group, topics.input).values())
    wait_for("the woken worker to commit again",
             lambda: sum(env.kafka.committed(topics.group, topics.input).values()) > before + 1000, 30)
    expected = feeder.stop()
    env.wait_drained(topics, 60, alive=[sleeper])
    sleeper.stop()
    env.check_exactly_once(topics, expected)
    return f"{len(expected)} records"


def test_sleep_past_the_transaction_timeout(env):
    """The broker aborts the transaction by itself meanwhile; the only worker must go on after that."""
    topics = env.topics(6)
    feeder = env.feed(topics, 1500)
    worker = env.worker(topics, kafka=GROUP).wait_ready()
    env.kafka.wait_open(topics.output, 3, beyond=500)
    worker.signal(signal.SIGSTOP)
    time.sleep(18)
    worker.signal(signal.SIGCONT)
    expected = feeder.stop()
    env.wait_drained(topics, 90, alive=[worker])
    worker.stop()
    env.check_exactly_once(topics, expected)


def test_stable_transactional_id(env):
    """A restarted worker with its predecessor's id ends the predecessor's open transaction at once, not
    after the time-out of 15 s, during which no reader would get on."""
    topics = env.topics(6)
    options = {"transactional_id": topics.group + "-pod-0", "kafka": GROUP}
    feeder = env.feed(topics, 3000)
    for attempt in range(10):
        worker = env.worker(topics, **options).wait_ready()
        env.kafka.wait_open(topics.output, 5, beyond=1000)
        worker.kill()
        high, stable = env.kafka.ends(topics.output), env.kafka.ends(topics.output, True)
        if any(stable[p] < high[p] for p in high):
            break
    else:
        raise Failure("no kill fell inside a transaction")
    begun = time.monotonic()
    worker = env.worker(topics, **options)

    def freed():
        now = env.kafka.ends(topics.output, True)
        return all(now[p] >= high[p] for p in high)
    wait_for("the predecessor's transaction to end", freed, 14, step=0.02)
    took = time.monotonic() - begun
    expected = feeder.stop()
    env.wait_drained(topics, 60, alive=[worker])
    worker.stop()
    env.check_exactly_once(topics, expected)
    if took > 5:
        raise Failure(f"readers were held up for {took:.1f} s after the restart")
    return f"readers get on {took:.1f} s after the restart"


def test_same_transactional_id_twice(env):
    """Two workers with one id fence each other; whatever that costs, nothing is lost or doubled, and none
    of them crashes."""
    topics = env.topics(6)
    feeder = env.feed(topics, 1000)
    options = {"transactional_id": topics.group + "-twin", "kafka": GROUP}
    workers = [env.worker(topics, **options) for _ in range(2)]
    time.sleep(8)
    for worker in workers:
        if worker.alive():
            worker.kill()
    survivor = env.worker(topics, kafka=GROUP)
    expected = feeder.stop()
    env.wait_drained(topics, 60, alive=[survivor])
    survivor.stop()
    env.check_exactly_once(topics, expected)


def test_output_topic_deleted_and_made_again(env):
    """A topic that goes away while the worker runs holds it up but loses nothing that comes later."""
    topics = env.topics(1)
    worker = env.worker(topics).wait_ready()
    env.kafka.produce(topics.input, [dict(value=wire.headline(t)) for t in TITLES])
    env.wait_drained(topics, alive=[worker])
    env.kafka.delete_topics(topics.output)
    wait_for("the topic to go", lambda: not env.kafka.partitions(topics.output), 20)
    env.kafka.produce(topics.input, [dict(value=wire.headline(t)) for t in TITLES[:10]])
    time.sleep(2)
    worker.must_live()
    env.kafka.create_topics(topics.output, partitions=1)
    env.wait_drained(topics, 90, alive=[worker])
    worker.stop()
    same("records after the topic was made again", len(env.kafka.read(topics.output)), 10)


def test_model_missing(env):
    """A model that is not there ends the start, with its path in the message."""
    topics = env.topics(1)
    path = os.path.join(env.home, "no-such-model")
    worker = env.worker(topics, model=path)
    status = worker.wait(15)
    if status <= 0 or path not in worker.text():
        raise Failure(f"status {status}, said: {worker.text()[-400:]}")
