"""Transformers in both programs: every golden checkpoint on Kafka and on the command line, and a real fine-tuned
BERT under the delivery tests, where ../shared/models has one."""

import json
import os
import shutil
import struct
import subprocess
from concurrent.futures import ThreadPoolExecutor

import data
import wire
from env import Skip
from process import Failure
from test_chaos import _round
from test_swap import registry
from test_tools import _run
from test_wire import TITLES, check_category, run, same

ROWS = os.path.join(data.ROOT, "tests", "golden", "transformers")
SHARED = os.path.join(os.path.dirname(data.ROOT), "shared")
TUNED = os.path.join(SHARED, "models", "bge-small-zh-thucnews")
DEV = os.path.join(SHARED, "data", "thucnews", "dev.txt")
HEADLESS = "bert-bare"


def _need(*paths):
    for path in paths:
        if not os.path.exists(path):
            raise Skip(f"no {os.path.relpath(path, data.ROOT)} here")


def _classify(env, model, titles, *more):
    out = _run(env, env.args.worker, "classify", "--model", model, "--json", *more, text="\n".join(titles) + "\n")
    return [json.loads(line) for line in out.splitlines()]


def test_every_row(env):
    """Each checkpoint as transformers saved it, on Kafka: what classify says, record by record."""
    rows = sorted(r for r in os.listdir(ROWS) if not r.startswith(HEADLESS))
    titles = TITLES[:12]
    for row in rows:
        model = os.path.join(ROWS, row)
        records = [dict(value=wire.headline(t), key=str(i).encode()) for i, t in enumerate(titles)]
        _, places, out = run(env, records, model=model, precision="fp32")
        same(f"{row}: records out", len(out), len(titles))
        for i, said in enumerate(_classify(env, model, titles, "--precision", "fp32")):
            check_category(env, wire.category(out[places[i] + (0,)].value), titles[i], said)
    return f"{len(rows)} checkpoints"


def _shard(model, path):
    """The same weights in two files and an index, as transformers writes large models."""
    os.makedirs(path)
    for name in os.listdir(model):
        if name not in ("model.safetensors", "expected.safetensors"):
            shutil.copy(os.path.join(model, name), path)
    with open(os.path.join(model, "model.safetensors"), "rb") as f:
        header = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
        data_bytes = f.read()
    names, where = sorted(n for n in header if n != "__metadata__"), {}
    for i, part in enumerate((names[::2], names[1::2]), 1):
        file, entries, at, body = f"model-0000{i}-of-00002.safetensors", {}, 0, b""
        for name in part:
            begin, end = header[name]["data_offsets"]
            entries[name] = dict(header[name], data_offsets=[at, at + end - begin])
            body, at, where[name] = body + data_bytes[begin:end], at + end - begin, file
        text = json.dumps(entries).encode()
        text += b" " * (-len(text) % 8)
        with open(os.path.join(path, file), "wb") as f:
            f.write(struct.pack("<Q", len(text)) + text + body)
    with open(os.path.join(path, "model.safetensors.index.json"), "w", encoding="utf-8") as f:
        json.dump({"metadata": {}, "weight_map": where}, f)


def test_sharded_push(env):
    """A sharded directory goes through a registry whole, and gives the answers of the unsharded one."""
    model, path = os.path.join(ROWS, "bert"), os.path.join(env.folder, "sharded")
    _shard(model, path)
    r = registry(env)
    version = r.push(path)
    r.promote(version)
    titles = TITLES[:12]
    out = _run(env, env.args.worker, "classify", "--registry", r.url, "--name", "news", "--json", "--precision", "fp32",
               "--cache", os.path.join(env.folder, "cache"), text="\n".join(titles) + "\n")
    got = [json.loads(line) for line in out.splitlines()]
    same("versions", {g["model"]["version"] for g in got}, {version})
    same("answers", [g["top"] for g in got], [s["top"] for s in _classify(env, model, titles, "--precision", "fp32")])
    os.remove(os.path.join(path, "model-00002-of-00002.safetensors"))
    said = _run(env, env.args.trainer, "push", "--model", path, "--registry", r.url, "--name", "news", status=66)
    if "model-00002-of-00002.safetensors" not in said:
        raise Failure(f"a missing shard: {said!r}")


def test_no_head(env):
    """A bare encoder has nothing to classify with, and every program says so in a line."""
    model = os.path.join(ROWS, HEADLESS)
    dev = os.path.join(data.TINY, "dev.txt")
    for program, argv in ((env.args.worker, ["classify", "--model", model]),
                          (env.args.worker, ["bench", "--model", model, "--titles", dev]),
                          (env.args.trainer, ["evaluate", "--model", model, "--data", dev])):
        said = _run(env, program, *argv, status=65, text="x\n")
        if "no head yet" not in said or said.count("\n") != 1:
            raise Failure(f"{argv[0]} says {said!r}")
    same("inspect", "a bare encoder" in _run(env, env.args.worker, "inspect", model), True)


