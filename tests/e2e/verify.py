"""The bookkeeping behind "exactly once": reads every record that came out and compares with what must come
of every record that went in. test_verifier.py plants mistakes to see that each check can fail."""

from data import DEAD, OUT, WHOLE
from process import Failure
from wire import partition_of

HEADERS = ("model-name", "model-version", "model-sha256")
_SHOWN = 4


class Ledger:
    """Takes the output, review and dead-letter records in the order of each partition, then judges.

    expected: {(source partition, source offset): Expect}; roles: {topic: OUT or DEAD}; partitions: of each
    of these topics. Only headers, keys and timestamps are looked at: what the values say is for other
    tests."""

    def __init__(self, source, expected, roles, partitions):
        self.source = source.encode()
        self.expected = expected
        self.roles = roles
        self.partitions = partitions
        self.seen = {}          # (partition, offset, index) -> times
        self.last = {}          # (topic, partition, source partition) -> (offset, index)
        self.home = {}          # key -> partition, computed once
        self.faults = {}        # kind -> [count, examples]
        self.records = 0
        self.per_topic = dict.fromkeys(roles, 0)

    def fault(self, kind, example):
        entry = self.faults.setdefault(kind, [0, []])
        entry[0] += 1
        if len(entry[1]) < _SHOWN:
            entry[1].append(str(example))

    def add(self, m):
        """m: a message of the client, or anything with the same methods."""
        self.records += 1
        topic, at = m.topic(), (m.topic(), m.partition(), m.offset())
        self.per_topic[topic] += 1
        headers = dict(m.headers() or ())
        try:
            partition, offset = int(headers["source-partition"]), int(headers["source-offset"])
            index = int(headers.get("source-index") or 0)
            if headers["source-topic"] != self.source:
                raise ValueError
        except (KeyError, ValueError, TypeError):
            self.fault("record that does not say where it comes from", (at, headers))
            return
        expect = self.expected.get((partition, offset))
        if expect is None:
            self.fault("record of a source position that never was", (at, partition, offset))
            return
        role = self.roles[topic]
        if expect.kinds == WHOLE:
            wanted, index = DEAD, 0
        elif 0 <= index < len(expect.kinds):
            wanted = expect.kinds[index]
        else:
            self.fault("record of a source index that never was", (at, partition, offset, index))
            return
        if wanted != role:
            self.fault(f"record on a topic for '{role}' that belongs to '{wanted}'", (at, partition, offset, index))
        position = (partition, offset, index)
        self.seen[position] = self.seen.get(position, 0) + 1

        where = (topic, m.partition(), partition)
        if self.last.get(where, (-1, -1)) >= (offset, index):
            self.fault("record out of the order of its source partition", (at, position, "after", self.last[where]))
        self.last[where] = (offset, index)

        key = m.key()
        if key != expect.key:
            self.fault("record with another key", (at, position, key, expect.key))
        elif key is not None:
            home = self.home.get(key)
            if home is None:
                home = self.home[key] = partition_of(key, self.partitions)
            if m.partition() != home:
                self.fault("record on a partition that its key does not hash to", (at, key, home))
        if m.timestamp()[1] != expect.timestamp:
            self.fault("record with another timestamp", (at, position, m.timestamp(), expect.timestamp))
        if role == DEAD:
            if "dlq.reason" not in headers:
                self.fault("dead letter without a reason", (at, headers))
        elif not all(headers.get(h) for h in HEADERS):
            self.fault("category that does not name its model", (at, headers))

    def judge(self, exactly_once=True):
        """Raises Failure with every kind of fault found. Without exactly_once repeated positions, and the
        order that repeating breaks, are allowed. Returns the number of repeated records."""
        faults = dict(self.faults)
        missing = [(p, o, i) for (p, o), expect in self.expected.items() for i in range(len(expect.kinds))
                   if (p, o, i) not in self.seen]
        if missing:
            faults["source position lost"] = [len(missing), [str(x) for x in sorted(missing)[:_SHOWN]]]
        doubled = [(position, n) for position, n in self.seen.items() if n > 1]
        if doubled and exactly_once:
            faults["source position more than once"] = [len(doubled), [str(x) for x in sorted(doubled)[:_SHOWN]]]
        if not exactly_once:
            faults.pop("record out of the order of its source partition", None)
        if faults:
            lines = [f"{count} x {kind}, such as {'; '.join(examples)}"
                     for kind, (count, examples) in sorted(faults.items())]
            raise Failure("\n".join(lines))
        return sum(n - 1 for _, n in doubled)


def positions(expected):
    return sum(len(expect.kinds) for expect in expected.values())


def check_topics(kafka, source, expected, roles, partitions, exactly_once=True, seconds=90):
    """Reads the topics named in roles under read_committed and judges. Returns the Ledger."""
    ledger = Ledger(source, expected, roles, partitions)
    kafka.read(*roles, each=ledger.add, seconds=seconds)
    ledger.repeated = ledger.judge(exactly_once)
    return ledger


__all__ = ["DEAD", "OUT", "WHOLE", "Ledger", "check_topics", "positions"]
