#!/usr/bin/env python3
"""Two checkpoints in safetensors hold the same tensors, bit for bit: names, types, shapes, numbers.

Usage: same_weights.py A B"""
import json
import sys


def read(path):
    with open(path, "rb") as f:
        data = f.read()
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header.pop("__metadata__", None)
    return {name: (t["dtype"], t["shape"], data[end + t["data_offsets"][0] : end + t["data_offsets"][1]]) for name, t in header.items()}


a, b = read(sys.argv[1]), read(sys.argv[2])
bad = [f"{name}: only in {sys.argv[1 if name in a else 2]}" for name in sorted(a.keys() ^ b.keys())]
bad += [f"{name}: {a[name][:2]} and {b[name][:2]}, {sum(x != y for x, y in zip(a[name][2], b[name][2]))} bytes differ" for name in sorted(a.keys() & b.keys()) if a[name] != b[name]]
if bad or not a:
    sys.exit("\n".join(bad) or f"{sys.argv[1]}: no tensors")
print(f"same weights: {len(a)} tensors, {sum(len(t[2]) for t in a.values())} bytes")
