"""What all contestants of tests/bench/engines share: the line protocol, the works and the padding.

A contestant is a process that loads one model in one precision, answers one title, prints a line {"ready": true, ...}
and then a JSON line for each line it reads:
    sorted    one pass over all titles in works of at most --batch titles, longest first, each work padded to its longest
    padded    the same as the titles come, each padded to 32
    single    the first --singles titles one after another, nothing padded: the latency of each in "ms"
    answers   the probabilities of each title
    quit
Nothing runs between a reply and the next line. Ids come from --work FILE; tokenising, sorting and padding are not in
the times. Whatever the libraries print goes to stderr.
"""
import argparse
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

PADDED = 32
# Per row: the id and token type of padding, and the side. XLNet's tokenizer pads on the left, segment 3, and gives
# <cls>, its last token, segment 2.
PAD = {"bert": (0, 0, "right"), "albert": (0, 0, "right"), "xlnet": (5, 3, "left")}
XLNET_CLS_SEGMENT = 2


class Missing(Exception):
    """This contestant cannot run here; the text says why."""


def cut(n, batch, streams):
    """Works as few as batch allows, as many as fill all streams, and of one size but for the last."""
    works = -(-n // batch)
    works = -(-works // streams) * streams
    each = -(-n // works)
    return [(i, min(i + each, n)) for i in range(0, n, each)]


def arrays(row, ids, width):
    """input_ids, attention_mask and token_type_ids [len(ids), width] as int64."""
    pad_id, pad_type, side = PAD[row]
    x = np.full((len(ids), width), pad_id, np.int64)
    mask = np.zeros((len(ids), width), np.int64)
    types = np.full((len(ids), width), pad_type, np.int64)
    for i, title in enumerate(ids):
        at = slice(width - len(title), width) if side == "left" else slice(0, len(title))
        x[i, at] = title
        mask[i, at] = 1
        types[i, at] = 0
    if row == "xlnet":
        types[:, -1] = XLNET_CLS_SEGMENT
    return {"input_ids": x, "attention_mask": mask, "token_type_ids": types}


def calibration(row, ids):
    """Titles one by one, as arrays, for static quantisation."""
    return [arrays(row, [title], len(title)) for title in ids]


class Callers:
    """Threads that call a one-work function side by side: a stream each. initialise runs once in each thread."""

    def __init__(self, streams, initialise=None):
        self.pool = ThreadPoolExecutor(streams, initializer=initialise) if streams > 1 else None

    def map(self, one, works):
        if not self.pool or len(works) == 1:
            return [one(work) for work in works]
        return list(self.pool.map(one, works))


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def resident_mb():
    with open("/proc/self/statm", encoding="ascii") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGESIZE") / 1e6


def read_work(path):
    with open(path, encoding="utf-8") as f:
        return json.load(f)


class Passes:
    def __init__(self, engine, row, ids, batch, singles):
        self.engine, self.n = engine, len(ids)
        by_length = sorted(range(self.n), key=lambda i: -len(ids[i]))
        self.order = {"sorted": by_length, "padded": range(self.n), "single": range(min(singles, self.n))}
        self.works = {}
        for mode, order in self.order.items():
            pieces = cut(len(order), 1 if mode == "single" else batch, 1 if mode == "single" else engine.streams)
            self.works[mode] = []
            for begin, end in pieces:
                titles = [ids[i] for i in order[begin:end]]
                width = PADDED if mode == "padded" else max(map(len, titles))
                self.works[mode].append(engine.prepare(arrays(row, titles, width)))

    def one(self):
        self.engine.run(self.works["single"][:1])

    def run(self, mode):
        begin = time.perf_counter()
        if mode != "single":
            self.engine.run(self.works[mode])
            return {"s": time.perf_counter() - begin, "rss_mb": resident_mb()}
        ms = []
        for work in self.works[mode]:
            t = time.perf_counter()
            self.engine.run([work])
            ms.append((time.perf_counter() - t) * 1e3)
        return {"s": time.perf_counter() - begin, "rss_mb": resident_mb(), "ms": ms}

    def answers(self):
        logits = np.concatenate([np.asarray(x, np.float32) for x in self.engine.run(self.works["sorted"])])
        out = np.empty_like(logits)
        out[self.order["sorted"]] = logits
        return {"answers": softmax(out).round(7).tolist()}


def options():
    p = argparse.ArgumentParser()
    p.add_argument("--model", required=True, help="directory of the row: hf/, onnx/, openvino/, ctranslate2/")
    p.add_argument("--row", required=True, choices=sorted(PAD))
    p.add_argument("--work", required=True)
    p.add_argument("--precision", required=True)
    p.add_argument("--setting", default="")
    p.add_argument("--batch", type=int, default=128)
    p.add_argument("--singles", type=int, default=128, help="titles of a pass one at a time")
    p.add_argument("--threads", type=int, required=True)
    return p.parse_args()


def serve(open_engine):
    """open_engine(options) returns an object with .version, .setting, .streams, .prepare(arrays) -> work and
    .run([work]) -> [logits]; run is what is timed."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(reply):
        out.write(json.dumps(reply) + "\n")
        out.flush()
    args = options()
    try:
        begin = time.perf_counter()
        engine = open_engine(args)
        load_s = time.perf_counter() - begin
        passes = Passes(engine, args.row, read_work(args.work)["ids"], args.batch, args.singles)
        passes.one()
    except Missing as why:
        say({"error": str(why)})
        sys.exit(69)
    say({"ready": True, "version": engine.version, "setting": engine.setting, "precision": args.precision,
         "load_s": load_s, "rss_mb": resident_mb()})
    for line in sys.stdin:
        command = line.strip()
        if command == "quit":
            break
        if command == "answers":
            say(passes.answers())
        elif command in passes.works:
            say(passes.run(command))
        else:
            say({"error": "unknown command"})
