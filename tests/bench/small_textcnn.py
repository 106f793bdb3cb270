"""A TextCNN directory in PyTorch or ONNX Runtime on one thread:  small_textcnn.py pytorch|onnxruntime DIR TITLES
Prints titles a second of the network alone (ids are ready), batches of 128 padded to their longest title, the accuracy and the resident MB."""
import json
import os
import resource
import sys
import tempfile
import time

import numpy as np
import torch
from safetensors.numpy import load_file

engine, directory, titles = sys.argv[1:4]
torch.set_num_threads(1)
with open(os.path.join(directory, "config.json"), encoding="utf-8") as f:
    config = json.load(f)
with open(os.path.join(directory, "vocab.txt"), encoding="utf-8") as f:
    vocab = {line.rstrip("\n"): i for i, line in enumerate(f)}
with open(titles, encoding="utf-8") as f:
    lines = [line.rstrip("\n").rsplit("\t", 1) for line in f]
ids = [[vocab.get(c if not c.isspace() else "[SPACE]", 1) for c in " ".join(t.lower().split())][: config["max_length"]] for t, _ in lines]
labels = np.array([int(y) for _, y in lines])
weights = {k: torch.tensor(v.astype(np.float32)) for k, v in load_file(os.path.join(directory, "model.safetensors")).items()}


class TextCNN(torch.nn.Module):
    """Kim's, every width over the title padded behind by width - 1."""

    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding.from_pretrained(weights["embedding.weight"])
        self.convs = torch.nn.ModuleList()
        for k, width in enumerate(config["filter_widths"]):
            conv = torch.nn.Conv1d(config["embedding_size"], config["num_filters"], width)
            conv.weight.data, conv.bias.data = weights[f"convs.{k}.weight"], weights[f"convs.{k}.bias"]
            self.convs.append(conv)
        self.classifier = torch.nn.Linear(*weights["classifier.weight"].shape[::-1])
        self.classifier.weight.data, self.classifier.bias.data = weights["classifier.weight"], weights["classifier.bias"]

    def forward(self, x):
        e = self.embedding(x).transpose(1, 2)
        rows = [torch.relu(conv(torch.nn.functional.pad(e, (0, conv.kernel_size[0] - 1)))).amax(2) for conv in self.convs]
        return self.classifier(torch.cat(rows, 1)).softmax(1)


model = TextCNN().eval()
batches = []
for i in range(0, len(ids), 128):
    part = ids[i:i + 128]
    longest = max(map(len, part))
    batches.append(np.array([t + [0] * (longest - len(t)) for t in part], np.int64))
if engine == "pytorch":
    tensors = [torch.from_numpy(b) for b in batches]

    def run(i):
        with torch.inference_mode():
            return model(tensors[i]).numpy()
else:
    import onnxruntime

    with tempfile.TemporaryDirectory() as work:
        path = os.path.join(work, "m.onnx")
        torch.onnx.export(model, (torch.from_numpy(batches[0]),), path, input_names=["x"], output_names=["p"], opset_version=17, dynamo=False,
                          dynamic_axes={"x": {0: "n", 1: "t"}, "p": {0: "n"}})
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(i):
        return session.run(None, {"x": batches[i]})[0]

best, right = 1e9, 0
for attempt in range(2):
    start = time.perf_counter()
    out = [run(i) for i in range(len(batches))]
    best = min(best, time.perf_counter() - start)
right = (np.concatenate(out).argmax(1) == labels).mean()
print(len(ids) / best, right, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
