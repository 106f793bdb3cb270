#!/usr/bin/env python3
"""Directories that `rubric-trainer fit` and `pretrain` make, opened by transformers unchanged: every parameter there and none to spare, and the same
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
ROWS = {"bert": "bert", "ernie": "ernie", "electra": "electra-small", "albert": "albert-groups", "nezha": "nezha", "xlnet": "xlnet", "t5": "t5", "mt5": "mt5"}


def tokenizer_of(out, arch):
    if arch == "xlnet":
        return transformers.XLNetTokenizer(f"{out}/spiece.model")
    return transformers.T5Tokenizer(f"{out}/spiece.model") if arch.endswith("t5") else transformers.BertTokenizer(f"{out}/vocab.txt")


def check(build, arch, row, dtype, folder):
    out = os.path.join(folder, f"{row}-{dtype}")
    subprocess.run([f"{build}/bin/rubric-trainer", "fit", "--arch", arch, "--from", f"tests/golden/transformers/{row}", "--data", DATA, "--out", out,
                    "--epochs", "2", "--lr", "1e-3", "--dtype", dtype], check=True, stdout=subprocess.DEVNULL)
    with open(f"{out}/config.json", encoding="utf-8") as f:
        kind = getattr(transformers, json.load(f)["architectures"][0])
    model, info = kind.from_pretrained(out, torch_dtype=torch.float32, output_loading_info=True)
    assert not any(info.values()), f"{out}: {info}"
    tokenizer = tokenizer_of(out, arch)
    longest = getattr(model.config, "max_position_embeddings", 0)
    longest = longest if longest > 0 else 64  # XLNet and T5 have no end of their own
    with open(f"{DATA}/dev.txt", encoding="utf-8") as f:
        titles = [line.split("\t")[0] for line in f]
    done = subprocess.run([f"{build}/bin/rubric-worker", "classify", "--model", out, "--precision", "fp32", "--json", "--top", "10"],
                          input="\n".join(titles) + "\n", stdout=subprocess.PIPE, text=True, check=True)
    off = 0.0
    with torch.no_grad():
        for title, line in zip(titles, done.stdout.splitlines(), strict=True):
            read = tokenizer(title, truncation=True, max_length=longest, return_tensors="pt")  # XLNet's <cls> is a segment of its own
            expected = model.eval()(**read).logits.softmax(-1)[0]
            for entry in json.loads(line)["top"]:
                assert model.config.id2label[entry["index"]] == entry["label"]
                off = max(off, abs(expected[entry["index"]].item() - entry["probability"]))
    assert off < 1e-5, f"{out}: off by {off}"
    print(f"fitted: {arch} in {dtype} opens in transformers, {len(titles)} titles, probabilities within {off:.1g}", flush=True)


def check_masked(build, arch, folder):
    """What `pretrain` makes: every parameter there, and masked words of the text that it learnt are found (by chance: one in hundreds)."""
    out = os.path.join(folder, f"masked-{arch}")
    subprocess.run([f"{build}/bin/rubric-trainer", "pretrain", "--text", f"{DATA}/train.txt", "--arch", arch, "--init", "random", "--size", "tiny", "--out", out,
                    "--epochs", "150", "--lr", "3e-3", "--hidden-dropout", "0", "--attention-dropout", "0", "--held-out", "1", "--eval-every", "100000"], check=True, stdout=subprocess.DEVNULL)
    with open(f"{out}/config.json", encoding="utf-8") as f:
        kind = getattr(transformers, json.load(f)["architectures"][0])
    model, info = kind.from_pretrained(out, output_loading_info=True)
    missing = [n for n in info["missing_keys"] if "decoder" not in n]  # the word table and its bias under second names
    assert not missing and not info["unexpected_keys"] and not info["mismatched_keys"], f"{out}: {info}"
    tokenizer = transformers.BertTokenizer(f"{out}/vocab.txt")
    with open(f"{DATA}/train.txt", encoding="utf-8") as f:
        titles = [line.split("\t")[0] for line in f]
    right = asked = 0
    with torch.no_grad():
        for title in titles:
            ids = torch.tensor(tokenizer(title)["input_ids"])
            for at in range(1, len(ids) - 1, 5):
                seen = ids.clone()
                seen[at] = tokenizer.mask_token_id
                right += int(model.eval()(input_ids=seen[None]).logits[0, at].argmax() == ids[at])
                asked += 1
    assert right > 0.1 * asked, f"{out}: finds {right} of {asked} masked words of its own text"
    print(f"pretrained: {arch} opens in transformers and finds {right} of {asked} masked words", flush=True)


with tempfile.TemporaryDirectory() as folder:
    for arch in ("bert", "albert", "nezha", "ernie"):
        check_masked(sys.argv[1], arch, folder)
    for arch, row in ROWS.items():
        for dtype in ("f32", "f16") if arch == "bert" else ("f32",):
            check(sys.argv[1], arch, row, dtype, folder)
