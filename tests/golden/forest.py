#!/usr/bin/env python3
"""Makes forest.safetensors: scikit-learn's random forest on the titles of linear.py, in the tensors of models/forest.h, and its
probabilities of the dev titles.

scikit-learn compares float features with double thresholds: x <= t is x <= the largest float that is not above t.
Run where linear.py runs:  python3 tests/golden/forest.py
"""
import os

import numpy as np
from linear import LABELS, dev, labels, out as linear, packed, place, x, y
from safetensors.numpy import save_file
from sklearn.ensemble import RandomForestClassifier

forest = RandomForestClassifier(n_estimators=7, min_samples_leaf=2, max_depth=9, random_state=3).fit(x.astype(np.float32), labels)
root, feature, threshold, child, leaf = [], [], [], [], []


def put(tree, i):
    """Node i and those below it; where it is."""
    if tree.children_left[i] < 0:
        p = tree.value[i, 0]
        leaf.append(p / p.sum())
        return -len(leaf)
    at = len(feature)
    t = np.float32(tree.threshold[i])
    feature.append(int(place[tree.feature[i]]))
    threshold.append(np.nextafter(t, np.float32(-np.inf)) if t > tree.threshold[i] else t)
    child.append([0, 0])
    child[at][0] = put(tree, tree.children_left[i])
    child[at][1] = put(tree, tree.children_right[i])
    return at


for one in forest.estimators_:
    root.append(put(one.tree_, 0))
out = {k: linear[k] for k in ("ngrams", "idf")}
packed("dev", dev, out)
out["root"] = np.array(root, np.int32)
out["feature"] = np.array(feature, np.int32)
out["threshold"] = np.array(threshold, np.float32)
out["child"] = np.array(child, np.int32)
out["leaf"] = np.array(leaf, np.float32)
out["probabilities"] = forest.predict_proba(y.astype(np.float32)).astype(np.float32)
assert out["leaf"].shape[1] == LABELS
save_file(out, os.path.join(os.path.dirname(os.path.abspath(__file__)), "forest.safetensors"))
print(len(root), "trees,", len(feature), "questions,", len(leaf), "leaves")
