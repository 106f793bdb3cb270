#!/usr/bin/env python3
"""Makes linear.safetensors: synthetic titles, scikit-learn's TF-IDF table and features of them, and LinearSVC's scores.

Ids 3.. stand for made-up characters, 2 is the blank, 1 is an unknown character (a different one each time, so that min_df drops
its n-grams, as the project's [UNK] drops them).  Features are given by rows of the table sorted by the project's key: 21 bits
(id + 1) for each character, the last one lowest.

Made with Python 3.11, scikit-learn 1.9.1, scipy 1.17.1, numpy 2.4.6, safetensors 0.8.0:
    pip install scikit-learn==1.9.1 scipy==1.17.1 numpy==2.4.6 safetensors==0.8.0 && python3 tests/golden/linear.py
"""
import os

import numpy as np
from safetensors.numpy import save_file
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.svm import LinearSVC

V, LABELS = 40, 4
rng = np.random.default_rng(9)
unknown = iter(range(0x20000, 0x2FFFF))


def title(label):
    n = int(rng.integers(1, 20))
    ids = [int(x) for x in np.minimum(rng.geometric(0.12, n) + 2 + 3 * label, V - 1)]
    if n > 4 and rng.random() < 0.3:
        ids[n // 2] = 2
    if n > 2 and rng.random() < 0.3:
        ids[int(rng.integers(0, n))] = 1
    if rng.random() < 0.2:
        ids = ids * 2  # repeated n-grams: tf above 1
    return [i for k, i in enumerate(ids) if i != 2 or 0 < k < len(ids) - 1]


def text(ids):
    return "".join(" " if i == 2 else chr(next(unknown)) if i == 1 else chr(0x4E00 + i) for i in ids)


def key(ngram):
    k = 0
    for c in ngram:
        k = k << 21 | (2 if c == " " else ord(c) - 0x4E00) + 1
    return k


labels = [int(x) for x in rng.integers(0, LABELS, 120)]
train = [title(y) for y in labels]
dev = [title(int(y)) for y in rng.integers(0, LABELS, 40)] + [[1], [V - 1], [3, 3, 3, 3, 3, 3]]
vectorizer = TfidfVectorizer(analyzer="char", ngram_range=(1, 3), min_df=2, sublinear_tf=True)
x = vectorizer.fit_transform([text(t) for t in train])
names = vectorizer.get_feature_names_out()
order = np.argsort([key(n) for n in names])
place = np.empty_like(order)
place[order] = np.arange(len(order))
model = LinearSVC(C=1.0, random_state=0).fit(x, labels)
y = vectorizer.transform([text(t) for t in dev])
count, index, value = [0], [], []
for i in range(len(dev)):
    row = sorted((int(place[j]), v) for j, v in zip(y[i].indices, y[i].data))
    index += [r for r, _ in row]
    value += [v for _, v in row]
    count.append(len(index))


def packed(name, titles, out):
    out[name + ".ids"] = np.array(sum(titles, []), np.int32)
    out[name + ".start"] = np.cumsum([0] + [len(t) for t in titles]).astype(np.int32)


out = {}
packed("train", train, out)
packed("dev", dev, out)
out["ngrams"] = np.array([key(names[i]) for i in order], np.int64)
out["idf"] = vectorizer.idf_[order].astype(np.float32)
out["weight"] = np.ascontiguousarray(model.coef_[:, order], np.float32)  # save_file takes bytes as they lie
out["bias"] = model.intercept_.astype(np.float32)
out["features.start"] = np.array(count, np.int32)
out["features.index"] = np.array(index, np.int32)
out["features.value"] = np.array(value, np.float32)
out["scores"] = model.decision_function(y).astype(np.float32)
save_file(out, os.path.join(os.path.dirname(os.path.abspath(__file__)), "linear.safetensors"))
print(len(names), "n-grams;", len(index), "features of", len(dev), "titles")
