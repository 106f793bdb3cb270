#!/usr/bin/env python3
"""Files of torch.save() for tests/models/test_torch_file.c. Usage: torch_files.py OUT ROW_DIR     (torch 2.8.0, safetensors)

small.bin, small-legacy.bin   a state dictionary with every kind of tensor, in both layouts; nested.pt: inside a training checkpoint
bert.bin                      the weights of ROW_DIR with LayerNorm's old names, as pytorch_model.bin
bert-hand.pt                  the same saved by hand in the older layout: no prefix, a head called fc
quantized.pt, dynamic.pt      what is refused: a quantised tensor, the state dictionary of quantize_dynamic(),
whole.pt, code.pt             a whole model, a pickle that names os.system,
negated.pt, expanded.pt,      a view whose sign is turned when it is used, one element as many, the newest protocol of pickles,
protocol.pt, short.pt         a type that no model has"""
import collections
import pickle
import sys
import zipfile

import torch
from safetensors.torch import load_file

out, row = sys.argv[1], sys.argv[2]
base = torch.arange(24, dtype=torch.float32)
state = collections.OrderedDict(
    f32=base.reshape(2, 3, 4) * 0.5, f16=base.half() * 0.25, bf16=base[:6].bfloat16(), f64=base[:3].double() / 3, i64=torch.tensor([-5, 7]),
    i32=torch.tensor([[1], [2]], dtype=torch.int32), flags=torch.tensor([True, False]), bytes=torch.tensor([1, 255], dtype=torch.uint8),
    parameter=torch.nn.Parameter(torch.ones(3) * 2), whole=base, tail=base[20:], turned=base.reshape(4, 6).t(), scalar=torch.tensor(3.5), empty=torch.zeros(0, 4))
state._metadata = {"": {"version": 1}}
torch.save(state, f"{out}/small.bin")
torch.save(state, f"{out}/small-legacy.bin", _use_new_zipfile_serialization=False)
torch.save({"epoch": 3, "loss": 0.5, "args": ["a", None, (1, 2)], "optimizer": {"state": {0: {"step": torch.tensor(1.0)}}}, "best": torch.tensor(0.9),
            "state_dict": {"w": base[:4], "steps": 7}}, f"{out}/nested.pt")

weights = load_file(f"{row}/model.safetensors")
old = {n.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): t for n, t in weights.items()}
torch.save(old, f"{out}/bert.bin")
hand = {n.removeprefix("bert.").replace("classifier.", "fc."): t for n, t in weights.items()}
torch.save(hand, f"{out}/bert-hand.pt", _use_new_zipfile_serialization=False)

torch.save({"w": torch.quantize_per_tensor(base, 0.1, 0, torch.qint8)}, f"{out}/quantized.pt")
with zipfile.ZipFile(f"{out}/code.pt", "w", zipfile.ZIP_STORED) as z:
    z.writestr(zipfile.ZipInfo("code/data.pkl"), pickle.dumps(print, protocol=2).replace(b"__builtin__\nprint", b"os\nsystem"))

one = torch.nn.Sequential(torch.nn.Linear(2, 2))
with torch.no_grad():
    for x in one.parameters():
        x.fill_(0.5)
torch.save(torch.ao.quantization.quantize_dynamic(one, {torch.nn.Linear}, dtype=torch.qint8).state_dict(), f"{out}/dynamic.pt")
torch.save(one, f"{out}/whole.pt")
torch.save({"w": torch._neg_view(base[:3])}, f"{out}/negated.pt")
torch.save({"w": torch.tensor(1.0).expand(4)}, f"{out}/expanded.pt")
torch.save({"w": base[:2]}, f"{out}/protocol.pt", pickle_protocol=4)
torch.save({"w": base[:2].short()}, f"{out}/short.pt")
