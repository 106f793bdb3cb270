"""A real Apache Kafka broker (KRaft, one node, loopback), started and stopped by the tests, and the few
client calls the tests need. The jars come from kafka/fetch; the client is Debian's python3-confluent-kafka
(1.7 on Debian 12 and 13), of which only calls are used that later versions still have."""

import atexit
import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
from collections import namedtuple

from confluent_kafka import (OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Producer,
                             TopicPartition)
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic

from process import Failure, free_port, spawn, tail, wait_for

HERE = os.path.dirname(os.path.abspath(__file__))

# headers: list of (name, bytes); timestamp: (type, milliseconds) as the client gives it.
Record = namedtuple("Record", "topic partition offset key value headers timestamp")

# One node with the quickest settings that keep Kafka's promises: one partition for each internal topic,
# transactions past their time-out aborted within a second, group sessions as short as a test wants.
PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
num.network.threads=1
num.io.threads=2
log.cleaner.dedupe.buffer.size=2097152
log.segment.bytes=16777216
log.retention.ms=-1
log.index.size.max.bytes=1048576
auto.create.topics.enable=false
broker.heartbeat.interval.ms=300
broker.session.timeout.ms=2000
"""

LOG4J = """\
log4j.rootLogger=WARN, out
log4j.appender.out=org.apache.log4j.ConsoleAppender
log4j.appender.out.layout=org.apache.log4j.PatternLayout
log4j.appender.out.layout.ConversionPattern=%d{ISO8601} %p %m (%c)%n
"""

JAVA = ["java", "-Xms64m", "-Xmx112m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xss512k",
        "-XX:MaxDirectMemorySize=48m", "-XX:ReservedCodeCacheSize=32m",
        "-Djdk.nio.maxCachedBufferSize=65536"]

QUIET = {"log_level": 0, "error_cb": lambda error: None, "socket.timeout.ms": 10000,
         "reconnect.backoff.max.ms": 500}


def fetch(directory=None):
    """Path of the broker's jars, downloaded when they are not there yet."""
    argv = [os.path.join(HERE, "kafka", "fetch")] + ([directory] if directory else [])
    got = subprocess.run(argv, stdout=subprocess.PIPE, text=True)
    if got.returncode != 0:
        raise Failure("no Kafka broker to test against (the reason stands above)")
    return got.stdout.strip()


