#!/usr/bin/env python3
"""Directories that the project writes, opened by transformers unchanged: each row's weights as F32, F16 and BF16, every parameter there
that is in the row, none to spare, each with the bits of PyTorch's own conversion, and finite results.

Usage: transformers_open.py BUILD [ROWS]       torch 2.8.0, transformers 4.40.2"""
import json
import os
import shutil
import subprocess
import sys
import tempfile

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
import torch
import transformers
from safetensors import safe_open

TYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def build_tool(build, folder):
    tool = os.path.join(folder, "interop")
    subprocess.run(["cc", "-std=c11", "-D_GNU_SOURCE", "-I.", "tests/golden/safetensors_interop.c", "-o", tool,
                    f"{build}/libmodels.a", f"{build}/libbase.a", "-ljansson", "-lcrypto", "-lpthread", "-lm"], check=True)
    return tool


def open_with(kind, path, dtype):
    model, info = kind.from_pretrained(path, torch_dtype=dtype, output_loading_info=True)
    return model.eval(), info


def check(tool, row, folder):
    config = transformers.AutoConfig.from_pretrained(row)
    kind = getattr(transformers, config.architectures[0])
    want, info = open_with(kind, row, "auto")
    missing = set(info.pop("missing_keys"))  # a bare encoder saved without its pooler
    assert not any(info.values()) and (not missing or "bare" in row), f"{row}: {info}, {missing}"
    for name, dtype in TYPES.items():
        made = os.path.join(folder, name)
        shutil.copytree(row, made, ignore=shutil.ignore_patterns("*.safetensors", "*.bin"))
        with open(f"{made}/config.json") as f:
            keys = json.load(f)
        with open(f"{made}/config.json", "w") as f:  # the type to compute in; transformers looks here before it looks at the weights
            json.dump({**keys, "torch_dtype": str(dtype).removeprefix("torch.")}, f)
        subprocess.run([tool, "convert", row, f"{made}/model.safetensors", name], check=True)
        with safe_open(f"{made}/model.safetensors", "pt") as f:
            types = {f.get_tensor(key).dtype for key in f.keys()}
        assert {t for t in types if t.is_floating_point} == {dtype}, f"{made}: {types}"
        # NEZHA's constructor multiplies in F32 only; T5 and XLNet keep some parameters in F32 when all others are not.
        got, info = open_with(kind, made, torch.float32 if config.model_type == "nezha" else "auto")
        assert set(info.pop("missing_keys")) == missing and not any(info.values()), f"{made}: {info}"
        for (key, a), (other, b) in zip(want.to(torch.float32).state_dict().items(), got.state_dict().items(), strict=True):
            assert key == other and a.shape == b.shape and b.dtype in (a.dtype, dtype), f"{made}: {key}, {other}, {b.dtype}"
            exact = a.to(dtype).to(b.dtype) if a.is_floating_point() else a
            assert key in missing or torch.equal(exact, b), f"{made}: {key} differs"
        ids = torch.tensor([[*range(5, 17), config.eos_token_id or 1]])  # T5 reads the row at its </s>
        with torch.no_grad():
            out = got.to(torch.float32)(input_ids=ids)[0]
        assert torch.isfinite(out).all(), made
        shutil.rmtree(made)


def main():
    rows = sys.argv[2] if len(sys.argv) > 2 else "tests/golden/transformers"
    n = 0
    with tempfile.TemporaryDirectory() as folder:
        tool = build_tool(sys.argv[1], folder)
        for row in sorted(os.listdir(rows)):
            path = os.path.join(rows, row)
            with open(f"{path}/config.json") as f:
                mapped = '"architectures"' in f.read() and os.path.exists(f"{path}/model.safetensors")
            if mapped and not row.endswith("-fc"):  # those are heads saved by hand, which transformers does not know
                check(tool, path, folder)
                n += 1
    print(f"open: {n} rows in {len(TYPES)} types, every parameter the same bits")
    assert n >= 10


if __name__ == "__main__":
    main()
