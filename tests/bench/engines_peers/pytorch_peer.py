"""PyTorch: fp32, bf16 (autocast), int8 (dynamic quantisation of nn.Linear), each with all threads on one work ("intra"),
works side by side on one thread each ("streams"), and fp32 and bf16 through torch.compile ("compile", which needs a C++
compiler). And what all contestants run:

    pytorch_peer.py make ROW DIR DATA    DIR/hf: a classifier of base size with random weights, as transformers saves it
    pytorch_peer.py work ROW DIR TITLES K FILE
                                         FILE: the first K titles, their ids, calibration titles and PyTorch's answers
"""
import json
import os
import shutil
import sys

import torch
import transformers

import peer

SEED = 20261123
CALIBRATION = 128


def config(row, labels):
    common = {"num_labels": len(labels), "id2label": dict(enumerate(labels)),
              "label2id": {name: i for i, name in enumerate(labels)}}
    if row == "bert":
        return transformers.BertConfig(vocab_size=21128, **common)
    if row == "albert":
        return transformers.AlbertConfig(vocab_size=21128, embedding_size=128, hidden_size=768, num_attention_heads=12,
                                         intermediate_size=3072, hidden_act="relu", **common)
    return transformers.XLNetConfig(vocab_size=32000, d_model=768, n_layer=12, n_head=12, d_inner=3072,
                                    ff_activation="relu", **common)


def scale(model):
    """Start values give all titles nearly the same logits; with these the answers differ, and a contestant that leaves
    something out is seen. They are no faster or slower to multiply."""
    with torch.no_grad():
        for name, w in model.named_parameters():
            if w.dim() == 1 or "bias" in name or "seg_embed" in name:
                w.add_(torch.randn_like(w) * 0.2)
            elif "embedding" in name and "mapping" not in name:
                w.normal_(0, 0.7)
            else:
                fan_in = w.shape[0] if w.dim() == 3 else w.shape[1]
                w.normal_(0, 1.6 / fan_in ** 0.5)


def spread(row, model):
    """Makes the head's logits stronger and their mean over random titles zero, so that all classes are answered."""
    head = model.logits_proj if row == "xlnet" else model.classifier
    ids = torch.randint(200, 20000, (64, 18))
    with torch.no_grad():
        head.weight.mul_(6)
        head.bias.sub_(model(input_ids=ids).logits.mean(0))


def make(row, folder, data):
    with open(os.path.join(data, "thucnews/class.txt"), encoding="utf-8") as f:
        labels = f.read().split()
    torch.manual_seed(SEED)
    model = transformers.AutoModelForSequenceClassification.from_config(config(row, labels))
    scale(model.eval())
    spread(row, model)
    part = os.path.join(folder, "hf.part")
    shutil.rmtree(part, ignore_errors=True)
    model.save_pretrained(part)
    name = ("xlnet-zh", "spiece.model") if row == "xlnet" else ("bert-base-chinese", "vocab.txt")
    shutil.copyfile(os.path.join(data, "vocab", *name), os.path.join(part, name[1]))
    os.replace(part, os.path.join(folder, "hf"))


def tokenizer(row, folder):
    if row == "xlnet":
        return transformers.XLNetTokenizer(os.path.join(folder, "hf", "spiece.model"))
    return transformers.BertTokenizer(os.path.join(folder, "hf", "vocab.txt"))


def work(row, folder, titles_file, k, out):
    with open(titles_file, encoding="utf-8") as f:
        titles = [line.rstrip("\n").split("\t")[0] for line in f]
    token = tokenizer(row, folder)

    def encode(some):
        return [token.encode(title, truncation=True, max_length=peer.PADDED) for title in some]
    ids = encode(titles[:int(k)])
    model = load(folder)
    answers = []
    with torch.inference_mode():
        for title in ids:
            x = {name: torch.from_numpy(v) for name, v in peer.arrays(row, [title], len(title)).items()}
            answers.append(torch.softmax(model(**x).logits[0], -1).tolist())
    # The calibration titles are the file's last: not among those that are measured unless all are.
    with open(out + ".part", "w", encoding="utf-8") as f:
        json.dump({"titles": titles[:int(k)], "ids": ids, "calibration": encode(titles[-CALIBRATION:]),
                   "answers": answers}, f)
    os.replace(out + ".part", out)


def load(folder):
    return transformers.AutoModelForSequenceClassification.from_pretrained(os.path.join(folder, "hf")).eval()


class Engine:
    version = torch.__version__

    def __init__(self, args):
        self.streams = args.threads if args.setting == "streams" else 1
        threads = args.threads // self.streams
        torch.set_num_threads(threads)
        self.callers = peer.Callers(self.streams, lambda: torch.set_num_threads(threads))
        self.model = load(args.model)
        self.bf16 = args.precision == "bf16"
        if args.precision == "int8":
            self.model = torch.ao.quantization.quantize_dynamic(self.model, {torch.nn.Linear}, dtype=torch.qint8)
        self.setting = f"{self.streams} x {threads} threads"
        if args.setting == "compile":
            self.model = torch.compile(self.model, dynamic=True)
            self.setting += ", torch.compile"

    def prepare(self, x):
        return {name: torch.from_numpy(v) for name, v in x.items()}

    def one(self, x):
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            return self.model(**x).logits.float()

    def run(self, works):
        return self.callers.map(self.one, works)


if __name__ == "__main__":
    verbs = {"make": make, "work": work}
    if sys.argv[1] in verbs:
        verbs[sys.argv[1]](*sys.argv[2:])
    else:
        peer.serve(Engine)
