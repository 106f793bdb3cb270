"""Load: a thread that produces mixed records at a steady rate until it is told to stop."""

import threading
import time

from confluent_kafka import Producer

import data
from process import Failure


class Feeder:
    """Feeds topics.input with rate records a second, also through a broker that goes away for a while. What
    came to lie where is read from the topic at the end: after a broker's death a delivery report may not
    know the offset, and a record may have been written twice (two source positions, then)."""

    def __init__(self, kafka, topics, rate, seed=7, limit=200000):
        titles, _ = data.headlines(limit, seed)
        self._records = data.mixed_records(titles, seed, topics.partitions)
        self._kafka, self._topic, self._rate = kafka, topics.input, rate
        self._producer = Producer(kafka.conf(**{
            "enable.idempotence": True, "linger.ms": 5, "message.timeout.ms": 120000,
            "partitioner": "murmur2_random"}))
        self._stop = threading.Event()
        self._errors = []
        self._sent = {}  # timestamp, which no two records share -> Expect
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        begun, n = time.monotonic(), 0
        for record, expect in self._records:
            self._sent[expect.timestamp] = expect
            self._producer.produce(self._topic, on_delivery=self._delivered, **record)
            n += 1
            self._producer.poll(0)
            while n > (time.monotonic() - begun) * self._rate and not self._stop.is_set():
                self._producer.poll(0.005)
            if self._stop.is_set():
                return

    def _delivered(self, error, _):
        if error:
            self._errors.append(error.str())

    def abandon(self):
        """Ends the load of a test that is over; what was not sent is forgotten."""
        self._stop.set()
        self._thread.join()
        self._producer.purge()

    def stop(self):
        """Ends the load; returns {(partition, offset): Expect} of all that was fed."""
        self._stop.set()
        self._thread.join()
        left = self._producer.flush(90)
        if left or self._errors:
            raise Failure(f"the feeder could not send {left} records; errors: {self._errors[:3]}")
        # What was acknowledged must be there; a reader may be told of an end that is a moment old.
        limit = time.monotonic() + 10
        while True:
            there, expected = self._read()
            if len(there) == len(self._sent):
                return expected
            if time.monotonic() > limit:
                raise Failure(f"of {len(self._sent)} records fed {len(there)} are on the topic")
            time.sleep(0.5)

    def _read(self):
        there, expected = set(), {}

        def each(m):
            time_of = m.timestamp()[1]
            there.add(time_of)
            expected[m.partition(), m.offset()] = self._sent[time_of]
        self._kafka.read(self._topic, committed=False, each=each)
        return there, expected
