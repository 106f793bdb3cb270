#!/usr/bin/env python3
"""Small random checkpoints of every transformer row, as transformers saves them, and what transformers computes with them.

Usage: transformers_rows.py OUT [--base]       needs torch 2.8.0, transformers 4.40.2, sentencepiece

OUT/<row>/ holds config.json, model.safetensors, the tokenizer's files and expected.safetensors:
    titles U8, title_start I32     the bytes of the titles
    ids, start I32                 packed ids, special tokens included, of the reference's slow tokenizers
    embeddings, hidden.1 … F32     rows of the encoder; the last layer's for the head's row only (see LAST)
    encoder, decoder F32           T5: after the last norm; the decoder's row at the closing </s>
    logits, logits.bf16 F32        one row a title; the second computed by PyTorch in bfloat16
    logits.start F32               T5: the decoder reads its start token alone

Weights are scaled so that titles get clearly different logits: at transformers' start values a forgotten position table
changes nothing that a tolerance sees. --base makes the same at the published sizes (gigabytes; not for the repository)."""
import json
import os
import sys

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
import sentencepiece
import torch
from safetensors.torch import save_file
from transformers import (AlbertConfig, AlbertForSequenceClassification, BertConfig, BertForSequenceClassification, BertModel, BertTokenizer,
                          ElectraConfig, ElectraForSequenceClassification, ErnieConfig, ErnieForSequenceClassification, MT5Config,
                          MT5ForSequenceClassification, NezhaConfig, NezhaForSequenceClassification, T5Config, T5ForSequenceClassification,
                          T5Tokenizer, XLNetConfig, XLNetForSequenceClassification, XLNetTokenizer)

LABELS = ["finance", "realty", "stocks", "education", "science", "society", "politics", "sports", "game", "entertainment"]
TITLES = ["股市大涨三成", "A股收盘：沪指涨0.8%", "我国学者发现新的行星", "高考今日开考，千万考生赴考场", "球队主场3:1战胜对手，提前两轮夺冠",
          "新片上映首日票房过亿", "楼市新政出台", "iPhone新机发布会今晚举行", "雨", "两国外长举行会谈，就地区局势交换意见并签署联合声明",
          "网游公测服务器爆满，玩家排队三小时仍无法登录游戏引发热议", "市民排队领取免费早餐"]
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def word_pieces():
    characters = sorted({c for t in TITLES for c in t.lower() if ord(c) > 0x2000} - {"雨"})
    ascii_pieces = [chr(c) for c in range(0x21, 0x7f) if not 0x41 <= c <= 0x5a]
    return SPECIALS + characters + ascii_pieces + ["##" + c for c in "abcdefghijklmnopqrstuvwxyz0123456789"] + ["phone", "##phone"]


def sentence_pieces(path, size, t5):
    """A unigram model of the titles themselves; XLNet's has <sep> and <cls> among its control symbols, T5's begins with <pad>, </s>."""
    lines = [t for t in TITLES for _ in range(3)] + [a + b for a in TITLES for b in TITLES]
    with open(path + ".txt", "w", encoding="utf-8") as f:
        f.write("\n".join(lines))
    extra = dict(pad_id=0, eos_id=1, unk_id=2, bos_id=-1) if t5 else dict(unk_id=0, bos_id=1, eos_id=2, control_symbols="<cls>,<sep>,<pad>,<mask>,<eod>")
    sentencepiece.SentencePieceTrainer.train(input=path + ".txt", model_prefix=path, vocab_size=size, model_type="unigram", character_coverage=1.0,
                                             num_threads=1, hard_vocab_limit=False, normalization_rule_name="identity", minloglevel=2, **extra)
    os.rename(path + ".model", os.path.join(os.path.dirname(path), "spiece.model"))
    for end in (".txt", ".vocab"):
        os.remove(path + end)


def sharpen(model):
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.dim() < 2:
                p.add_(torch.randn_like(p) * 0.2)
            elif "embed" in name or "shared" in name:
                p.normal_(0, 0.7)
            else:
                p.normal_(0, 1.6 / (p.shape[-1] if p.dim() == 2 else p.shape[0]) ** 0.5)


def spread_logits(name, model, ids):
    """Scales the last matrix until titles differ by 0.8 in the mean."""
    with torch.no_grad():
        spread = torch.cat([run(name, model, i)["logits"] for i in ids]).std(0).mean().item()
        for part in ("classifier.weight", "classifier.out_proj.weight", "classification_head.out_proj.weight", "logits_proj.weight"):
            weight = dict(model.named_parameters()).get(part)
            if weight is not None:
                weight.mul_(0.8 / spread)


