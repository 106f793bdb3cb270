"""Small models in the worker: fastText's own files, bare, and a cascade with its stages' metrics; on Kafka and over /v1/classify."""

import os
import re

import data
import wire
from redis import Redis
from test_http import ask
from test_tools import _run
from test_transformers import _classify
from test_wire import TITLES, check_category, run, same

FASTTEXT = os.path.join(data.ROOT, "tests", "golden", "fasttext")
TINY = os.path.join(data.ROOT, "tests", "data", "tiny")


def test_fasttext_files(env):
    """Each kind of file as the fasttext program wrote it is a model by itself."""
    files = sorted(f for f in os.listdir(FASTTEXT) if f.endswith((".bin", ".ftz")) and f != "pairs.bin")
    for file in files:
        model = os.path.join(FASTTEXT, file)
        records = [dict(value=wire.headline(t), key=str(i).encode()) for i, t in enumerate(TITLES[:12])]
        _, places, out = run(env, records, model=model)
        same(f"{file}: records out", len(out), len(records))
        for i, said in enumerate(_classify(env, model, TITLES[:12])):
            check_category(env, wire.category(out[places[i] + (0,)].value), TITLES[i], said)
    worker = env.worker(env.topics(1), model=os.path.join(FASTTEXT, "split.ftz")).wait_ready()
    status, got = ask(worker, {"title": TITLES[0]})
    same("/v1/classify", (status, got["label"]), (200, _classify(env, os.path.join(FASTTEXT, "split.ftz"), TITLES[:1])[0]["label"]))
    worker.stop()
    return f"{len(files)} files"


def _cascade(env):
    """fastText, then a linear model, made by the trainer's own verbs."""
    at = lambda name: os.path.join(env.folder, name)
    _run(env, env.args.trainer, "data", "hold-out", "--data", TINY, "--out", at("d"), "--titles", "60")
    _run(env, env.args.trainer, "fit", "--arch", "fasttext", "--data", at("d"), "--out", at("words"), "--bucket", "1000", "--epochs", "60", "--lr", "1")
    _run(env, env.args.trainer, "fit", "--arch", "linear", "--data", at("d"), "--out", at("linear"), "--min-df", "1")
    _run(env, env.args.trainer, "calibrate", "--model", at("words"), "--titles", at("d/held.txt"))
    _run(env, env.args.trainer, "cascade", "--stages", at("words") + "," + at("linear"), "--titles", at("d/held.txt"), "--out", at("cascade"), "--max-drop", "1")
    return at("cascade")


def _answered(worker):
    rows = [(re.match(r'rubric_cascade_answered_total\{stage="([^"]+)",version="[^"]+"\}$', series), n) for series, n in worker.metrics().items()]
    return {m[1]: int(n) for m, n in rows if m}


def test_cascade(env):
    model = _cascade(env)
    records = [dict(value=wire.headline(t), key=str(i).encode()) for i, t in enumerate(TITLES)]
    _, places, out = run(env, records, model=model)
    for i, said in enumerate(_classify(env, model, TITLES)):
        check_category(env, wire.category(out[places[i] + (0,)].value), TITLES[i], said)
    worker = env.worker(env.topics(1), model=model).wait_ready()
    before = _answered(worker)
    same("stages", sorted(before), ["0-fasttext", "1-linear"])
    status, _ = ask(worker, {"titles": TITLES})
    after = _answered(worker)
    same("/v1/classify", status, 200)
    same("answers counted", sum(after.values()) - sum(before.values()), len(TITLES))
    worker.stop()
    return f"{after}"


def test_cascade_from_redis(env):
    """Pushed, promoted and served like any model; its directories come back out of the cache."""
    model, server = _cascade(env), Redis(os.path.join(env.folder, "redis"))
    try:
        _run(env, env.args.trainer, "push", "--model", model, "--registry", server.url, "--name", "news", "--alias", "production")
        cache = os.path.join(env.folder, "cache")
        worker = env.worker(env.topics(1), model=None, registry=server.url, name="news", cache=cache).wait_ready()
        status, got = ask(worker, {"titles": TITLES})
        same("/v1/classify", status, 200)
        same("labels", [one["label"] for one in got["results"]], [one["label"] for one in _classify(env, model, TITLES)])
        same("stages", sorted(_answered(worker)), ["0-fasttext", "1-linear"])
        worker.stop()
        version = next(name for name in os.listdir(os.path.join(cache, "news")) if len(name) == 16)
        weights = os.path.join(cache, "news", version, "1-linear", "model.safetensors")
        with open(weights, "r+b") as f:  # damage is seen in a part too, and mended
            f.write(b"x")
        env.worker(env.topics(1), model=None, registry=server.url, name="news", cache=cache).wait_ready().stop()
        with open(weights, "rb") as f, open(os.path.join(model, "1-linear", "model.safetensors"), "rb") as g:
            same("mended", f.read() == g.read(), True)
    finally:
        server.stop()


def test_quantized_and_forest(env):
    """What quantize writes of a transformer, TextCNN and fastText, and a random forest, on Kafka as by themselves."""
    at = lambda name: os.path.join(env.folder, name)
    rows = os.path.join(data.ROOT, "tests", "golden", "transformers")
    _run(env, env.args.trainer, "fit", "--arch", "textcnn", "--data", TINY, "--out", at("cnn"), "--epochs", "2", "--batch", "32")
    _run(env, env.args.trainer, "fit", "--arch", "fasttext", "--data", TINY, "--out", at("ft"), "--bucket", "1000")
    _run(env, env.args.trainer, "fit", "--arch", "forest", "--data", TINY, "--out", at("forest"), "--trees", "20")
    for name, model in (("bert-8", os.path.join(rows, "bert")), ("cnn-8", at("cnn")), ("ft-8", at("ft"))):
        _run(env, env.args.trainer, "quantize", "--model", model, "--out", at(name))
    for name in ("bert-8", "cnn-8", "ft-8", "forest"):
        records = [dict(value=wire.headline(t), key=str(i).encode()) for i, t in enumerate(TITLES)]
        _, places, out = run(env, records, model=at(name))
        same(f"{name}: records out", len(out), len(records))
        for i, said in enumerate(_classify(env, at(name), TITLES)):
            check_category(env, wire.category(out[places[i] + (0,)].value), TITLES[i], said)
    return "4 models"
