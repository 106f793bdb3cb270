"""CTranslate2 (BERT only): fp32 and int8, one worker with all threads ("intra"), a worker per thread ("inter"), the same
with MKL and its packed products ("mkl"). It drops padding itself, so that padded to 32 costs it nothing but the attention. It has the encoder with its pooler; the
classifier's last product is numpy's.

    ctranslate2_peer.py make ROW DIR fp32|int8    DIR/ctranslate2/PRECISION
"""
import os
import shutil
import sys

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
        if args.setting == "mkl":  # on processors that are not Intel's it takes oneDNN unless told
            os.environ["CT2_USE_MKL"] = "1"
            os.environ["CT2_USE_EXPERIMENTAL_PACKED_GEMM"] = "1"
        import ctranslate2
        self.version = ctranslate2.__version__
        self.streams = 1 if args.setting == "intra" else args.threads
        intra = args.threads // self.streams
        self.ct2 = ctranslate2
        self.encoder = ctranslate2.Encoder(path(args.model, args.precision), device="cpu", inter_threads=self.streams,
                                           intra_threads=intra, compute_type=QUANTISATION[args.precision])
        head = np.load(os.path.join(path(args.model, args.precision), "head.npz"))
        self.w, self.b = head["w"].T.copy(), head["b"]
        self.callers = peer.Callers(self.streams)
        self.setting = f"inter {self.streams}, intra {intra}" + (", MKL packed" if args.setting == "mkl" else "")

    def prepare(self, x):
        ids = np.ascontiguousarray(x["input_ids"], np.int32)
        lengths = x["attention_mask"].sum(axis=1).astype(np.int32)
        # A view borrows the array.
        return self.ct2.StorageView.from_array(ids), self.ct2.StorageView.from_array(lengths), ids, lengths

    def one(self, work):
        pooled = self.encoder.forward_batch(work[0], work[1]).pooler_output
        return np.asarray(pooled) @ self.w + self.b

    def run(self, works):
        return self.callers.map(self.one, works)


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(*sys.argv[2:])
    else:
        peer.serve(Engine)
