#!/usr/bin/env python3
"""What recipes of fine-tuning do in PyTorch: three steps of each on the golden BERT, all of its titles in one batch.
Usage: transformers_recipes.py ROWS > recipes.json     (torch 2.8.0, transformers 4.40.2)

For each recipe: the options of `rubric-trainer fit`, the loss before each step (R-Drop's and FGM's own parts left out) and the loss of
the judged weights behind it. And the titles with their labels. Dropout is that of two recipes alone, `dropout` and `r-drop`: what PyTorch would
draw is replaced by the trainer's own numbers, Philox4x32-10 (Salmon et al., SC 2011) counted as ops/dropout.h and models/*_train.c say, so that both
drop the same. Besides, R-Drop of two different halves of a batch for test_transformer_train.c (rdrop: loss, and the gradient by the last matrix)."""
import json
import os
import sys

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
import numpy
import torch
from safetensors.torch import load_file
from transformers import BertForSequenceClassification

ROW = os.path.join(sys.argv[1], "bert")
LR, DECAY, STEPS, BETAS, EPS = 1e-3, 0.01, 3, (0.9, 0.999), 1e-8
BATCH, LENGTH, SEED, RATE, ALPHA = 12, 48, 1, 0.1, 4.0  # RATE as in config.json
COMMON = ["--lr", "1e-3", "--weight-decay", "0.01", "--schedule", "constant", "--warmup-share", "0", "--batch", str(BATCH), "--epochs", "3", "--eval-every", "1",
          "--patience", "0", "--precision", "fp32", "--max-length", str(LENGTH), "--seed", str(SEED)]
UNDROPPED = ["--hidden-dropout", "0", "--attention-dropout", "0"]
DROPPING = {"dropout": [], "r-drop": ["--r-drop", str(ALPHA)]}
RECIPES = {"plain": [], "smoothing": ["--label-smoothing", "0.1"], "fgm": ["--fgm", "0.5"], "ema": ["--ema", "0.9"], "layer-decay": ["--layer-decay", "0.7", "--head-lr", "2e-3"],
           "bertadam": ["--optimizer", "bertadam"], "clip": ["--clip", "0.1"], "parts": ["--micro-batch", "5"], **DROPPING}
torch.set_num_threads(1)

expected = load_file(os.path.join(ROW, "expected.safetensors"))
start, text_start, text = expected["start"].tolist(), expected["title_start"].tolist(), bytes(expected["titles"].tolist())
ids = [expected["ids"][a:b].tolist() for a, b in zip(start, start[1:])]
titles = [text[a:b].decode() for a, b in zip(text_start, text_start[1:])]
labels = torch.tensor([(3 * i + 1) % 10 for i in range(len(ids))])


def philox(stream, counter):
    """[..., 4] of 32 bits for the counters of a stream."""
    u = numpy.uint64
    low, half, c = u(0xFFFFFFFF), u(32), numpy.asarray(counter, dtype=u)
    x = [c & low, c >> half, numpy.full_like(c, stream & 0xFFFFFFFF), numpy.full_like(c, stream >> 32)]
    for k in range(10):
        keys = u((SEED + k * 0x9E3779B9) & 0xFFFFFFFF), u(k * 0xBB67AE85 & 0xFFFFFFFF)
        a, b = x[0] * u(0xD2511F53), x[2] * u(0xCD9E8D57)  # of 32 bits each: 64 hold the product
        x = [(b >> half) ^ x[1] ^ keys[0], b & low, (a >> half) ^ x[3] ^ keys[1], a & low]
    return numpy.stack(x, -1)


def order(epoch):
    """Fisher-Yates: the titles of an epoch."""
    of = list(range(BATCH))
    for i in range(BATCH, 1, -1):
        x = philox(0x6F726472 + (epoch << 32), i)
        j = (int(x[1]) << 32 | int(x[0])) % i
        of[i - 1], of[j] = of[j], of[i - 1]
    return of


