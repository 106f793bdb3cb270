#!/usr/bin/env python3
"""Loss and gradients of every golden transformer, as PyTorch computes them. Usage: transformers_gradients.py ROWS OUT [ROW …]

For each row of ROWS (tests/golden/transformers, made by transformers_rows.py) that has a head, OUT/<row>.safetensors:
    labels I32            of the row's titles
    loss F32              the mean cross-entropy, nothing dropped
    loss.smooth F32       with label smoothing 0.1 and class weights 1, 1.25, 1.5, … (each title's loss times its class's weight)
    grad.<name> F32       the loss's gradient by each weight, by the weight's name
    smooth.<name> F32     that of the second loss by the last matrix
    bf16 F32              ‖Δ‖ / ‖reference‖ of all gradients together where PyTorch's products are in bfloat16 (autocast)
    ten F32               the loss before each of ten steps of AdamW (lr 1e-3, decay 0.01 but of biases and norms, clipped to 1)
needs torch 2.8.0, transformers 4.40.2"""
import json
import os
import sys

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
import torch
from safetensors.torch import load_file, save_file
from transformers import (AlbertForSequenceClassification, BertForSequenceClassification, ElectraForSequenceClassification, ErnieForSequenceClassification,
                          MT5ForSequenceClassification, NezhaForSequenceClassification, T5ForSequenceClassification, XLNetForSequenceClassification)

CLASSES = {"bert": BertForSequenceClassification, "ernie": ErnieForSequenceClassification, "electra": ElectraForSequenceClassification,
           "albert": AlbertForSequenceClassification, "nezha": NezhaForSequenceClassification, "xlnet": XLNetForSequenceClassification,
           "t5": T5ForSequenceClassification, "mt5": MT5ForSequenceClassification}
LR, DECAY, STEPS = 1e-3, 0.01, 10


def logits(kind, model, ids):
    """Title by title, so that neither padding nor a mask takes part."""
    rows = []
    for i in ids:
        arguments = {"input_ids": torch.tensor([i])}
        if kind == "xlnet":
            arguments["token_type_ids"] = torch.tensor([[0] * (len(i) - 1) + [2]])
        rows.append(model(**arguments).logits)
    return torch.cat(rows)


def losses(x, labels):
    each = torch.nn.functional.cross_entropy(x, labels, reduction="none", label_smoothing=0.1)
    weights = 1 + 0.25 * torch.arange(x.shape[1])
    return torch.nn.functional.cross_entropy(x, labels), (each * weights[labels]).mean()


def make(directory, path):
    with open(os.path.join(directory, "config.json"), encoding="utf-8") as f:
        kind = json.load(f)["model_type"]
    expected = load_file(os.path.join(directory, "expected.safetensors"))
    start = expected["start"].tolist()
    ids = [expected["ids"][a:b].tolist() for a, b in zip(start, start[1:])]
    labels = torch.tensor([(3 * i + 1) % 10 for i in range(len(ids))])
    model = CLASSES[kind].from_pretrained(directory).float().eval()
    out = {"labels": labels.to(torch.int32)}
    exact = CLASSES[kind].from_pretrained(directory).double().eval()
    loss, smooth = losses(logits(kind, exact, ids), labels)
    last = [n for n, _ in exact.named_parameters() if n.endswith(("classifier.weight", "out_proj.weight", "logits_proj.weight"))][-1]
    out["smooth." + last] = torch.autograd.grad(smooth, dict(exact.named_parameters())[last], retain_graph=True)[0].float()
    loss.backward()
    out["loss"], out["loss.smooth"] = loss.detach().float().reshape(1), smooth.detach().float().reshape(1)
    for name, p in exact.named_parameters():
        out["grad." + name] = (p.grad if p.grad is not None else torch.zeros_like(p)).float().contiguous()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = logits(kind, model, ids)
    losses(low.float(), labels)[0].backward()
    pairs = [(p.grad.double() if p.grad is not None else torch.zeros_like(p).double(), out["grad." + n].double()) for n, p in model.named_parameters()]
    out["bf16"] = (sum((a - b).square().sum() for a, b in pairs) / sum(b.square().sum() for _, b in pairs)).sqrt().float().reshape(1)
    plain = [p for n, p in model.named_parameters() if "bias" in n or "norm" in n.lower()]
    decayed = [p for n, p in model.named_parameters() if not ("bias" in n or "norm" in n.lower())]
    optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": DECAY}, {"params": plain, "weight_decay": 0.0}], lr=LR)
    ten = []
    for _ in range(STEPS):
        loss = losses(logits(kind, model, ids), labels)[0]
        ten.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    out["ten"] = torch.tensor(ten)
    save_file(out, path)
    print(f"{os.path.basename(directory)}: bfloat16 off by {out['bf16'].item():.3f}, loss {ten[0]:.4f} to {ten[-1]:.4f}, {len(out)} tensors, {os.path.getsize(path)} bytes", flush=True)


for row in sys.argv[3:] or ["bert", "bert-odd", "macbert", "ernie", "electra", "electra-small", "albert", "albert-gelu", "albert-groups", "nezha", "xlnet", "xlnet-gelu", "t5", "mt5"]:
    make(os.path.join(sys.argv[1], row), os.path.join(sys.argv[2], row + ".safetensors"))
