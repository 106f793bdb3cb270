"""What a test is given: the shared broker, topics of its own, workers, a model."""

import os
import shutil
import subprocess
from collections import namedtuple

import data
import verify
from feeder import Feeder
from kafka import Kafka, fetch
from process import Failure, wait_for
from worker import Worker

Topics = namedtuple("Topics", "input output review dead partitions group")


class Skip(Exception):
    """Why a test cannot be run here."""


class Env:
    def __init__(self, args, home):
        self.args = args
        self.home = home
        self._kafka = None
        self._model = None
        self._count = 0
        self.begin("")

    def begin(self, title):
        self.title = title
        self.folder = os.path.join(self.home, title)
        self._workers = []
        self._feeders = []
        self._created = []

    def end(self, keep):
        """Ends what the test left running; returns where its logs are."""
        for feeder in self._feeders:
            feeder.abandon()
        for worker in self._workers:
            if worker.alive():
                worker.kill()
        if self._kafka is not None and self._created:
            try:
                if self._kafka.child is None:
                    self._kafka.start()
                self._kafka.delete_topics(*self._created)
            except Failure as why:
                print(f"      cleaning up: {why}", flush=True)
        if not keep and not self.args.keep:
            shutil.rmtree(self.folder, ignore_errors=True)
        return self.folder

    def check_workers(self):
        faults = [fault for worker in self._workers for fault in worker.faults()]
        if faults:
            raise Failure("\n".join(faults))

    # --- the shared parts ----------------------------------------------------------------------------

    @property
    def kafka(self):
        if self._kafka is None:
            self._kafka = Kafka(fetch(self.args.kafka)).start()
        return self._kafka

    def program(self, path):
        if not os.access(path, os.X_OK):
            raise Failure(f"{path}: no such program (make build)")
        return path

    @property
    def model(self):
        """Directory of the model that the workers load: the one given, or a linear one trained here on the
        repository's few headlines. How well it classifies does not matter to these tests."""
        if self._model is None:
            self._model = self.args.model or self._fit()
        return self._model

    def _fit(self):
        out = os.path.join(self.home, "model")
        done = subprocess.run([self.program(self.args.trainer), "fit", "--arch", "linear", "--data", data.TINY,
                               "--out", out], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)
        if done.returncode != 0:
            raise Failure(f"rubric-trainer fit: status {done.returncode}\n{done.stdout[-1500:]}")
        return out

    # --- what belongs to one test --------------------------------------------------------------------

    def new_name(self, word):
        self._count += 1
        return f"{word}-{self._count}"

    def create(self, *names, partitions=1, config=None):
        self._created += names
        self.kafka.create_topics(*names, partitions=partitions, config=config)

    def will_create(self, *names):
        """Topics that the test makes itself and that shall go when it is over."""
        self._created += names

    def topics(self, partitions=6, create=True):
        n = self.new_name("t")
        t = Topics(f"{n}-headlines", f"{n}-categories", f"{n}-review", f"{n}-dead-letters", partitions, f"{n}-group")
        if create:
            self.create(t.input, t.output, t.review, t.dead, partitions=partitions)
        else:
            self.will_create(t.input, t.output, t.review, t.dead)
        return t

    def worker(self, topics, log=None, **options):
        """A started worker on these topics, its log in a file of this name; None as an option's value
        leaves the option out."""
        os.makedirs(self.folder, exist_ok=True)
        given = dict(brokers=self.kafka.bootstrap, group=topics.group, input=topics.input, output=topics.output,
                     dead_letter=topics.dead, model=self.model)
        given.update(options)
        log = log or f"worker{len(self._workers) + 1}"
        worker = Worker(self.program(self.args.worker), os.path.join(self.folder, log),
                        **{k: v for k, v in given.items() if v is not None})
        self._workers.append(worker)
        return worker

    def feed(self, topics, rate):
        """Load on the input topic until stop(); see Feeder."""
        feeder = Feeder(self.kafka, topics, rate)
        self._feeders.append(feeder)
        return feeder

    def drained(self, topics):
        """Whether the group has committed the input topic to its end."""
        try:
            committed = self.kafka.committed(topics.group, topics.input)
            return all(end == 0 or committed.get(p, 0) >= end
                       for p, end in self.kafka.ends(topics.input).items())
        except OSError:  # the broker is away, or has just come back and loads its groups
            return False

    def wait_drained(self, topics, seconds=60, alive=()):
        def done():
            for worker in alive:
                worker.must_live()
            return self.drained(topics)
        try:
            wait_for("", done, seconds, step=0.2)
        except Failure as why:
            if alive and not alive[0].alive():
                raise
            raise Failure(f"{topics.input} not worked off within {seconds} s: committed "
                          f"{self.kafka.committed(topics.group, topics.input)} of "
                          f"{self.kafka.ends(topics.input)}") from why

    def work_off(self, topics, seconds=60, **options):
        """One worker from start to SIGTERM; all of the input is committed then. Returns the worker."""
        worker = self.worker(topics, **options)
        self.wait_drained(topics, seconds, alive=[worker])
        worker.stop()
        return worker

    def check_exactly_once(self, topics, expected, roles=None, exactly_once=True):
        roles = roles or {topics.output: verify.OUT, topics.review: verify.OUT, topics.dead: verify.DEAD}
        return verify.check_topics(self.kafka, topics.input, expected, roles, topics.partitions, exactly_once)
