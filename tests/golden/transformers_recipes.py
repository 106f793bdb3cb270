#!/usr/bin/env python3
"""What recipes of fine-tuning do in PyTorch: three steps of each on the golden BERT, all of its titles in one batch, nothing dropped.
Usage: transformers_recipes.py ROWS > recipes.json     (torch 2.8.0, transformers 4.40.2)

For each recipe: the options of `rubric-trainer fit`, the loss before each step (R-Drop's and FGM's own parts left out) and the loss of
the judged weights behind it. And the titles with their labels. R-Drop without dropout adds nothing, so that it is a case of its own in
test_transformer_train.c: two different halves of a batch (rdrop: loss, and the gradient by the last matrix)."""
import json
import os
import sys

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
import torch
from safetensors.torch import load_file
from transformers import BertForSequenceClassification

ROW = os.path.join(sys.argv[1], "bert")
LR, DECAY, STEPS, BETAS, EPS = 1e-3, 0.01, 3, (0.9, 0.999), 1e-8
COMMON = ["--lr", "1e-3", "--weight-decay", "0.01", "--schedule", "constant", "--warmup-share", "0", "--hidden-dropout", "0", "--attention-dropout", "0",
          "--batch", "12", "--epochs", "3", "--eval-every", "1", "--patience", "0", "--precision", "fp32", "--max-length", "48"]
RECIPES = {"plain": [], "smoothing": ["--label-smoothing", "0.1"], "fgm": ["--fgm", "0.5"], "ema": ["--ema", "0.9"], "layer-decay": ["--layer-decay", "0.7", "--head-lr", "2e-3"],
           "bertadam": ["--optimizer", "bertadam"], "clip": ["--clip", "0.1"], "parts": ["--micro-batch", "5"]}

expected = load_file(os.path.join(ROW, "expected.safetensors"))
start, text_start, text = expected["start"].tolist(), expected["title_start"].tolist(), bytes(expected["titles"].tolist())
ids = [expected["ids"][a:b].tolist() for a, b in zip(start, start[1:])]
titles = [text[a:b].decode() for a, b in zip(text_start, text_start[1:])]
labels = torch.tensor([(3 * i + 1) % 10 for i in range(len(ids))])


def logits(model, rows=ids):
    return torch.cat([model(input_ids=torch.tensor([i])).logits for i in rows])


def factor(name, recipe, layers):
    if recipe != "layer-decay":
        return 1.0
    if name.startswith("classifier") or "pooler" in name:
        return 2.0
    if ".layer." in name:
        return 0.7 ** (layers - int(name.split(".layer.")[1].split(".")[0]))
    return 0.7 ** (layers + 1)


def train(recipe):
    model = BertForSequenceClassification.from_pretrained(ROW).double().eval()
    params = dict(model.named_parameters())
    words = params["bert.embeddings.word_embeddings.weight"]
    m, v = ({n: torch.zeros_like(p) for n, p in params.items()} for _ in range(2))
    average = {n: p.detach().clone() for n, p in params.items()}
    smoothing = 0.1 if recipe == "smoothing" else 0.0
    loss_of = lambda s: torch.nn.functional.cross_entropy(logits(model), labels, label_smoothing=s)
    before, behind = [], []
    for step in range(1, STEPS + 1):
        model.zero_grad()
        loss = loss_of(smoothing)
        before.append(loss.item())
        loss.backward()
        if recipe == "fgm":
            kept = words.detach().clone()
            words.data.add_(0.5 * words.grad / words.grad.norm())
            loss_of(smoothing).backward()
            words.data.copy_(kept)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1 if recipe == "clip" else 1.0)
        with torch.no_grad():
            for n, p in params.items():
                lr = LR * factor(n, recipe, model.config.num_hidden_layers)
                if not ("bias" in n or "LayerNorm" in n):
                    p.mul_(1 - lr * DECAY)
                m[n].mul_(BETAS[0]).add_(p.grad, alpha=1 - BETAS[0])
                v[n].mul_(BETAS[1]).addcmul_(p.grad, p.grad, value=1 - BETAS[1])
                c = (1.0, 1.0) if recipe == "bertadam" else (1 - BETAS[0] ** step, 1 - BETAS[1] ** step)
                p.sub_(lr * (m[n] / c[0]) / ((v[n] / c[1]).sqrt() + EPS))
                d = min((1 + step) / (10 + step), 0.9)
                average[n].add_(p - average[n], alpha=1 - d)
            kept = {n: p.clone() for n, p in params.items()}
            for n, p in params.items():
                p.copy_(average[n] if recipe == "ema" else p)
            behind.append(loss_of(0.0).item())
            for n, p in params.items():
                p.copy_(kept[n])
    return {"name": recipe, "options": COMMON + RECIPES[recipe], "train_loss": before, "dev_loss": behind}


def r_drop():
    model = BertForSequenceClassification.from_pretrained(ROW).double().eval()
    half = len(ids) // 2
    a, b = logits(model, ids[:half]), logits(model, ids[half:])
    p, q = torch.log_softmax(a, -1), torch.log_softmax(b, -1)
    ce = (torch.nn.functional.cross_entropy(a, labels[:half]) + torch.nn.functional.cross_entropy(b, labels[:half])) / 2
    kl = ((p.exp() * (p - q)).sum(-1) + (q.exp() * (q - p)).sum(-1)).mean() / 2
    (ce + 4 * kl).backward()
    return {"alpha": 4, "loss": ce.item(), "gradient": [round(x, 9) for x in model.classifier.weight.grad.flatten().tolist()]}


print(json.dumps({"titles": [[t, l] for t, l in zip(titles, labels.tolist())], "recipes": [train(r) for r in RECIPES], "rdrop": r_drop()}, ensure_ascii=False))