BERT = dict(hidden_size=32, num_hidden_layers=3, num_attention_heads=2, intermediate_size=64, max_position_embeddings=48)
V = len(word_pieces())
# name: (class, configuration class, its arguments, what else)
ROWS = {
    "bert": (BertForSequenceClassification, BertConfig, dict(BERT, vocab_size=V), {}),
    "bert-odd": (BertForSequenceClassification, BertConfig, dict(BERT, vocab_size=V, hidden_size=30, num_attention_heads=3, hidden_act="gelu_new"), {}),
    "bert-bare": (BertModel, BertConfig, dict(BERT, vocab_size=V), {"bare": True}),
    "mengzi": (BertForSequenceClassification, BertConfig, dict(BERT, vocab_size=V, pad_token_id=1), {"half": True}),
    "ernie": (ErnieForSequenceClassification, ErnieConfig,
              dict(BERT, vocab_size=V, use_task_id=True, type_vocab_size=4, task_type_vocab_size=3, layer_norm_eps=1e-5, max_position_embeddings=64), {}),
    "electra": (ElectraForSequenceClassification, ElectraConfig, dict(BERT, vocab_size=V, embedding_size=32), {}),
    "electra-small": (ElectraForSequenceClassification, ElectraConfig, dict(BERT, vocab_size=V, embedding_size=16), {}),
    "albert": (AlbertForSequenceClassification, AlbertConfig, dict(BERT, vocab_size=V, embedding_size=16, hidden_act="relu", classifier_dropout_prob=0.1),
               {"junk": {"gap_size": 0, "net_structure_type": 0}}),
    "albert-groups": (AlbertForSequenceClassification, AlbertConfig,
                      dict(BERT, vocab_size=V, embedding_size=16, num_hidden_layers=4, num_hidden_groups=2, inner_group_num=2), {}),
    "nezha": (NezhaForSequenceClassification, NezhaConfig, dict(BERT, vocab_size=V, max_relative_position=8), {"junk": {"embedding_size": 128, "num_hidden_groups": 1}}),
    "xlnet": (XLNetForSequenceClassification, XLNetConfig, dict(vocab_size=170, d_model=32, n_layer=3, n_head=2, d_inner=64, ff_activation="relu"), {}),
    "xlnet-gelu": (XLNetForSequenceClassification, XLNetConfig, dict(vocab_size=170, d_model=32, n_layer=3, n_head=2, d_inner=64, ff_activation="gelu"), {}),
    "t5": (T5ForSequenceClassification, T5Config,
           dict(vocab_size=260, d_model=32, d_kv=16, d_ff=64, num_layers=2, num_decoder_layers=1, num_heads=3, relative_attention_num_buckets=8,
                relative_attention_max_distance=12, decoder_start_token_id=0, pad_token_id=0, eos_token_id=1), {}),
    "mt5": (MT5ForSequenceClassification, MT5Config,
            dict(vocab_size=260, d_model=32, d_kv=16, d_ff=64, num_layers=2, num_heads=2, feed_forward_proj="gated-gelu", decoder_start_token_id=0,
                 pad_token_id=0, eos_token_id=1), {}),
}
BASE = dict(BERT, hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072, max_position_embeddings=512)
SIZES = {
    "bert": dict(BASE, vocab_size=21128), "mengzi": dict(BASE, vocab_size=21128), "ernie": dict(BASE, vocab_size=40000, max_position_embeddings=2048),
    "electra": dict(BASE, vocab_size=21128, embedding_size=768), "electra-small": dict(BASE, vocab_size=21128, hidden_size=256, embedding_size=128, num_attention_heads=4, intermediate_size=1024),
    "albert": dict(BASE, vocab_size=21128, embedding_size=128), "nezha": dict(BASE, vocab_size=21128, max_relative_position=64),
    "xlnet": dict(vocab_size=32000, d_model=768, n_layer=12, n_head=12, d_inner=3072),
    "mt5": dict(vocab_size=32128, d_model=768, d_kv=64, d_ff=2048, num_layers=12, num_heads=12, num_decoder_layers=12),
}


def is_t5(name):
    return name.endswith("t5")


