"""Child processes that never outlive the tests, free ports, and waiting."""

import atexit
import ctypes
import os
import random
import signal
import socket
import subprocess
import time

# How much longer waits may take than on a quiet machine: programs under sanitizers, cores shared with others. It
# stretches how long something is waited for, never what must come out.
PATIENCE = float(os.environ.get("RUBRIC_E2E_PATIENCE", "1"))

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)
_children = []


class Failure(AssertionError):
    """What a test found wrong, in words for the person who reads the log."""


def spawn(argv, stdout, stderr, env=None):
    """Starts argv. The kernel kills it when this process dies, however that happens; it is in a session of
    its own, so that Ctrl-C reaches only us and we stop it in order."""
    parent = os.getpid()

    def before_exec():
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, env=env,
                             preexec_fn=before_exec, start_new_session=True)
    _children.append(child)
    return child


def _kill_all():
    for child in _children:
        if child.poll() is None:
            child.kill()
            child.wait()


atexit.register(_kill_all)


def free_port():
    """A loopback port outside the range from which the kernel takes client ports: while a server is away
    for a restart, no client's own socket can take its place (nor connect to itself)."""
    with open("/proc/sys/net/ipv4/ip_local_port_range") as f:
        low = int(f.read().split()[0])
    for _ in range(200):
        port = random.randrange(10240, max(low, 10752))
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                pass
    raise Failure("no free loopback port")


def wait_for(what, condition, seconds=30.0, step=0.05):
    """Calls condition until it returns something true, which is returned; seconds are for a quiet machine."""
    seconds *= PATIENCE
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Failure(f"waited {seconds:g} s in vain: {what}")
        time.sleep(step)


def tail(path, lines=15):
    try:
        with open(path, errors="replace") as f:
            return "".join(f.readlines()[-lines:])
    except OSError as e:
        return str(e)
