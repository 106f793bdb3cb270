"""The trainer as a scheduler and a reader of reports see it. No broker is needed."""

import html.parser
import json
import os
import shutil
import subprocess
import time
import xml.etree.ElementTree as ElementTree

import data
from env import Skip
from process import Failure, spawn
from redis import Redis
from test_wire import same

VOID = {"meta", "br", "link", "img", "hr", "input"}


def _trainer(env, *args, status=0):
    done = subprocess.run([env.program(env.args.trainer), *args], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != status:
        raise Failure(f"rubric-trainer {args[0]}: status {done.returncode}, expected {status}\n"
                      f"{done.stdout[-800:]}\n{done.stderr[-800:]}")
    return done.stdout


class _Page(html.parser.HTMLParser):
    """What a browser would see: elements closed in order, nothing that runs, nothing that is fetched."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open = []
        self.text = []
        self.found = {}

    def handle_starttag(self, tag, attrs):
        self.found[tag] = self.found.get(tag, 0) + 1
        for name, _ in attrs:
            if name in ("src", "href", "srcset", "action", "data") or name.startswith("on"):
                raise Failure(f"<{tag} {name}=…> in the page")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            raise Failure(f"</{tag}> closes nothing")

    def handle_data(self, data):
        self.text.append(data)


def _read(path):
    with open(path, encoding="utf-8") as f:
        text = f.read()
    page = _Page()
    page.feed(text)
    page.close()
    same("elements left open", page.open, [])
    for tag in ("script", "link", "img", "iframe", "object", "embed"):
        if tag in page.found:
            raise Failure(f"<{tag}> in the page")
    return page, ElementTree.fromstring(text)


def test_console_of_a_file(env):
    """Output that goes to a file shows how far a run is while it lasts."""
    os.makedirs(env.folder, exist_ok=True)
    path, text = (os.path.join(env.folder, n) for n in ("console", "text"))
    with open(os.path.join(data.TINY, "train.txt"), encoding="utf-8") as f, open(text, "w", encoding="utf-8") as out:
        out.write(1000 * f.read())
    command = [env.program(env.args.trainer), "pretrain", "--text", text, "--init", "random", "--size", "tiny", "--eval-every", "1000000"]
    with open(path, "w", encoding="utf-8") as out, subprocess.Popen([*command, "--out", os.path.join(env.folder, "m")], stdout=out) as job:
        deadline, seen = time.monotonic() + 10, False
        while not seen and job.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
            with open(path, encoding="utf-8") as f:
                seen = f.read().count("\n") > 1
        ended = job.poll()
        job.terminate()
        job.wait(timeout=60)
    if not seen or ended is not None:
        raise Failure(f"nothing to read while it ran (status {ended})")


def test_report(env):
    """evaluate --report: a page that both parsers read, with the numbers of evaluate --json."""
    os.makedirs(env.folder, exist_ok=True)
    model, path = os.path.join(env.folder, "m"), os.path.join(env.folder, "r.html")
    dev = os.path.join(data.TINY, "dev.txt")
    _trainer(env, "fit", "--arch", "textcnn", "--data", data.TINY, "--out", model, "--epochs", "6", "--batch", "32",
             "--eval-every", "7", "--warmup", "5")
    figures = json.loads(_trainer(env, "evaluate", "--model", model, "--data", dev, "--report", path, "--json"))
    page, root = _read(path)
    same("drawings", page.found.get("svg"), 3)
    heat = next(t for t in root.iter("table") if t.get("class") == "heat")
    cells = [[int(td.text) for td in tr.iter("td")] for tr in heat.find("tbody").iter("tr")]
    same("heat map", cells, figures["confusion"])
    text = "".join(page.text)
    for wanted in (f"{100 * figures['accuracy']:.2f} %", f"{figures['loss']:.4f}", f"{figures['macro_f1']:.4f}"):
        if wanted not in text:
            raise Failure(f"the page lacks {wanted}")
    with open(os.path.join(model, "history.json"), encoding="utf-8") as f:
        history = json.load(f)
    steps = [line["iteration"] for line in history["lines"] if "dev_loss" in line]
    lines = [p.get("points").split() for p in root.iter("polyline")]
    same("curves", [len(points) for points in lines], 4 * [len(steps)])
    kept = next(line for line in history["lines"] if "stopped" in line)["best_iteration"]
    if f"weights kept at step: {kept}" not in text:
        raise Failure(f"the page does not mark step {kept}")


def test_report_of_hostile_labels(env):
    """Labels and names that try to leave their cells."""
    folder, model, path = (os.path.join(env.folder, name) for name in ("d", "m", "r.html"))
    shutil.copytree(data.TINY, folder)
    evil = ["</td><script>alert(1)</script>", "\"><img src=x onerror=y>", "a & b <i>", "'--><!--", "]]>", "\u202eabc",
            "<![CDATA[", "&lt;", "<?xml?>", "</bdi></th>"]
    with open(os.path.join(folder, "class.txt"), "w", encoding="utf-8") as f:
        f.write("\n".join(evil) + "\n")
    _trainer(env, "fit", "--arch", "linear", "--data", folder, "--out", model, "--model-name", "</title><b>&")
    _trainer(env, "evaluate", "--model", model, "--data", os.path.join(folder, "dev.txt"), "--report", path)
    page, root = _read(path)
    heat = next(t for t in root.iter("table") if t.get("class") == "heat")
    same("labels", ["".join(th.itertext()) for tr in heat.find("tbody") for th in tr.iter("th")], evil)
    same("title", root.find("head/title").text.startswith("</title><b>& "), True)
    if "b" not in page.found or "i" in page.found:
        raise Failure("a label became an element")


def test_retrain_of_two_jobs(env):
    os.makedirs(env.folder, exist_ok=True)
    return _retrain_of_two_jobs(env, "dir:" + os.path.join(env.folder, "registry"))


def test_retrain_of_two_jobs_in_redis(env):
    server = Redis(os.path.join(env.folder, "redis"))
    try:
        return _retrain_of_two_jobs(env, server.url)
    finally:
        server.stop()


def _retrain_of_two_jobs(env, registry):
    """Jobs started at the same moment: one promotes; the registry holds one version, and it verifies."""
    args = ["retrain", "--arch", "linear", "--data", data.TINY, "--registry", registry, "--name", "news", "--json"]
    jobs = []
    for i in range(4):
        with open(os.path.join(env.folder, f"out-{i}"), "wb") as out, open(os.path.join(env.folder, f"err-{i}"), "wb") as err:
            jobs.append(spawn([env.program(env.args.trainer), *args], out, err))
    statuses = [job.wait() for job in jobs]
    said = []
    for i in range(4):
        with open(os.path.join(env.folder, f"out-{i}"), encoding="utf-8") as f:
            said.append(json.load(f))
    same("statuses", [{"promoted": 0, "same-content": 3, "locked": 4}[one["outcome"]] for one in said], statuses)
    same("jobs that promoted", statuses.count(0), 1)
    tokens = [one["token"] for one in said if one["token"]]
    same("tokens, all different", len(set(tokens)), len(tokens))
    versions = [v["version"] for v in json.loads(_trainer(env, "models", "ls", "--json", "--registry", registry,
                                                          "--name", "news"))]
    same("versions", len(versions), 1)
    again = json.loads(_trainer(env, *args, status=3))
    same("again", (again["outcome"], again["champion"]["version"]), ("same-content", versions[0]))
    # Labels shuffled in train and dev alike: the champion stays.
    poisoned = os.path.join(env.folder, "poisoned")
    shutil.copytree(data.TINY, poisoned)
    for name in ("train.txt", "dev.txt"):
        with open(os.path.join(poisoned, name), encoding="utf-8") as f:
            rows = [line.rstrip("\n").rsplit("\t", 1) for line in f]
        with open(os.path.join(poisoned, name), "w", encoding="utf-8") as f:
            f.writelines(f"{title}\t{rows[(n * 7 + 3) % len(rows)][1]}\n" for n, (title, _) in enumerate(rows))
    spoilt = [poisoned if a == data.TINY else a for a in args]
    same("poisoned", json.loads(_trainer(env, *spoilt, status=3))["outcome"] in ("worse", "suspect-data"), True)
    now = json.loads(_trainer(env, "models", "show", "production", "--json", "--registry", registry, "--name", "news",
                              "--cache", os.path.join(env.folder, "cache")))
    same("production", now["version"], versions[0])
    return f"statuses {sorted(statuses)}"


def _lines(path):
    with open(path, encoding="utf-8") as f:
        return [json.loads(line) for line in f]


def test_two_processes(env):
    """mpirun -n 2 gives the losses of one process that computes twice as many parts, to rounding, and writes once."""
    if not shutil.which("mpirun") or "MPI" not in _trainer(env, "--version"):
        raise Skip("no mpirun, or a trainer built without MPI")
    rows = os.path.join(data.ROOT, "tests", "golden", "transformers", "bert")
    fit = ["fit", "--arch", "bert", "--from", rows, "--data", data.TINY, "--batch", "32", "--epochs", "2", "--eval-every", "4", "--patience", "0",
           "--precision", "fp32", "--lr", "1e-3", "--fgm", "0.5", "--ema", "0.9", "--threads", "1"]
    one, two, folder = (os.path.join(env.folder, n) for n in ("one", "two", "logs"))
    os.makedirs(folder)
    logs = [os.path.join(folder, n) for n in ("one", "two")]
    _trainer(env, *fit, "--micro-batch", "16", "--out", one, "--log-json", logs[0])
    whole = {k: v for k, v in os.environ.items() if not k.startswith("RUBRIC_")}
    whole.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", ASAN_OPTIONS="detect_leaks=0")
    mpirun = ["mpirun", "-n", "2", "--oversubscribe", env.program(env.args.trainer)]
    done = subprocess.run([*mpirun, *fit, "--out", two, "--log-json", logs[1]], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=whole, timeout=200)
    if done.returncode != 0 or done.stdout.count("best weights") != 1:
        raise Failure(f"status {done.returncode}: {done.stdout[-800:]}")
    said = [line for line in done.stdout.splitlines() if "processes:" in line]
    off = 0.0
    for a, b in zip(*map(_lines, logs), strict=True):
        for key in ("train_loss", "dev_loss"):
            off = max(off, abs(a.get(key, 0) - b.get(key, 0)))
    if off > 1e-5 or not said:
        raise Failure(f"losses differ by {off}; {said}")
    if any(name.startswith(".process") for name in os.listdir(two)) or not os.path.exists(os.path.join(two, "model.safetensors")):
        raise Failure(f"left behind: {os.listdir(two)}")
    stopped, log = os.path.join(env.folder, "stopped"), os.path.join(folder, "stopped")
    command = [*mpirun, *fit, "--epochs", "12", "--checkpoint-every", "3", "--out", stopped, "--log-json", log]
    for number in range(2):  # one is stopped, the next goes on
        with subprocess.Popen([*command, "--resume"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=whole) as job:
            deadline = time.monotonic() + 60
            while number == 0 and not os.path.exists(os.path.join(stopped, "trainer.safetensors")) and time.monotonic() < deadline:
                time.sleep(0.02)
            if number == 0:
                job.terminate()
            status = job.wait(timeout=200)
    command[-1] = log + ".whole"
    command[command.index(stopped)] = stopped + ".whole"
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=whole, timeout=200, check=True)
    same("status of the one that went on", status, 0)
    same("log of a stopped and resumed job", _lines(log), _lines(log + ".whole"))
    done = subprocess.run([*mpirun, "fit", "--arch", "linear", "--data", data.TINY, "--out", one + "x"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          env=whole, timeout=100)
    if done.returncode == 0 or "is trained in one process" not in done.stdout:
        raise Failure(f"linear in two processes: status {done.returncode}, {done.stdout[-500:]}")
    return f"losses within {off:.1g}; {said[0]}"
