#!/usr/bin/env python3
"""Words as jieba cuts them and as this project does, from the same files. Usage: jieba_words.py SEGMENT_WORDS [TITLES …], or jieba_words.py golden
"golden" writes tests/golden/segment/expected.txt: the titles there, cut by jieba with the dictionary and tables there.
SEGMENT_WORDS: build/bin/segment_words; TITLES: title<TAB>label. Without any, the titles of the small data set. Odd lines are always among them.
needs jieba 0.42.1 (Debian's python3-jieba)"""
import logging
import os
import random
import subprocess
import sys

import jieba

jieba.setLogLevel(logging.ERROR)
GAP = "\u2060"
ODD = ["", " ", "iPhone 15 Pro发布", "涨3.5%，跌-2.1%", "C++和C#", "A.B.C", "1.2.3%%", "．。·", "a" * 300, "龘龘龘", "第1.5期", "+#&._%-", "２０１０年", "é́́x", "🏆夺冠🏆", "\r", "x\ty",
       "王小明和李小红的杭研大厦", "他来到了网易杭研大厦", "乒乓球拍卖完了", "鿕鿖鿗", "\u4dff\u4e00"]


def compare(binary, titles, name):
    done = subprocess.run([binary, os.path.dirname(jieba.__file__)], input=("\n".join(titles) + "\n").encode(), stdout=subprocess.PIPE, check=True)
    got = done.stdout.decode().split("\n")[:-1]
    assert len(got) == len(titles), f"{name}: {len(got)} lines of {len(titles)}"
    wrong = [(t, g) for t, g in zip(titles, got) if g != GAP.join(jieba.lcut(t))]
    for title, words in wrong[:5]:
        print(f"{title!r}: {words.replace(GAP, '/')!r}, jieba: {'/'.join(jieba.lcut(title))!r}")
    print(f"words: {name}: {len(titles)} titles, {len(wrong)} differ", flush=True)
    return len(wrong)


def read(path):
    with open(path, encoding="utf-8") as f:
        return [line.rstrip("\n").rsplit("\t", 1)[0] for line in f]


def golden(folder):
    tables = []
    for name in ("start", "trans", "emit"):
        scope = {}
        with open(f"{folder}/prob_{name}.py", encoding="utf-8") as f:
            exec(f.read(), scope)
        tables.append(scope["P"])
    jieba.finalseg.start_P, jieba.finalseg.trans_P, jieba.finalseg.emit_P = tables
    cutter = jieba.Tokenizer(os.path.abspath(f"{folder}/dict.txt"))
    cutter.cache_file = f"{os.getpid()}.cache"
    with open(f"{folder}/titles.txt", encoding="utf-8") as f, open(f"{folder}/expected.txt", "w", encoding="utf-8") as out:
        for title in f:
            out.write(GAP.join(cutter.lcut(title.rstrip("\n"))) + "\n")


if sys.argv[1] == "golden":
    golden("tests/golden/segment")
    sys.exit(0)
files = sys.argv[2:] or ["tests/data/tiny/train.txt", "tests/data/tiny/dev.txt"]
wrong = compare(sys.argv[1], [t for t in ODD if "\r" not in t] + ["\r"], "odd lines")
random.seed(1)
letters = [c for path in files for title in read(path)[:2000] for c in title] + list("abcXYZ0129.%+-_ #")
wrong += compare(sys.argv[1], ["".join(random.choices(letters, k=random.randint(1, 40))) for _ in range(20000)], "random characters")
for path in files:
    wrong += compare(sys.argv[1], read(path), path)
sys.exit(wrong != 0)