class Kafka:
    def __init__(self, lib=None, port=None):
        self.lib = lib or fetch()
        self.port = port or free_port()
        self.controller_port = free_port()
        self.bootstrap = f"127.0.0.1:{self.port}"
        self.home = tempfile.mkdtemp(prefix="rubric-kafka-")
        self.log = os.path.join(self.home, "broker.log")
        self.child = None
        self._admin = None
        self._socket = None
        self._formatted = False
        atexit.register(self.destroy)

    # --- the process ---------------------------------------------------------------------------------

    def _java(self, *args):
        return JAVA + ["-Dlog4j.configuration=file:" + os.path.join(self.home, "log4j.properties"),
                       "-cp", self.lib + "/*", *args]

    def _format(self):
        with open(os.path.join(self.home, "log4j.properties"), "w") as f:
            f.write(LOG4J)
        with open(os.path.join(self.home, "server.properties"), "w") as f:
            f.write(PROPERTIES.format(port=self.port, controller=self.controller_port,
                                      data=os.path.join(self.home, "data")))
        # Any 16 bytes will do as the cluster's id; a fixed one saves a second of Java.
        done = subprocess.run(self._java("kafka.tools.StorageTool", "format", "-t", "cnVicmljLXRlc3RzLTAwMQ",
                                         "-c", os.path.join(self.home, "server.properties")),
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode != 0:
            raise Failure("the broker's storage could not be formatted: " + done.stdout[-500:])
        self._formatted = True

    def start(self, seconds=60):
        """Returns when the broker answers an admin request; again after stop() or kill() it comes back on
        the same ports and data."""
        if not self._formatted:
            self._format()
        with open(self.log, "ab") as log:
            self.child = spawn(self._java("kafka.Kafka", os.path.join(self.home, "server.properties")),
                               stdout=log, stderr=log, env=dict(os.environ, MALLOC_ARENA_MAX="1"))
        end = time.monotonic() + seconds
        while True:
            if self.child.poll() is not None:
                raise Failure(f"the broker ended with status {self.child.returncode}:\n{tail(self.log)}")
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1):
                    pass
                if self.admin().list_topics(timeout=2).brokers:
                    return self
            except (OSError, KafkaException):
                pass
            if time.monotonic() > end:
                raise Failure(f"the broker is not ready after {seconds} s:\n{tail(self.log)}")
            time.sleep(0.05)

    def stop(self, seconds=30):
        self._end(signal.SIGTERM, seconds)

    def kill(self):
        self._end(signal.SIGKILL, 10)

    def _end(self, number, seconds):
        if self.child and self.child.poll() is None:
            self.child.send_signal(number)
            try:
                self.child.wait(seconds)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
        self.child = None

    def destroy(self):
        self.kill()
        shutil.rmtree(self.home, ignore_errors=True)

    def resident_mb(self):
        with open(f"/proc/{self.child.pid}/status") as f:
            return next(int(line.split()[1]) for line in f if line.startswith("VmRSS")) / 1024

    # --- administration ------------------------------------------------------------------------------

    def conf(self, **more):
        return dict(QUIET, **{"bootstrap.servers": self.bootstrap},
                    **{k.replace("_", "."): v for k, v in more.items()})

    def admin(self):
        if self._admin is None:
            self._admin = AdminClient(self.conf())
        return self._admin

    @staticmethod
    def _settle(futures, but=()):
        for name, future in futures.items():
            try:
                future.result()
            except KafkaException as e:
                if e.args[0].code() not in but:
                    raise Failure(f"{name}: {e.args[0].str()}") from e

    def create_topics(self, *names, partitions=1, config=None):
        new = [NewTopic(n, num_partitions=partitions, replication_factor=1, config=config or {})
               for n in names]
        self._settle(self.admin().create_topics(new, operation_timeout=20))
        wait_for("topics " + ", ".join(names), lambda: all(self.partitions(n) for n in names), 20)

    def delete_topics(self, *names):
        self._settle(self.admin().delete_topics(list(names), operation_timeout=20),
                     but=(KafkaError.UNKNOWN_TOPIC_OR_PART,))

    def set_topic(self, topic, **config):
        """Sets these configuration values of a topic (and clears any it had been given before)."""
        values = {k.replace("_", "."): str(v) for k, v in config.items()}
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic, set_config=values)
        self._settle(self.admin().alter_configs([resource]))

        def taken():
            asked = ConfigResource(ConfigResource.Type.TOPIC, topic)
            [now] = self.admin().describe_configs([asked]).values()
            return all(now.result()[k].value == v for k, v in values.items())
        wait_for(f"configuration of {topic}", taken, 10)

    def partitions(self, topic):
        """Partition numbers; empty when there is no such topic."""
        t = self.admin().list_topics(topic=topic, timeout=10).topics.get(topic)
        return sorted(t.partitions) if t is not None and t.error is None else []

    def _request(self, api, version, body):
        """One request of the protocol by hand, for what the client library cannot do or not fast enough.
        Returns the answer's body. The connection is kept."""
        for fresh in (False, True):
            if fresh or self._socket is None:
                self._socket = socket.create_connection(("127.0.0.1", self.port), 10)
            try:
                message = struct.pack(">hhih", api, version, 1, -1) + body
                self._socket.sendall(struct.pack(">i", len(message)) + message)
                [size] = struct.unpack(">i", self._receive(4))
                return self._receive(size)[4:]
            except OSError:
                self._socket.close()
                if fresh:
                    raise

    def _receive(self, size):
        data = b""
        while len(data) < size:
            more = self._socket.recv(size - len(data))
            if not more:
                raise ConnectionError("the broker hung up")
            data += more
        return data

    def delete_records(self, topic, partition, before):
        """Moves the log's start (DeleteRecords, version 0)."""
        name = topic.encode()
        answer = self._request(21, 0, struct.pack(">ih", 1, len(name)) + name
                               + struct.pack(">iiqi", 1, partition, before, 10000))
        low, error = struct.unpack(">qh", answer[-10:])
        if error or low != before:
            raise Failure(f"DeleteRecords of {topic}/{partition}: error {error}, log start {low}")

    def ends(self, topic, committed=False, partitions=None):
        """{partition: end}: the high watermark, or with committed the last stable offset, below which no
        transaction is open (ListOffsets, version 2)."""
        asked = partitions or self.partitions(topic)
        name = topic.encode()
        body = struct.pack(">ibih", -1, committed, 1, len(name)) + name + struct.pack(">i", len(asked))
        give_up = time.monotonic() + 10
        while True:
            answer = self._request(2, 2, body + b"".join(struct.pack(">iq", p, -1) for p in asked))
            found = list(struct.iter_unpack(">ihqq", answer[4 + 4 + 2 + len(name) + 4:]))
            faults = {p: error for p, error, _, _ in found if error}
            if not faults:
                return {p: offset for p, _, _, offset in found}
            if not set(faults.values()) <= {3, 6} or time.monotonic() > give_up:
                raise Failure(f"ListOffsets of {topic}: errors {faults}")
            time.sleep(0.05)  # a topic just created: its leader does not know of it yet

    def committed(self, group, topic):
        """{partition: committed offset of the group}, without those that have none (OffsetFetch, version 2:
        later ones, and so the client, wait until no transaction holds offsets of the group)."""
        asked = self.partitions(topic)
        name, of = topic.encode(), group.encode()
        body = (struct.pack(">h", len(of)) + of + struct.pack(">ih", 1, len(name)) + name
                + struct.pack(">i", len(asked)) + b"".join(struct.pack(">i", p) for p in asked))
        answer = self._request(9, 2, body)
        [error] = struct.unpack(">h", answer[-2:])
        if error:
            raise ConnectionError(f"OffsetFetch of {group}: error {error}")
        at, out = 4 + 2 + len(name) + 4, {}
        for _ in asked:
            p, offset, note = struct.unpack_from(">iqh", answer, at)
            at += 14 + max(note, 0)
            [error] = struct.unpack_from(">h", answer, at)
            at += 2
            if error:
                raise ConnectionError(f"OffsetFetch of {group}: error {error}")
            if offset >= 0:
                out[p] = offset
        return out

    def wait_open(self, topic, seconds=20, beyond=0):
        """Returns at a moment when a transaction has records on the topic's partitions and is not over,
        with the sum of the high watermarks then; None when there was none in time. Looked for only once
        there are more than beyond records."""
        asked = self.partitions(topic)
        limit = time.monotonic() + seconds
        while time.monotonic() < limit:
            high = self.ends(topic, False, asked)  # first: what is above it later may be another transaction's
            stable = self.ends(topic, True, asked)
            if sum(high.values()) > beyond and any(stable[p] < high[p] for p in asked):
                return sum(high.values())
        return None

    # --- records -------------------------------------------------------------------------------------

    def produce(self, topic, records, **conf):
        """records: dicts of Producer.produce's arguments (value, key, partition, timestamp, headers).
        Returns {position in records: (partition, offset)}; all are on the broker then, in this order (a
        producer that is not idempotent may change it when the topic's leader is new and it has to try again)."""
        places, errors = {}, []
        producer = Producer(self.conf(**dict({"linger.ms": 20, "queue.buffering.max.messages": 500000,
                                              "partitioner": "murmur2_random", "acks": "all",
                                              "enable.idempotence": True}, **conf)))
        for i, record in enumerate(records):
            def delivered(error, message, i=i):
                if error:
                    errors.append(error.str())
                else:
                    places[i] = (message.partition(), message.offset())
            while True:
                try:
                    producer.produce(topic, on_delivery=delivered, **record)
                    break
                except BufferError:
                    producer.poll(0.1)
            if i % 1000 == 0:
                producer.poll(0)
        left = producer.flush(60)
        if errors or left:
            raise Failure(f"{topic}: {left} records not sent, {len(errors)} refused: {errors[:3]}")
        return places

    def _consumer(self, committed, **more):
        return Consumer(self.conf(**{
            "group.id": "tests-reader", "enable.auto.commit": False, "enable.partition.eof": True,
            "isolation.level": "read_committed" if committed else "read_uncommitted",
            "fetch.wait.max.ms": 50, "queued.max.messages.kbytes": 65536, **more}))

    def read(self, *topics, committed=True, seconds=60, each=None):
        """Every record from the start to the end the topics have now, per partition in order. Under
        read_committed it waits until open transactions below that end are over. With each, the raw messages
        go to it in order and nothing is collected (for large topics)."""
        ends = {}
        for topic in topics:
            for p, end in self.ends(topic).items():
                ends[topic, p] = end
        open_ends = {at for at, end in ends.items() if end > 0}
        records = []
        if each is None:
            def each(m):
                records.append(Record(m.topic(), m.partition(), m.offset(), m.key(), m.value(),
                                      m.headers() or [], m.timestamp()))
        consumer = self._consumer(committed)
        try:
            consumer.assign([TopicPartition(t, p, OFFSET_BEGINNING) for t, p in ends])
            limit = time.monotonic() + seconds
            while open_ends:
                if time.monotonic() > limit:
                    raise Failure(f"{sorted(open_ends)[:4]}: end not readable within {seconds} s"
                                  " (an open transaction?)")
                for m in consumer.consume(2000, timeout=0.2):
                    error = m.error()
                    if error is None:
                        each(m)
                    elif error.code() == KafkaError._PARTITION_EOF:
                        # The offset of an end-of-partition event is the next to fetch: past control records.
                        at = (m.topic(), m.partition())
                        if m.offset() >= ends[at]:
                            open_ends.discard(at)
                    elif not error.retriable():
                        raise Failure(f"reading {m.topic()}: {error.str()}")
        finally:
            consumer.close()
        return records
