#!/usr/bin/env python3
"""Makes textcnn.safetensors: weights, a batch, and what JAX says its logits, loss and gradients are.

The network is written the plain way (gather, zero vectors after the title, a convolution per width, ReLU, max over time), not
the way models/textcnn.c computes it.  Weights are scaled so that logits of different titles differ by far more than any
tolerance; ids are synthetic.  Tensors are named as in a model file; gradients have "grad." before the name.

Made with Python 3.11, jax 0.10.2 (CPU), numpy 2.4.6, safetensors 0.8.0:
    pip install jax==0.10.2 numpy==2.4.6 safetensors==0.8.0 && python3 tests/golden/textcnn.py
"""
import os

os.environ["JAX_ENABLE_X64"] = "1"  # the oracle is in double; what is stored is rounded once

import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import save_file

V, E, F, WIDTHS, LABELS, SMOOTHING = 40, 6, 67, (2, 3, 4), 5, 0.1
rng = np.random.default_rng(20140825)


def make_weights():
    w = {"embedding.weight": rng.normal(0, 0.7, (V, E))}
    w["embedding.weight"][0] = 0
    for i, width in enumerate(WIDTHS):
        w[f"convs.{i}.weight"] = rng.normal(0, 1.6 / np.sqrt(E * width), (F, E, width))
        w[f"convs.{i}.bias"] = rng.normal(0, 0.2, F)
    w["classifier.weight"] = rng.normal(0, 1.6 / np.sqrt(F * len(WIDTHS)), (LABELS, F * len(WIDTHS)))
    w["classifier.bias"] = rng.normal(0, 0.2, LABELS)
    return {k: v.astype(np.float32) for k, v in w.items()}


def logits_of(w, title):
    x = jnp.concatenate([w["embedding.weight"][jnp.array(title)], jnp.zeros((max(WIDTHS) - 1, E))])
    pooled = []
    for i, width in enumerate(WIDTHS):
        windows = jnp.stack([x[t : t + width].T for t in range(len(title))])  # [T, E, width]
        conv = jnp.einsum("tek,fek->tf", windows, w[f"convs.{i}.weight"]) + w[f"convs.{i}.bias"]
        pooled.append(jnp.max(jax.nn.relu(conv), axis=0))
    return w["classifier.weight"] @ jnp.concatenate(pooled) + w["classifier.bias"]


def loss_of(w, titles, labels):
    total = 0
    for title, label in zip(titles, labels):
        log_p = jax.nn.log_softmax(logits_of(w, title))
        total -= (1 - SMOOTHING) * log_p[label] + SMOOTHING * jnp.mean(log_p)
    return total / len(titles)


weights = make_weights()
lengths = [1, 2, 3, 4, 5, 9, 17, 24, 1, 7]
titles = [rng.integers(1, V, n).tolist() for n in lengths]
titles[5] = [7] * 9  # one character again and again
labels = rng.integers(0, LABELS, len(titles)).tolist()
double = {k: jnp.asarray(v, jnp.float64) for k, v in weights.items()}
grads = jax.grad(loss_of)(double, titles, labels)
logits = np.stack([np.asarray(logits_of(double, t)) for t in titles])
print("spread of logits over titles:", logits.std(axis=0))

out = dict(weights)
out.update({"grad." + k: np.ascontiguousarray(v, np.float32) for k, v in grads.items()})
out["ids"] = np.array(sum(titles, []), np.int32)
out["start"] = np.cumsum([0] + lengths).astype(np.int32)
out["labels"] = np.array(labels, np.int32)
out["logits"] = logits.astype(np.float32)
out["loss"] = np.array([loss_of(double, titles, labels)], np.float32)
save_file(out, os.path.join(os.path.dirname(os.path.abspath(__file__)), "textcnn.safetensors"))
