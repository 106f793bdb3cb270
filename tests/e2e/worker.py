"""rubric-worker as a child process: its options, its HTTP port, its log and its end."""

import json
import os
import re
import signal
import subprocess
import time
import urllib.error
import urllib.request

from process import Failure, free_port, spawn, tail, wait_for

DRAIN_SECONDS = 30  # no SIGTERM may take longer than this


class Worker:
    """Starts `rubric-worker run`. options: names of the worker's options with '_' for '-' (True: a switch),
    kafka= a dict of librdkafka properties, environment= variables added to ours. What it writes goes to
    PATH.out and PATH.err."""

    def __init__(self, program, path, kafka=None, environment=None, **options):
        self.port = free_port()
        self.path = path
        options.setdefault("http", f"127.0.0.1:{self.port}")
        argv = [program, "run"]
        for name, value in options.items():
            argv += ["--" + name.replace("_", "-")] + ([] if value is True else [str(value)])
        argv += [f"--kafka.{name}={value}" for name, value in (kafka or {}).items()]
        self.argv = argv
        self.sent = set()
        whole = {k: v for k, v in os.environ.items() if not k.startswith("RUBRIC_")}
        whole["XDG_CACHE_HOME"] = os.path.join(os.path.dirname(path), "cache-home")  # what one test leaves is no other's
        whole.update(environment or {})
        with open(path + ".out", "ab") as out, open(path + ".err", "ab") as err:
            self.child = spawn(argv, out, err, whole)

    # --- HTTP ----------------------------------------------------------------------------------------

    def get(self, path, seconds=5):
        """(status, text); status 0 when nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=seconds) as r:
                return r.status, r.read().decode()
        except urllib.error.HTTPError as e:
            return e.code, e.read().decode()
        except OSError:
            return 0, ""

    def wait_ready(self, seconds=30):
        def ready():
            self.must_live()
            return self.get("/readyz")[0] == 200
        wait_for(f"/readyz of {os.path.basename(self.path)} to say 200 (last: {self.get('/readyz')})", ready, seconds)
        return self

    def metrics(self):
        """{series: value}, a series being the name with its labels as printed."""
        status, text = self.get("/metrics")
        if status != 200:
            raise Failure(f"/metrics: status {status}")
        out = {}
        for line in text.splitlines():
            if line and not line.startswith("#"):
                series, value = line.rsplit(" ", 1)
                out[series] = float(value)
        return out

    def metric(self, pattern):
        """Sum of the series whose text matches; None when there is none."""
        values = [v for series, v in self.metrics().items() if re.search(pattern, series)]
        return sum(values) if values else None

    # --- log -----------------------------------------------------------------------------------------

    def text(self):
        out = ""
        for end in (".out", ".err"):
            with open(self.path + end, errors="replace") as f:
                out += f.read()
        return out

    def events(self):
        """The log's JSON objects, in the order of each stream."""
        return [json.loads(line) for line in self.text().splitlines() if line.startswith("{")]

    # --- life and end --------------------------------------------------------------------------------

    def alive(self):
        return self.child.poll() is None

    def must_live(self):
        if not self.alive():
            raise Failure(f"the worker ended by itself with status {self.child.returncode}:\n"
                          + tail(self.path + ".err"))

    def signal(self, number):
        self.sent.add(number)
        self.child.send_signal(number)

    def wait(self, seconds=DRAIN_SECONDS):
        try:
            return self.child.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Failure(f"the worker still runs {seconds} s later:\n{tail(self.path + '.err')}") from None

    def kill(self):
        self.signal(signal.SIGKILL)
        self.child.wait()

    def stop(self, seconds=DRAIN_SECONDS):
        """SIGTERM; the worker must drain and exit 0 in time. Returns the seconds it took."""
        self.must_live()
        begun = time.monotonic()
        self.signal(signal.SIGTERM)
        status = self.wait(seconds)
        if status != 0:
            raise Failure(f"exit status {status} after SIGTERM:\n{tail(self.path + '.err')}")
        return time.monotonic() - begun

    def faults(self):
        """What no worker may ever do, whatever its test is about; [] when all is well."""
        out = []
        status = self.child.poll()
        if status is not None and status < 0 and -status not in self.sent:
            out.append(f"{self.path}: ended by {signal.Signals(-status).name}\n{tail(self.path + '.err')}")
        for line in self.text().splitlines():
            if re.search(r"(Address|Leak|Thread|UndefinedBehavior)Sanitizer|runtime error: ", line):
                out.append(f"{self.path}: {line}")
                break
        return out
