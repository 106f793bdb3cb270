"""A real redis-server as a child, without persistence, on a free loopback port."""

import os
import signal
import subprocess

from process import Failure, free_port, spawn, wait_for


class Redis:
    def __init__(self, folder):
        os.makedirs(folder, exist_ok=True)
        self.folder, self.port, self.child = folder, free_port(), None
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.start()

    def start(self):
        with open(os.path.join(self.folder, "redis.log"), "ab") as log:
            self.child = spawn(["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "",
                                "--appendonly", "no", "--dir", self.folder], log, log)
        wait_for("redis-server to answer", self._answers, 20, step=0.05)

    def _answers(self):
        try:
            return self.command("PING") == "PONG"
        except (OSError, Failure):
            return False

    def command(self, *words):
        """What redis-cli prints."""
        done = subprocess.run(["redis-cli", "-p", str(self.port), *words], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=20)
        said = done.stdout.decode(errors="replace").strip()
        if done.returncode != 0:
            raise Failure(f"redis-cli {' '.join(words)}: {said}")
        return said

    def stop(self):
        if self.child and self.child.poll() is None:
            self.child.send_signal(signal.SIGKILL)
            self.child.wait()
