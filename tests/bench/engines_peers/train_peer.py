"""PyTorch's side of tests/bench/train: steps of fine-tuning as its users write them: padding to the longest title of a batch,
dropout, AdamW, clipping; fp32 or products in bfloat16 (autocast).

    train_peer.py DIR TITLES BATCH PRECISION STEPS THREADS     prints one line of JSON, as bench_train does"""
import json
import resource
import sys
import time

import torch
import transformers

MAX_TOKENS = 32


def main():
    directory, path, batch, precision, steps, threads = sys.argv[1:]
    batch, steps = int(batch), int(steps)
    torch.set_num_threads(int(threads))
    torch.manual_seed(1)
    tokenizer = transformers.BertTokenizer.from_pretrained(directory)
    model = transformers.BertForSequenceClassification.from_pretrained(directory, torch_dtype=torch.float32).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, weight_decay=0.01)
    with open(path, encoding="utf-8") as f:
        titles = [line.split("\t")[0] for line, _ in zip(f, range(batch * (steps + 1)))]
    batches = []
    for i in range(steps + 1):
        part = tokenizer(titles[i * batch:(i + 1) * batch], truncation=True, max_length=MAX_TOKENS, padding=True, return_tensors="pt")
        batches.append((part, torch.tensor([(i * batch + k) % 10 for k in range(batch)])))
    for number, (part, labels) in enumerate(batches):
        if number == 1:
            begin = time.monotonic()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
            loss = model(**part, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    seconds = time.monotonic() - begin
    print(json.dumps({"titles_per_s": batch * steps / seconds, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                      "version": torch.__version__}))


main()
