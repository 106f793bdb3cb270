"""bench, evaluate and classify with a model that a registry's alias names, in a directory and in Redis."""

import json
import os
import re
import subprocess

import data
from process import Failure
from redis import Redis
from test_swap import Registry, variant
from test_wire import TITLES, same


def _run(env, program, *argv, environment=None, status=0, text=""):
    """What it prints; of a failure (status not 0) what it says."""
    whole = {k: v for k, v in os.environ.items() if not k.startswith("RUBRIC_")}
    done = subprocess.run([env.program(program), *argv], input=text, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          env={**whole, **(environment or {})}, timeout=120)
    if done.returncode != status:
        raise Failure(f"{os.path.basename(program)} {' '.join(argv)}: status {done.returncode}, expected {status}\n"
                      f"{done.stdout[-500:]}{done.stderr[-1000:]}")
    return done.stderr if status else done.stdout


def _two_versions(env, url):
    """production is the first of them, candidate the second, under one name."""
    r = Registry(env, url)
    first, second = r.push(env.model), r.push(variant(env, "other"))
    r.promote(first)
    r.run("models", "promote", second, "--alias", "candidate")
    return first, second


def _tools(env, url):
    first, second = _two_versions(env, url)
    dev, cache = os.path.join(data.TINY, "dev.txt"), os.path.join(env.folder, "cache")
    where = ("--registry", url, "--name", "news", "--cache", cache)
    short = ("--titles", dev, "--seconds", "0.05", "--threads", "1", "--json")
    by_directory = json.loads(_run(env, env.args.trainer, "evaluate", "--model", env.model, "--data", dev, "--json"))
    for alias, version in ((None, first), ("candidate", second), (second, second)):
        chosen = where + (("--alias", alias) if alias else ())
        got = json.loads(_run(env, env.args.trainer, "evaluate", *chosen, "--data", dev, "--json"))
        same(f"version evaluated as {alias}", got["model"], {"name": "news", "version": version})
        same(f"figures of {alias}", {**got, "model": 0}, {**by_directory, "model": 0})
        got = json.loads(_run(env, env.args.worker, "bench", *chosen, *short))
        same(f"version measured as {alias}", (got["model"], got["headlines_per_s"] > 0),
             ({"name": "news", "version": version}, True))
        got = json.loads(_run(env, env.args.worker, "classify", *chosen, "--json", text=TITLES[0] + "\n"))
        same(f"version that classified as {alias}", got["model"], {"name": "news", "version": version})
    # A page of what was evaluated names it.
    page = os.path.join(env.folder, "page.html")
    said = _run(env, env.args.trainer, "evaluate", *where, "--data", dev, "--report", page)
    with open(page, encoding="utf-8") as f:
        same("the version in text and page", (first in said, first in f.read()), (True, True))
    # The same from the environment.
    environment = {"RUBRIC_REGISTRY": url, "RUBRIC_NAME": "news", "RUBRIC_ALIAS": "candidate", "RUBRIC_CACHE": cache}
    got = json.loads(_run(env, env.args.trainer, "evaluate", "--data", dev, "--json", environment=environment))
    same("version evaluated, environment", got["model"]["version"], second)
    got = json.loads(_run(env, env.args.worker, "bench", *short, environment=environment))
    same("version measured, environment", got["model"]["version"], second)
    # What cannot be is said, with a status.
    for program, argv in ((env.args.trainer, ("evaluate", "--data", dev)), (env.args.worker, ("bench",) + short)):
        for bad, status, word in ((("--alias", "nobody"), 66, "nobody"), (("--alias", "0" * 16), 66, "0" * 16)):
            said = _run(env, program, *argv, *where, *bad, status=status)
            same(f"{argv[0]} {bad} says {word}", word in said, True)
    said = _run(env, env.args.worker, "bench", *short, *where, "--model", env.model, status=78)
    same("bench with both says so", "both set" in said, True)
    got = json.loads(_run(env, env.args.worker, "bench", *short, "--model", env.model, environment=environment))
    same("a model on the command line, a registry in the environment", got["model"]["version"] == second, False)


def test_a_directory(env):
    os.makedirs(env.folder, exist_ok=True)
    _tools(env, "dir:" + os.path.join(env.folder, "registry"))


def test_redis(env):
    """And without Redis: these measure what the alias names, or nothing."""
    server = Redis(os.path.join(env.folder, "redis"))
    try:
        _tools(env, server.url)
        server.stop()
        dev, cache = os.path.join(data.TINY, "dev.txt"), os.path.join(env.folder, "cache")
        where = ("--registry", server.url, "--name", "news", "--cache", cache)
        said = _run(env, env.args.trainer, "evaluate", *where, "--data", dev, status=69)
        same("evaluate says where", f"127.0.0.1:{server.port}" in said, True)
        said = _run(env, env.args.worker, "bench", *where, "--titles", dev, status=69)
        same("bench says where", f"127.0.0.1:{server.port}" in said, True)
    finally:
        server.stop()


def _tutorial(env, topics, encoder):
    """README's lines, with this test's broker, topics and folder."""
    with open(os.path.join(data.ROOT, "README.md"), encoding="utf-8") as f:
        lines = f.read().split("## From nothing to a transformer on Kafka")[1].split("```sh\n")[1].split("```")[0]
    same("what needs a network", lines.startswith("make build encoder\nPATH=$PWD/build/bin:$PATH\n"), True)
    lines = re.sub(r"\bbuild/(encoder\b)?", lambda m: encoder if m[1] else env.folder + "/", lines.split("\n", 2)[2]).replace("127.0.0.1:9092", env.kafka.bootstrap)
    for name, mine in (("headlines.dead", topics.dead), ("--input headlines", "--input " + topics.input), ("--output categories", "--output " + topics.output),
                       ("-t headlines", "-t " + topics.input), ("-t categories", "-t " + topics.output)):
        same(f"{name} in README", name in lines, True)
        lines = lines.replace(name, mine)
    return lines


def test_readme_tutorial(env):
    """Real weights where they are; else an encoder of this moment, which need not be right."""
    real = [os.path.join(data.ROOT, "build", "encoder"), os.path.join(os.path.dirname(data.ROOT), "shared", "models", "bge-small-zh-v1.5")]
    found = [e for e in real if os.path.exists(os.path.join(e, "model.safetensors"))]
    topics, encoder = env.topics(1), found[0] if found else os.path.join(env.folder, "encoder")
    if not found:
        _run(env, env.args.trainer, "pretrain", "--text", os.path.join(data.TINY, "train.txt"), "--init", "random", "--size", "tiny", "--epochs", "1", "--out", encoder)
    whole = {k: v for k, v in os.environ.items() if not k.startswith("RUBRIC_")}
    whole["PATH"] = ":".join([os.path.dirname(env.program(p)) for p in (env.args.trainer, env.args.worker)] + [whole["PATH"]])
    done = subprocess.run(["bash", "-e", "-c", _tutorial(env, topics, encoder)], cwd=data.ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=whole, timeout=200)
    if done.returncode != 0:
        raise Failure(f"status {done.returncode}\n{done.stdout[-500:]}{done.stderr[-1500:]}")
    said = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{") and "probability" in line]
    same("answers", len(said), 3)
    labels = [one["label"] for one in said]
    if found:
        same("labels", labels, ["finance", "sports", "science"])
    return ", ".join(labels)
