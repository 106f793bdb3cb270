#!/usr/bin/env python3
"""The golden bare BERT as PyTorch exports it. Usage: encoder_onnx.py ROWS OUT     (torch 2.8.0, transformers 4.40.2)"""
import os
import sys
import warnings

import torch
from transformers import BertModel

warnings.filterwarnings("ignore")
model = BertModel.from_pretrained(os.path.join(sys.argv[1], "bert-bare"), add_pooling_layer=False, attn_implementation="eager").eval()
ids = torch.tensor([[2, 5, 6, 7, 3]])
names = ["input_ids", "attention_mask", "token_type_ids"]
torch.onnx.export(model, (ids, torch.ones_like(ids), torch.zeros_like(ids)), sys.argv[2], input_names=names, output_names=["last_hidden_state"],
                  dynamic_axes={n: {0: "titles", 1: "ids"} for n in names + ["last_hidden_state"]}, opset_version=14, dynamo=False)
print(f"{sys.argv[2]}: {os.path.getsize(sys.argv[2])} bytes")
