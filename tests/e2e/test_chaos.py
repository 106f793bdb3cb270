"""Two workers under load; one is killed and one is stopped midway, both start again; nothing is lost and,
unless asked for less, nothing is doubled.

A round proves something only when the kill fell inside a transaction, which a read_uncommitted reader shows:
it sees records that a read_committed reader does not. Other rounds are repeated with another moment."""

import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import data
from process import Failure, wait_for

PARTITIONS = 6
REPEATS = 6         # of a round whose kill fell between two transactions
LOAD_SECONDS = 10
GROUP = {"session.timeout.ms": 6000, "heartbeat.interval.ms": 1000}


def _count(kafka, topics, committed):
    n = 0

    def each(_):
        nonlocal n
        n += 1
    kafka.read(topics.output, topics.review, topics.dead, committed=committed, each=each)
    return n


def _progress(env, topics):
    return sum(sum(env.kafka.ends(t, partitions=range(PARTITIONS)).values())
               for t in (topics.output, topics.review, topics.dead))


def _paced(records, seconds):
    """records, so that the last comes after about this time: there is load before, between and after the
    kill, the stop and the restarts."""
    begun = time.monotonic()
    for n, record in enumerate(records):
        ahead = n / len(records) * seconds - (time.monotonic() - begun)
        if ahead > 0.02:
            time.sleep(ahead)
        yield record


def _kill_inside(env, topics, worker, seconds=4):
    """Kills it where a transaction of its own has records, if there is such a moment in time: the worker is
    frozen where one is open, whosever it is, and goes on when that one ends without it."""
    partitions, limit = range(PARTITIONS), time.monotonic() + seconds
    while time.monotonic() < limit:
        if env.kafka.wait_open(topics.output, seconds=1) is None:
            continue
        worker.signal(signal.SIGSTOP)
        high = env.kafka.ends(topics.output, False, partitions)
        time.sleep(0.5)
        stable = env.kafka.ends(topics.output, True, partitions)
        if any(stable[p] < high[p] for p in partitions):
            break
        worker.signal(signal.SIGCONT)
    worker.kill()


def _storm(env, topics, chance, records, total, options):
    """Both workers from start to end, with the load, the kill and the stop between. Returns what must have
    come out and how long the stop took."""
    def start(name):
        return env.worker(topics, log=f"{topics.group}-{name}", review=topics.review, review_threshold=0.5,
                          kafka=GROUP, **options)

    def wait_for_share(share):
        wait_for(f"{share:.0%} of the records to come out", lambda: _progress(env, topics) >= total * share, 60, 0.01)

    first, second = start("first").wait_ready(), start("second").wait_ready()
    with ThreadPoolExecutor(1) as pool:
        load = pool.submit(data.fill, env.kafka, topics.input, _paced(records, LOAD_SECONDS))
        wait_for_share(chance.uniform(0.05, 0.35))
        if options.get("delivery") == "at-least-once":
            first.kill()
        else:
            _kill_inside(env, topics, first)
        wait_for_share(min(0.9, _progress(env, topics) / total + chance.uniform(0.05, 0.15)))
        took = second.stop()
        both = [start("first-again"), start("second-again")]
        expected = load.result()
    env.wait_drained(topics, 120, alive=both)
    for worker in both:
        worker.wait_ready().stop()
    return expected, took


def _round(env, seed, options, exactly_once):
    """Returns what the round showed in words. One whose kill fell between transactions is repeated."""
    chance = random.Random(seed)
    titles, kind = data.headlines(env.args.records, seed)
    records = list(data.mixed_records(titles, seed, PARTITIONS))
    total = sum(len(expect.kinds) for _, expect in records)
    dead = sum(k != data.OUT for _, expect in records for k in expect.kinds)
    for attempt in range(REPEATS):
        topics = env.topics(PARTITIONS)
        expected, took = _storm(env, topics, chance, records, total, options)
        ledger = env.check_exactly_once(topics, expected, exactly_once=exactly_once)
        said = f"seed {seed}: {total} {kind}, {dead} of them dead letters, "
        if not exactly_once:
            return said + f"none lost, {ledger.repeated} repeated"
        aborted = _count(env.kafka, topics, committed=False) - ledger.records
        if aborted > 0:
            return (said + f"each exactly once, {aborted} aborted records unseen, SIGTERM drained in {took:.1f} s, "
                    f"attempt {attempt + 1}")
    raise Failure(f"seed {seed}: in {REPEATS} attempts no kill fell inside a transaction")


def test_exactly_once(env):
    return "\n" + "\n".join(_round(env, env.args.seed + n, {}, True) for n in range(env.args.rounds))


def test_at_least_once(env):
    return "\n" + "\n".join(_round(env, env.args.seed + n, {"delivery": "at-least-once"}, False)
                            for n in range(env.args.rounds))


test_exactly_once.test_seconds = test_at_least_once.test_seconds = 1500
