"""What benchmarks measure against: environments of peers from PyPI at the versions in engines_peers/NAME.txt, models in
their formats.  Made once, under a folder of the build; what failed is told in a line."""
import hashlib
import os
import re
import subprocess
import sys

PEERS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "engines_peers")
MAKE_SECONDS = 3600


class Missing(Exception):
    """A contestant that cannot run; the text says why."""


def say(text):
    print(text, file=sys.stderr, flush=True)


def environment():
    """Nothing of the caller's that steers a library's threads or kernels."""
    drop = re.compile(r"OPENBLAS_|OMP_|GOMP_|KMP_|MKL_|DNNL_|ONEDNN_|CT2_|ORT_|OV_|PYTHON")
    return {k: v for k, v in os.environ.items() if not drop.match(k)} | {
        "PYTHONDONTWRITEBYTECODE": "1", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}


def last_line(path):
    with open(path, encoding="utf-8", errors="replace") as f:
        said = [line.strip() for line in f if line.strip()]
    return said[-1][:300] if said else "it said nothing"


class Workshop:
    """Environments and files, made where they are not there yet. What failed once is not tried again."""

    def __init__(self, peers):
        self.peers, self.failed = os.path.abspath(peers), {}
        os.makedirs(os.path.join(peers, "log"), exist_ok=True)

    def log(self, name):
        return os.path.join(self.peers, "log", name + ".txt")

    def once(self, what, path, argvs):
        """Runs the commands unless path exists; it must exist afterwards."""
        if os.path.exists(path):
            return
        if path not in self.failed:
            say(f"making {what}")
            log = self.log(re.sub(r"[^a-z0-9]+", "-", what))
            self.failed[path] = None
            with open(log, "w", encoding="utf-8") as f:
                for argv in argvs:
                    if subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=f, stderr=f, env=environment(),
                                      timeout=MAKE_SECONDS).returncode:
                        self.failed[path] = f"{what}: {last_line(log)} ({log})"
                        break
            if not self.failed[path] and os.path.exists(path):
                del self.failed[path]
                return
        raise Missing(self.failed[path] or f"{what}: {path} was not made")

    def python(self, name):
        """The interpreter of an environment that has what engines_peers/NAME.txt asks for."""
        wanted = os.path.join(PEERS, name + ".txt")
        with open(wanted, "rb") as f:
            digest = hashlib.sha256(f.read()).hexdigest()[:16]
        folder = os.path.join(self.peers, name)
        python, done = os.path.join(folder, "bin/python"), os.path.join(folder, "installed-" + digest)
        # A venv without pip is one that could not be made to its end.
        made = subprocess.run([python, "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0 \
            if os.path.exists(python) else False
        self.once(f"environment {name}", done,
                  ([] if made else [[sys.executable, "-m", "venv", "--clear", folder]]) +
                  [[python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "-r", wanted],
                   [python, "-c", f"open({done!r}, 'w')"]])
        return python