class Counted(torch.nn.Module):
    """Dropout whose draws are counted: site tells places apart, title is the number of the one that runs, None while nothing is dropped."""
    step, title = 0, None

    def __init__(self, site, heads=None):
        super().__init__()
        self.site, self.heads = site, heads

    def forward(self, x):  # [1, rows, n] or [1, heads, rows, n] or [1, n]
        if Counted.title is None:
            return x
        n, rows = x.shape[-1], x.shape[-2] if x.dim() > 2 else 1
        if self.heads:  # rows of all heads, LENGTH for each
            row = Counted.title * self.heads * LENGTH + numpy.add.outer(numpy.arange(self.heads) * LENGTH, numpy.arange(rows)).reshape(-1)
        else:
            row = Counted.title * LENGTH + numpy.arange(rows) if x.dim() > 2 else numpy.array([Counted.title])
        stream = 0xD20C << 48 | 2 * Counted.step << 16 | self.site
        counter = numpy.add.outer(row.astype(numpy.uint64) << numpy.uint64(32), numpy.arange(0, n, 4, dtype=numpy.uint64))
        bits = philox(stream, counter).reshape(len(row), -1)[:, :n]
        kept = torch.from_numpy(bits >= int(RATE * 2**32)).reshape(x.shape)
        return x * kept / (1 - RATE)


def count_drops(model):
    model.bert.embeddings.dropout = Counted(1)
    for l, layer in enumerate(model.bert.encoder.layer):
        layer.attention.self.dropout = Counted(4 * (l + 1), model.config.num_attention_heads)
        layer.attention.output.dropout = Counted(4 * (l + 1) + 1)
        layer.output.dropout = Counted(4 * (l + 1) + 3)
    model.dropout = Counted(0xFF << 8 | 1)


def logits(model, rows=ids):
    return torch.cat([model(input_ids=torch.tensor([i])).logits for i in rows])


def dropped_logits(model, step, again):
    """Of all titles in their order; each is numbered by its place in the step's batch."""
    out, Counted.step = [None] * BATCH, step
    for place, i in enumerate(order(step)):
        Counted.title = place + again * BATCH
        out[i] = logits(model, [ids[i]])
    Counted.title = None
    return torch.cat(out)


def divergence(a, b):
    p, q = torch.log_softmax(a, -1), torch.log_softmax(b, -1)
    return ((p.exp() * (p - q)).sum(-1) + (q.exp() * (q - p)).sum(-1)).mean() / 2


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
    assert model.config.hidden_dropout_prob == model.config.attention_probs_dropout_prob == RATE and len(ids) == BATCH
    count_drops(model)
    params = dict(model.named_parameters())
    words = params["bert.embeddings.word_embeddings.weight"]
    m, v = ({n: torch.zeros_like(p) for n, p in params.items()} for _ in range(2))
    average = {n: p.detach().clone() for n, p in params.items()}
    smoothing = 0.1 if recipe == "smoothing" else 0.0
    loss_of = lambda s: torch.nn.functional.cross_entropy(logits(model), labels, label_smoothing=s)
    before, behind = [], []
    for step in range(1, STEPS + 1):
        model.zero_grad()
        if recipe in DROPPING:
            all_of = [dropped_logits(model, step - 1, again) for again in range(2 if recipe == "r-drop" else 1)]
            loss = sum(torch.nn.functional.cross_entropy(x, labels) for x in all_of) / len(all_of)
        else:
            loss = loss_of(smoothing)
        before.append(loss.item())
        (loss + ALPHA * divergence(*all_of) if recipe == "r-drop" else loss).backward()
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
    return {"name": recipe, "options": COMMON + RECIPES[recipe] + ([] if recipe in DROPPING else UNDROPPED), "train_loss": before, "dev_loss": behind}


def r_drop():
    model = BertForSequenceClassification.from_pretrained(ROW).double().eval()
    half = len(ids) // 2
    a, b = logits(model, ids[:half]), logits(model, ids[half:])
    ce = (torch.nn.functional.cross_entropy(a, labels[:half]) + torch.nn.functional.cross_entropy(b, labels[:half])) / 2
    (ce + ALPHA * divergence(a, b)).backward()
    return {"alpha": int(ALPHA), "loss": ce.item(), "gradient": [round(x, 9) for x in model.classifier.weight.grad.flatten().tolist()]}


print(json.dumps({"titles": [[t, l] for t, l in zip(titles, labels.tolist())], "recipes": [train(r) for r in RECIPES], "rdrop": r_drop()}, ensure_ascii=False))