def tokenizer_of(name, directory):
    if is_t5(name):
        sentence_pieces(os.path.join(directory, "unigram"), 140, True)
        return T5Tokenizer(os.path.join(directory, "spiece.model"))
    if name.startswith("xlnet"):
        sentence_pieces(os.path.join(directory, "unigram"), 140, False)
        return XLNetTokenizer(os.path.join(directory, "spiece.model"))
    with open(os.path.join(directory, "vocab.txt"), "w", encoding="utf-8") as f:
        f.write("\n".join(word_pieces()) + "\n")
    return BertTokenizer(os.path.join(directory, "vocab.txt"))


def run(name, model, ids):
    """One title alone, so that neither padding nor a mask takes part: {name: rows}."""
    arguments = {"input_ids": torch.tensor([ids])}
    if name.startswith("xlnet"):
        arguments["token_type_ids"] = torch.tensor([[0] * (len(ids) - 1) + [2]])
    out = model(**arguments, output_hidden_states=True)
    got = {}
    states = out.encoder_hidden_states if is_t5(name) else out.hidden_states
    if name.startswith("xlnet"):  # batch second
        states = [s if s.shape[0] == 1 else s.transpose(0, 1) for s in states]
    for i, s in enumerate(states):
        got["embeddings" if i == 0 else f"hidden.{i}"] = s[0]
    last = f"hidden.{len(states) - 1}"
    if is_t5(name):  # the reference's last state is behind the final norm
        got["encoder"] = got.pop(last)
        got["decoder"] = out.decoder_hidden_states[-1][0][-1:]
    elif "bare" not in name:
        got[last] = got[last][-1:] if name.startswith("xlnet") else got[last][:1]
    if hasattr(out, "logits"):
        got["logits"] = out.logits
    return got


def run_start(model, ids):
    decoder = torch.tensor([[model.config.decoder_start_token_id]])
    out = model.transformer(input_ids=torch.tensor([ids]), decoder_input_ids=decoder)
    return model.classification_head(out.last_hidden_state[:, -1, :])


def collect(rows):
    names = rows[0].keys()
    return {n: torch.cat([r[n] for r in rows]).float().contiguous() for n in names}


def make(name, directory, base):
    cls, config_cls, arguments, what = ROWS[name]
    os.makedirs(directory, exist_ok=True)
    torch.manual_seed(7)
    config = config_cls(**dict(arguments, **(SIZES[name] if base else {})), id2label=dict(enumerate(LABELS)), label2id={l: i for i, l in enumerate(LABELS)})
    tokenizer = tokenizer_of(name, directory)
    assert len(tokenizer) <= config.vocab_size, (name, len(tokenizer))
    model = (cls(config, add_pooling_layer=False) if what.get("bare") else cls(config)).eval()
    sharpen(model)
    titles = [t.encode() for t in TITLES]
    ids = [tokenizer(t)["input_ids"] for t in TITLES]
    if not what.get("bare"):
        spread_logits(name, model, ids)
    if what.get("half"):
        model = model.half().float()
    (model.half() if what.get("half") else model).save_pretrained(directory)
    model = model.float()
    with torch.no_grad():
        expected = collect([run(name, model, i) for i in ids])
        if is_t5(name):
            expected["logits.start"] = torch.cat([run_start(model, i) for i in ids])
        if "logits" in expected:
            spread = expected["logits"].std(0).mean().item()
            assert spread >= 0.5, (name, spread)
            low = model.to(torch.bfloat16)
            expected["logits.bf16"] = torch.cat([run(name, low, i)["logits"] for i in ids]).float()
    starts = lambda parts: torch.tensor([0] + [len(p) for p in parts]).cumsum(0).to(torch.int32)
    expected.update(titles=torch.tensor(list(b"".join(titles)), dtype=torch.uint8), title_start=starts(titles), start=starts(ids),
                    ids=torch.tensor([i for part in ids for i in part], dtype=torch.int32))
    save_file(expected, os.path.join(directory, "expected.safetensors"))
    path = os.path.join(directory, "config.json")
    with open(path, encoding="utf-8") as f:
        written = json.load(f)
    written.update(what.get("junk", {}))
    with open(path, "w", encoding="utf-8") as f:
        json.dump(written, f, indent=2, ensure_ascii=False)
        f.write("\n")
    size = sum(os.path.getsize(os.path.join(directory, f)) for f in os.listdir(directory))
    assert base or size <= 300_000, (name, size)
    print(f"{name}: {size} bytes" + (f", logits of different titles differ by {spread:.2f}" if "logits" in expected else ""), flush=True)


def main():
    out, base = sys.argv[1], "--base" in sys.argv
    for name in SIZES if base else ROWS:
        make(name, os.path.join(out, name), base)


main()
