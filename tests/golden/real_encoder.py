#!/usr/bin/env python3
"""A real pre-trained encoder on real titles, as a row that tests/models/test_transformers.c compares.
Usage: real_encoder.py MODEL TITLES OUT    (torch 2.8.0, transformers 4.40.2)

MODEL is a directory of a bare BERT, TITLES a file of labelled titles, of which the first 1,000 are taken. OUT/bert-bare gets
links to the model's files and expected.safetensors: embeddings and each layer's hidden states, one title at a time."""
import os
import sys

import torch
from safetensors.torch import save_file
from transformers import BertModel, BertTokenizer

N = 1000
source, titles_path, out = sys.argv[1:]
directory = os.path.join(out, "bert-bare")
os.makedirs(directory, exist_ok=True)
for name in os.listdir(source):
    link = os.path.join(directory, name)
    if not os.path.lexists(link):
        os.symlink(os.path.abspath(os.path.join(source, name)), link)
with open(titles_path, encoding="utf-8") as f:
    titles = [line.split("\t")[0] for line, _ in zip(f, range(N))]
tokenizer = BertTokenizer(os.path.join(source, "vocab.txt"))
model = BertModel.from_pretrained(source, add_pooling_layer=False, attn_implementation="eager").eval()
ids = [tokenizer(t)["input_ids"] for t in titles]
states = []
with torch.no_grad():
    for i in ids:
        states.append(model(torch.tensor([i]), output_hidden_states=True).hidden_states)
expected = {"hidden.%d" % k if k else "embeddings": torch.cat([s[k][0] for s in states]).contiguous() for k in range(len(states[0]))}
texts = [t.encode() for t in titles]
starts = lambda parts: torch.tensor([0] + [len(p) for p in parts]).cumsum(0).to(torch.int32)
expected.update(titles=torch.tensor(list(b"".join(texts)), dtype=torch.uint8), title_start=starts(texts), start=starts(ids),
                ids=torch.tensor([i for part in ids for i in part], dtype=torch.int32))
save_file(expected, os.path.join(directory, "expected.safetensors"))
print(f"bert-bare: {source}, {len(titles)} titles, {len(states[0]) - 1} layers", flush=True)