def test_truncated(env):
    """What is longer than the model reads is classified by its beginning, marked and counted."""
    model, long = os.path.join(ROWS, "bert"), "股市大涨三成" * 20
    said = _classify(env, model, ["股市大涨三成", long, long + "雨"])
    same("marks", [s.get("truncated", False) for s in said], [False, True, True])
    same("beginning", said[1]["probability"], said[2]["probability"])
    topics = env.topics(1)
    env.kafka.produce(topics.input, [dict(value=wire.headline(t), partition=0) for t in ("雨", long, long)])
    worker = env.worker(topics, model=model).wait_ready()
    env.wait_drained(topics, 60, alive=[worker])
    same("counted", worker.metric("rubric_headlines_truncated_total"), 2)
    worker.stop()


def test_precisions(env):
    """The log names what runs; what this processor or the model lacks is said."""
    model = os.path.join(ROWS, "bert")
    worker = env.worker(env.topics(1), model=model, precision="int8").wait_ready()
    worker.stop()
    loaded = [e for e in worker.events() if e.get("event") == "model-loaded"]
    if not loaded or "int8" not in json.dumps(loaded):
        raise Failure(f"model-loaded: {loaded}")
    worker = env.worker(env.topics(1), model=model, precision="int16").wait_ready()
    worker.stop()
    if "int16 was asked for" not in worker.text():
        raise Failure("a precision that transformers lack was taken without a word")


def _delivery(env, options, exactly_once):
    _need(TUNED)
    env.args.records, records = min(env.args.records, 3000), env.args.records
    try:
        return _round(env, env.args.seed, dict(options, model=TUNED, precision="int8"), exactly_once)
    finally:
        env.args.records = records


def test_exactly_once(env):
    return _delivery(env, {}, True)


def test_at_least_once(env):
    return _delivery(env, {"delivery": "at-least-once"}, False)


def _labels(env, precision, titles):
    done = subprocess.run([env.program(env.args.worker), "classify", "--model", TUNED, "--precision", precision],
                          input="\n".join(titles) + "\n", stdout=subprocess.PIPE, text=True, check=True, timeout=500)
    return [line.split("\t")[0] for line in done.stdout.splitlines()]


def test_dev_accuracy(env):
    """PyTorch's result on dev in fp32; int8 within 0.3 points and with 99 % of the answers."""
    _need(TUNED, DEV)
    got = {}
    for precision in ("fp32", "int8"):
        report = json.loads(_run(env, env.args.trainer, "evaluate", "--model", TUNED, "--data", DEV, "--json",
                                 "--precision", precision))
        got[precision] = round(report["accuracy"] * report["titles"]), report["loss"]
    if abs(got["fp32"][0] - 9275) > 2 or abs(got["fp32"][1] - 0.2178) > 0.0005:
        raise Failure(f"fp32: {got['fp32']}, PyTorch has 9,275 and 0.2178")
    if got["int8"][0] < got["fp32"][0] - 30:
        raise Failure(f"int8: {got['int8'][0]} right, fp32 {got['fp32'][0]}")
    with open(DEV, encoding="utf-8") as f:
        titles = [line.split("\t")[0] for line in f]
    labels = dict(zip(got, ThreadPoolExecutor(2).map(lambda p: _labels(env, p, titles), got)))
    equal = sum(a == b for a, b in zip(labels["fp32"], labels["int8"])) / len(titles)
    if equal < 0.99:
        raise Failure(f"int8 gives {equal:.2%} of fp32's answers")
    return f"fp32 {got['fp32'][0]} right, loss {got['fp32'][1]:.4f}; int8 {got['int8'][0]}, {equal:.2%} equal answers"


def test_instruction_sets(env):
    """At each forced level of instructions: fp32's probabilities within 1e-4, int8's answers 99 % the same."""
    _need(TUNED, DEV)
    with open(DEV, encoding="utf-8") as f:
        titles = [line.split("\t")[0] for line in f][:1000]

    def ask(isa, precision):
        out = _run(env, env.args.worker, "classify", "--model", TUNED, "--json", "--precision", precision,
                   text="\n".join(titles) + "\n", environment={"RUBRIC_ISA": isa} if isa else {})
        return [json.loads(line) for line in out.splitlines()]

    best = ask("", "fp32")
    same("answers", len(best), len(titles))
    said = []
    for isa in ("base", "avx2", "avx512", ""):
        exact, small = ask(isa, "fp32"), ask(isa, "int8")
        off = max(abs(a["probability"] - b["probability"]) for a, b in zip(exact, best))
        equal = sum(a["label"] == b["label"] for a, b in zip(small, best)) / len(titles)
        if off > 1e-4 or equal < 0.99:
            raise Failure(f"{isa or 'all'}: fp32 off by {off:.2g}, int8 gives {equal:.2%} of fp32's answers")
        said.append(f"{isa or 'all'} {off:.1g} and {equal:.1%}")
    return "; ".join(said)


test_instruction_sets.test_seconds = test_dev_accuracy.test_seconds = test_exactly_once.test_seconds = test_at_least_once.test_seconds = 600
