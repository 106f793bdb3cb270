#!/usr/bin/env python3
"""safetensors both ways with the format's own library: it reads what we write, we read what it writes, our conversions to
binary16 are numpy's, and whatever it refuses we refuse.

Checked with safetensors 0.8.0 and numpy 2.4.6:
    pip install safetensors==0.8.0 numpy==2.4.6 && python3 tests/golden/safetensors_interop.py BUILD
"""
import json
import os
import random
import struct
import subprocess
import sys
import tempfile

import numpy as np
from safetensors import SafetensorError, deserialize, safe_open
from safetensors.numpy import save_file

WHOLE = {"i8": np.int8, "u8": np.uint8, "i32": np.int32, "i64": np.int64, "bool": np.bool_}
DTYPES = {"F32": np.float32, "F16": np.float16, "F64": np.float64}


def build_tool(build, folder):
    tool = os.path.join(folder, "interop")
    subprocess.run(["cc", "-std=c11", "-D_GNU_SOURCE", "-I.", "tests/golden/safetensors_interop.c", "-o", tool,
                    f"{build}/libmodels.a", f"{build}/libbase.a", "-ljansson", "-lcrypto", "-lpthread", "-lm"],
                   check=True)
    return tool


def bf16(x):
    """Round to nearest even, in whole numbers."""
    bits = x.astype(np.float32).view(np.uint32).astype(np.uint64)
    rounded = ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)
    return np.where(np.isnan(x), (bits >> 16 | 0x40).astype(np.uint16), rounded)


def tensors():
    rng = np.random.default_rng(7)
    every_half = np.arange(65536, dtype=np.uint16).view(np.float16)
    singles = rng.integers(0, 2**32, 200000, dtype=np.uint32).view(np.float32)
    near = (every_half.astype(np.float32)[np.isfinite(every_half)][:, None]
            * np.array([1 + 2.0**-12, 1 + 2.0**-11, 1 + 2.0**-10.5], np.float32)).ravel()
    out = {"every_half": every_half.reshape(256, 1, 256), "singles": singles, "near": near,
           "doubles": rng.normal(0, 1e5, (3, 4, 5)), "empty": np.zeros((0, 3), np.float32),
           "scalar": np.array(2.5, np.float32)}
    for name, dtype in WHOLE.items():
        out[name] = rng.integers(0, 2 if dtype is np.bool_ else 100, (5, 3)).astype(dtype)
    return out


def check_copy(tool, folder):
    given, a, b = tensors(), f"{folder}/a.safetensors", f"{folder}/b.safetensors"
    save_file(given, a, metadata={"format": "pt \"quoted\" 标题"})
    subprocess.run([tool, "copy", a, b], check=True)
    with safe_open(b, "np") as f:
        assert f.metadata() == {"format": "pt \"quoted\" 标题"}, f.metadata()
        names = set(f.keys())
    with open(b, "rb") as f:
        data = f.read()
        assert struct.unpack("<Q", data[:8])[0] % 8 == 0
    got = {name: (t["dtype"], t["shape"], bytes(t["data"])) for name, t in deserialize(data)}
    checked = 0

    def same(name, dtype, shape, wanted):
        nonlocal checked
        assert got[name][0] == dtype and list(got[name][1]) == list(shape), (name, got[name][:2])
        if dtype in ("F16", "F32"):  # a NaN stays a NaN; which of them is the processor's choice
            kind = DTYPES[dtype]
            x, y = np.frombuffer(got[name][2], kind), np.frombuffer(wanted, kind)
            whole = np.uint16 if kind is np.float16 else np.uint32
            assert np.array_equal(np.isnan(x), np.isnan(y)), name
            assert np.array_equal(x.view(whole)[~np.isnan(x)], y.view(whole)[~np.isnan(y)]), name
        else:
            assert got[name][2] == wanted, name
        checked += 1

    for name, x in given.items():
        kind = {v: k for k, v in {**DTYPES, **{k.upper(): v for k, v in WHOLE.items()}}.items()}[x.dtype.type]
        assert got[name] == (kind, list(x.shape), x.tobytes()), name
        if kind not in DTYPES:
            continue
        with np.errstate(over="ignore", invalid="ignore"):
            wide = x.astype(np.float32)
            same(name + ".f32", "F32", x.shape, wide.tobytes())
            same(name + ".f16", "F16", x.shape, wide.astype(np.float16).tobytes())
        same(name + ".bf16", "BF16", x.shape, bf16(wide).tobytes())
    assert len(names) == len(given) + checked
    print(f"copy: {len(names)} tensors the same, {checked} of them converted")


def mutate(rng, header):
    """One small change to a sound header."""
    at = rng.randrange(len(header))
    way = rng.randrange(4)
    if way == 0:
        return header[:at] + header[at + 1:]
    if way == 1:
        return header[:at] + rng.choice(b'0123456789{}[]",:- eE.').to_bytes(1, "little") + header[at + 1:]
    if way == 2:
        return header[:at] + header[at:at + 1] * 2 + header[at + 1:]
    return header.replace(*rng.choice([(b"F32", b"F33"), (b"[2,3]", b"[3,2]"), (b"[0,24]", b"[0,23]"), (b"24,32", b"25,33"),
                                       (b"24,32", b"16,24"), (b'"b"', b'"a"'), (b'"shape"', b'"shapes"'),
                                       (b"24,32", b"32,24"), (b"32]", b"40]"), (b"[2,3]", b"[18446744073709551615,3]")]))


def check_refusals(tool, folder):
    rng = random.Random(11)
    sound = json.dumps({"__metadata__": {"k": "v"}, "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
                        "b": {"dtype": "I64", "shape": [1], "data_offsets": [24, 32]}},
                       separators=(",", ":")).encode()
    paths, theirs = [], []
    for i in range(3000):
        header = mutate(rng, sound)
        blob = struct.pack("<Q", len(header) + (rng.randrange(-2, 3) if i % 10 == 0 else 0)) + header + b"\0" * 32
        path = f"{folder}/m{i}"
        with open(path, "wb") as f:
            f.write(blob)
        paths.append(path)
        try:
            deserialize(blob)
            theirs.append(True)
        except SafetensorError:
            theirs.append(False)
    ours = subprocess.run([tool, "check"] + paths, check=True, capture_output=True, text=True, errors="replace").stdout.splitlines()
    assert len(ours) == len(theirs)
    stricter = {}
    for path, said, good in zip(paths, ours, theirs):
        assert good or said != "ok", f"accepted, but the format's library refuses {open(path, 'rb').read()}"
        if good and said != "ok":
            why = said.split(": ", 1)[1]
            stricter[why] = stricter.get(why, 0) + 1
    print(f"refusals: {len(ours)} files, {theirs.count(False)} refused by both, {theirs.count(True) - sum(stricter.values())} "
          f"accepted by both, {sum(stricter.values())} by the format's library only:")
    for why, n in sorted(stricter.items()):
        print(f"  {n:4} {why}")


def main():
    with tempfile.TemporaryDirectory() as folder:
        tool = build_tool(sys.argv[1], folder)
        check_copy(tool, folder)
        check_refusals(tool, folder)


if __name__ == "__main__":
    main()
