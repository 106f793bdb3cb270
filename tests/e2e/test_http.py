"""POST /v1/classify: the model of the service answers questions beside the topics."""

import json
import socket
import subprocess
import urllib.error
import urllib.request

from process import Failure, wait_for
from test_wire import TITLES, same


def ask(worker, body, kind="application/json", method="POST"):
    """(status, document)"""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{worker.port}/v1/classify", data, {"Content-Type": kind}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as r:
            return r.status, json.loads(r.read())
    except urllib.error.HTTPError as e:
        return e.code, json.loads(e.read())


def test_answers_as_classify_does(env):
    said = subprocess.run([env.program(env.args.worker), "classify", "--model", env.model, "--json", "--top", "3"],
                          input="\n".join(TITLES) + "\n", stdout=subprocess.PIPE, text=True, check=True).stdout
    said = [json.loads(line) for line in said.splitlines()]
    worker = env.worker(env.topics(1)).wait_ready()
    same("one", ask(worker, {"title": TITLES[0], "top": 3}), (200, said[0]))
    same("a list", ask(worker, {"titles": TITLES, "top": 3}), (200, {"results": said}))
    status, got = ask(worker, {"titles": [TITLES[0], "", TITLES[1]], "top": 3})
    same("a bad one in a list", (status, got["results"]), (200, [said[0], {"title": "", "error": "empty-title"}, said[1]]))
    worker.stop()


def test_clear_errors(env):
    worker = env.worker(env.topics(1)).wait_ready()
    for body, status, word in (
            (b"", 400, "body"), (b"{", 400, "body"), (b"\xff", 400, "body"), ({"titel": "x"}, 400, "titel"),
            ({"titles": []}, 400, "1 to 1024"), ({"titles": ["x", 1]}, 400, "titles[1]"), ({"title": ""}, 422, "empty"),
            ({"title": "x" * 5000}, 422, "too-long"),
            (b"{\"title\": \"\\u\xff\"}", 400, "body"), (b" " * (1 << 20) + b"{}", 413, "too large")):
        got, said = ask(worker, body)
        if got != status or word not in said["error"]:
            raise Failure(f"{body[:40]}: status {got}, {said}")
    same("another type", ask(worker, b"<x/>", "text/xml")[0], 415)
    same("another method", ask(worker, b"{}", method="PUT")[0], 405)
    same("livez by POST", urllib_status(worker, "/livez", b"{}"), 405)
    # A body without a length that does not end: cut off at the bound, and the port still answers.
    with socket.create_connection(("127.0.0.1", worker.port), 10) as s:
        s.sendall(b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        chunk = b"%x\r\n" % 65536 + b" " * 65536 + b"\r\n"
        try:
            for _ in range(256):
                s.sendall(chunk)
            raise Failure("sixteen MiB were taken")
        except OSError:
            pass
    same("/livez afterwards", worker.get("/livez")[0], 200)
    same("a question afterwards", ask(worker, {"title": TITLES[0]})[0], 200)
    worker.stop()


def urllib_status(worker, path, data):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{worker.port}{path}", data, timeout=5) as r:
            return r.status
    except urllib.error.HTTPError as e:
        return e.code


def test_probes_are_answered_beside_many_questions(env):
    """Twenty connections that never finish their question: the twentieth is told to come back, and probes pass."""
    worker = env.worker(env.topics(1)).wait_ready()
    held, refused = [], 0
    for _ in range(20):
        s = socket.create_connection(("127.0.0.1", worker.port), 10)
        s.sendall(b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        held.append(s)
    for s in held:
        s.settimeout(0.5)
        try:
            refused += b" 503 " in s.recv(200)
        except socket.timeout:
            pass
    same("questions refused", refused, 4)
    same("/livez", worker.get("/livez")[0], 200)
    for s in held:
        s.close()
    wait_for("room for a question", lambda: ask(worker, {"title": TITLES[0]})[0] == 200, 10)
    worker.stop()
