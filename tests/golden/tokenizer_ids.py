#!/usr/bin/env python3
"""What transformers' slow tokenizers make of a list of nasty strings. Usage: tokenizer_ids.py ROWS > tokenizers.json    (transformers 4.40.2)

ROWS is tests/golden/transformers, whose small vocabularies are used. With a second argument, a folder that holds thucnews/ and vocab/,
and a third, the program that prints a title's ids (tests/golden/tokenizer_ids), it compares all titles and every code point instead."""
import json
import os
import subprocess
import sys
import tempfile
import unicodedata

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
from transformers import BertTokenizer, T5Tokenizer, XLNetTokenizer

NASTY = ["股市大涨三成", "iPhone新机phone", "İstanbul Σας ΟΔΥΣΣΕΥΣ ẞ", "e\u0301\u0323a cafe\u0301 a\u0323\u0302", "ＡＢＣ１２３！", "[SEP]新闻[MASK] [CLS]x[cls][UNK]",
         "a" * 100 + " " + "b" * 101, "涨" * 600, "한국어 뉴스", "😀👨\u200d👩\u200d👧", "\u202eabc\u202c", "a\u200bb\ufeff", "don't stop!!!", "1,234.5", "x" * 10000,
         "\u0915\u093f\u0902", "A\u0327\u0301\u0323", "ﬁ Å \u212b \u2126", "  leading  \u3000 spaces\t\tx ", "豈\uf900更\U0002f800", "\U0001d165\U0001d16d ab",
         "``quoted''", "价格9,元 100,000", "3，4,5,", "<sep><cls>x", "<extra_id_0> a<extra_id_99><extra_id_100>", "<extra_id_6><extra_id_7><extra_id_07>x<extra_id_119><extra_id_120><extra_id_", "</s> x </s>", "a <mask> b  <MASK> c", "x <extra_id_5> y \u3000<extra_id_6>  z", "A <SEP> B <Sep>C", "a\u0085b\u2028c\u2029d\x0be", "\x01\x7f涨\ufffd",
         "\ue000\U000f0000股", "A股\u00adB", "①②½", "..", "-", "_a_b_", "¿¡«»", "\u0e01\u0e33", "\u1e9b\u0323", "𝔘𝔫𝔦", "ŉ ǰ ΐ", "[PAD]", "[ SEP ]", "▁x", "a▁b"]


def tokenizers(rows):
    words, xlnet, t5 = (os.path.join(rows, r) for r in ("bert", "xlnet", "t5"))
    for config in ({}, {"do_lower_case": False}, {"do_lower_case": False, "strip_accents": True}, {"strip_accents": False}, {"tokenize_chinese_chars": False}):
        yield "bert", config, BertTokenizer(os.path.join(words, "vocab.txt"), **config)
    for config in ({}, {"keep_accents": True}, {"do_lower_case": True}, {"remove_space": False}):
        yield "xlnet", config, XLNetTokenizer(os.path.join(xlnet, "spiece.model"), **config)
    for config in ({}, {"extra_ids": 0}, {"extra_ids": 7}, {"extra_ids": 120}):
        yield "t5", config, T5Tokenizer(os.path.join(t5, "spiece.model"), **config)


def golden(rows):
    cases = []
    for row, config, tokenizer in tokenizers(rows):
        for text in NASTY if not config else [t for t in NASTY if len(t) < 500]:
            for most in (512, 8, 3):
                ids = tokenizer(text, truncation=True, max_length=most)["input_ids"]
                if most == 512 or len(ids) == most:
                    cases.append({"row": row, "config": config, "max": most, "text": text, "ids": ids, "cut": len(tokenizer(text)["input_ids"]) > len(ids)})
    print("[\n" + ",\n".join(json.dumps(c, separators=(",", ":"), ensure_ascii=True) for c in cases if len(c["text"]) <= 1000 or c["max"] != 512) + "\n]")


def compare(name, program, directory, kind, tokenizer, lines):
    text = "\n".join(lines).encode() + b"\n"
    got = subprocess.run([program, directory, kind, "512"], input=text, stdout=subprocess.PIPE, check=True).stdout.decode().split("\n")
    bad = 0
    for line, ids in zip(lines, got):
        expected = tokenizer(line, truncation=True, max_length=512)["input_ids"]
        if expected != [int(i) for i in ids.split()]:
            bad += 1
            if bad <= 5:
                print(f"  {line[:60]!r}: expected {expected[:12]}, found {ids.split()[:12]}")
    print(f"{name}: {len(lines)} lines, {bad} differ", flush=True)
    return bad


def everything(shared, program):
    titles = []
    for part in ("train", "dev"):
        with open(os.path.join(shared, "thucnews", part + ".txt"), encoding="utf-8") as f:
            titles += [line.split("\t")[0] for line in f]
    # Characters that this Python's Unicode knows: a newer one of ours knows more.
    points = [chr(c) for c in range(1, 0x110000) if c != 10 and unicodedata.category(chr(c)) not in ("Cn", "Cs")]
    between = ["a" + c + "b" for c in points]
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        vocab = os.path.join(shared, "vocab", "bert-base-chinese", "vocab.txt")
        for lower in (True, False):
            directory = os.path.join(folder, f"bert-{lower}")
            os.mkdir(directory)
            with open(vocab, "rb") as a, open(os.path.join(directory, "vocab.txt"), "wb") as b:
                b.write(a.read())
            with open(os.path.join(directory, "tokenizer_config.json"), "w", encoding="utf-8") as f:
                json.dump({"do_lower_case": lower}, f)
            tokenizer = BertTokenizer(vocab, do_lower_case=lower)
            for what, lines in (("titles", titles), ("code points", points), ("code points between letters", between)):
                bad += compare(f"WordPiece, {'lower-cased' if lower else 'cased'}, {what}", program, directory, "bert", tokenizer, lines)
        xlnet = os.path.join(shared, "vocab", "xlnet-zh")
        tokenizer = XLNetTokenizer(os.path.join(xlnet, "spiece.model"))
        bad += compare("XLNet, titles", program, xlnet, "xlnet", tokenizer, titles)
        bad += compare("XLNet, code points between letters", program, xlnet, "xlnet", tokenizer, between[:60000])
        bad += t5(folder, shared, program, titles, between)
    return bad


def t5(folder, shared, program, titles, between):
    import sentencepiece
    directory = os.path.join(folder, "t5")
    os.mkdir(directory)
    sentencepiece.SentencePieceTrainer.train(input=os.path.join(shared, "text", "headlines-unlabelled.txt"), model_prefix=os.path.join(directory, "spiece"), vocab_size=8000,
                                             model_type="unigram", input_sentence_size=50000, shuffle_input_sentence=False, minloglevel=2, pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    tokenizer = T5Tokenizer(os.path.join(directory, "spiece.model"))
    return compare("T5, titles", program, directory, "t5", tokenizer, titles) + compare("T5, code points between letters", program, directory, "t5", tokenizer, between[:60000])


if len(sys.argv) == 2:
    golden(sys.argv[1])
else:
    sys.exit(everything(sys.argv[2], sys.argv[3]) > 0)
