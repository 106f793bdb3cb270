#!/usr/bin/env python3
"""Directories that `rubric-trainer fit` makes, opened by transformers unchanged: every parameter there and none to spare, and the same
probabilities for the titles of the small data set as `rubric-worker classify` gives.

Usage: fitted_open.py BUILD       torch 2.8.0, transformers 4.40.2"""
import json
import os
import subprocess
import sys
import tempfile

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
import torch
import transformers

DATA = "tests/data/tiny"
ROWS = {"bert": "bert", "ernie": "ernie", "electra": "electra-small", "albert": "albert-groups", "nezha": "nezha"}


def check(build, arch, row, dtype, folder):
    out = os.path.join(folder, f"{row}-{dtype}")
    subprocess.run([f"{build}/bin/rubric-trainer", "fit", "--arch", arch, "--from", f"tests/golden/transformers/{row}", "--data", DATA, "--out", out,
                    "--epochs", "2", "--lr", "1e-3", "--dtype", dtype], check=True, stdout=subprocess.DEVNULL)
    with open(f"{out}/config.json", encoding="utf-8") as f:
        kind = getattr(transformers, json.load(f)["architectures"][0])
    model, info = kind.from_pretrained(out, torch_dtype=torch.float32, output_loading_info=True)
    assert not any(info.values()), f"{out}: {info}"
    tokenizer = transformers.BertTokenizer(f"{out}/vocab.txt")
    with open(f"{DATA}/dev.txt", encoding="utf-8") as f:
        titles = [line.split("\t")[0] for line in f]
    done = subprocess.run([f"{build}/bin/rubric-worker", "classify", "--model", out, "--precision", "fp32", "--json", "--top", "10"],
                          input="\n".join(titles) + "\n", stdout=subprocess.PIPE, text=True, check=True)
    off = 0.0
    with torch.no_grad():
        for title, line in zip(titles, done.stdout.splitlines(), strict=True):
            ids = torch.tensor([tokenizer(title, truncation=True, max_length=model.config.max_position_embeddings)["input_ids"]])
            expected = model.eval()(input_ids=ids).logits.softmax(-1)[0]
            for entry in json.loads(line)["top"]:
                assert model.config.id2label[entry["index"]] == entry["label"]
                off = max(off, abs(expected[entry["index"]].item() - entry["probability"]))
    assert off < 1e-5, f"{out}: off by {off}"
    print(f"fitted: {arch} in {dtype} opens in transformers, {len(titles)} titles, probabilities within {off:.1g}", flush=True)


with tempfile.TemporaryDirectory() as folder:
    for arch, row in ROWS.items():
        for dtype in ("f32", "f16") if arch == "bert" else ("f32",):
            check(sys.argv[1], arch, row, dtype, folder)
