"""Load: a thread that produces mixed records at a steady rate until it is told to stop."""

import threading
import time

from confluent_kafka import Producer

import data
from process import Failure


class Feeder:
    """Feeds topics.input with rate records a second. Survives a broker that goes away for a while: its
    producer is idempotent, so no record is in the topic twice."""

    def __init__(self, kafka, topics, rate, seed=7, limit=200000):
        titles, _ = data.headlines(limit, seed)
        self._records = data.mixed_records(titles, seed, topics.partitions)
        self._topic, self._rate = topics.input, rate
        self._producer = Producer(kafka.conf(**{
            "enable.idempotence": True, "linger.ms": 5, "message.timeout.ms": 120000,
            "partitioner": "murmur2_random"}))
        self._stop = threading.Event()
        self._errors = []
        self.expected = {}
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        begun, n = time.monotonic(), 0
        for record, expect in self._records:
            def delivered(error, message, expect=expect):
                if error:
                    self._errors.append(error.str())
                else:
                    self.expected[message.partition(), message.offset()] = expect
            self._producer.produce(self._topic, on_delivery=delivered, **record)
            n += 1
            self._producer.poll(0)
            while n > (time.monotonic() - begun) * self._rate and not self._stop.is_set():
                self._producer.poll(0.005)
            if self._stop.is_set():
                return

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
        return self.expected
