#!/usr/bin/env python3
"""Loss and gradients of masked-language models, as PyTorch computes them. Usage: transformers_masked.py ROWS OUT

For the golden rows (tests/golden/transformers) whose family is pre-trained by masked words, OUT/<row>.safetensors:
    row, word I32         every fourth id's place in the row's `ids`, and the word asked there
    loss F32              the mean cross-entropy over what is asked, nothing dropped
    head.<name> F32       weights of the head, drawn here: the row's own checkpoint classifies
    grad.<name> F32       the loss's gradient by each weight, computed in double
needs torch 2.8.0, transformers 4.40.2"""
import os
import sys

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
import torch
from safetensors.torch import load_file, save_file
from transformers import AlbertForMaskedLM, BertForMaskedLM, ErnieForMaskedLM, NezhaForMaskedLM

CLASSES = {"bert": BertForMaskedLM, "ernie": ErnieForMaskedLM, "nezha": NezhaForMaskedLM, "albert": AlbertForMaskedLM}


def make(row, directory, path):
    model = CLASSES[row].from_pretrained(directory).double().eval()
    expected = load_file(os.path.join(directory, "expected.safetensors"))
    start, flat = expected["start"].tolist(), expected["ids"].tolist()
    places = list(range(1, len(flat), 4))
    words = [(7 * p + 3) % model.config.vocab_size for p in places]
    torch.manual_seed(5)
    heads = {n: p for n, p in model.named_parameters() if "predictions" in n}
    out = {"row": torch.tensor(places, dtype=torch.int32), "word": torch.tensor(words, dtype=torch.int32)}
    with torch.no_grad():
        for name, p in heads.items():
            p.copy_((torch.randn(p.shape) * 0.3 + (1 if "LayerNorm.weight" in name else 0)).float())
            out["head." + name] = p.detach().float().contiguous()
    loss = 0
    for a, b in zip(start, start[1:]):
        asked = [(p - a, w) for p, w in zip(places, words) if a <= p < b]
        if asked:
            logits = model(input_ids=torch.tensor([flat[a:b]])).logits[0][[p for p, _ in asked]]
            loss = loss + torch.nn.functional.cross_entropy(logits, torch.tensor([w for _, w in asked]), reduction="sum")
    loss = loss / len(places)
    loss.backward()
    out["loss"] = loss.detach().float().reshape(1)
    for name, p in model.named_parameters():
        out["grad." + name] = (p.grad if p.grad is not None else torch.zeros_like(p)).float().contiguous()
    save_file(out, path)
    print(f"{row}: loss {loss.item():.4f}, {len(places)} asked, {os.path.getsize(path)} bytes", flush=True)


for row in CLASSES:
    make(row, os.path.join(sys.argv[1], row), os.path.join(sys.argv[2], row + ".safetensors"))
