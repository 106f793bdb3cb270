"""CTranslate2 (BERT only): fp32 and int8, one worker with all threads ("intra") or a worker per thread ("inter"). It
drops padding itself, so that padded to 32 costs it nothing but the attention. It has the encoder with its pooler; the
classifier's last product is numpy's.

    ctranslate2_peer.py make ROW DIR fp32|int8    DIR/ctranslate2/PRECISION
"""
import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np

import peer

QUANTISATION = {"fp32": "float32", "int8": "int8"}


def path(folder, precision):
    return os.path.join(folder, "ctranslate2", precision)


def make(row, folder, precision):
    from ctranslate2.converters import TransformersConverter
    from safetensors.numpy import load_file
    if row != "bert":
        raise SystemExit(f"CTranslate2 has no {row}")
    to = path(folder, precision)
    part = to + ".part"
    shutil.rmtree(part, ignore_errors=True)
    TransformersConverter(os.path.join(folder, "hf")).convert(part, quantization=QUANTISATION[precision])
    weights = load_file(os.path.join(folder, "hf", "model.safetensors"))
    np.savez(os.path.join(part, "head.npz"), w=weights["classifier.weight"], b=weights["classifier.bias"])
    os.replace(part, to)


class Engine:
    def __init__(self, args):
        import ctranslate2
        self.version = ctranslate2.__version__
        self.streams = args.threads if args.setting == "inter" else 1
        intra = 1 if args.setting == "inter" else args.threads
        self.ct2 = ctranslate2
        self.encoder = ctranslate2.Encoder(path(args.model, args.precision), device="cpu", inter_threads=self.streams,
                                           intra_threads=intra, compute_type=QUANTISATION[args.precision])
        head = np.load(os.path.join(path(args.model, args.precision), "head.npz"))
        self.w, self.b = head["w"].T.copy(), head["b"]
        self.callers = ThreadPoolExecutor(self.streams)
        self.setting = f"inter {self.streams}, intra {intra}"

    def prepare(self, x):
        ids = np.ascontiguousarray(x["input_ids"], np.int32)
        lengths = x["attention_mask"].sum(axis=1).astype(np.int32)
        # A view borrows the array.
        return self.ct2.StorageView.from_array(ids), self.ct2.StorageView.from_array(lengths), ids, lengths

    def one(self, work):
        pooled = self.encoder.forward_batch(work[0], work[1]).pooler_output
        return np.asarray(pooled) @ self.w + self.b

    def run(self, works):
        if self.streams == 1 or len(works) == 1:
            return [self.one(work) for work in works]
        return list(self.callers.map(self.one, works))


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(*sys.argv[2:])
    else:
        peer.serve(Engine)
