#!/usr/bin/env python3
"""Small random checkpoints of every transformer row, as transformers saves them, and what transformers computes with them.

Usage: transformers_rows.py OUT [--base VOCABULARIES] [ROW …]       needs torch 2.8.0, transformers 4.40.2, sentencepiece

OUT/<row>/ holds config.json, model.safetensors, the tokenizer's files and expected.safetensors:
    titles U8, title_start I32     the bytes of the titles
    ids, start I32                 packed ids, special tokens included, of the reference's slow tokenizers
    embeddings, hidden.1 … F32     rows of the encoder; the last layer's for the head's row only (see LAST)
    encoder, decoder F32           T5: after the last norm; the decoder's row at the closing </s>
    pooled F32                     what the last linear layer reads, one row a title
    logits, logits.bf16 F32        one row a title; the second computed by PyTorch in bfloat16
    logits.start F32               T5: the decoder reads its start token alone
    without.<particular> F32       logits of the reference with a particular of the row broken in its code: what a wrong
                                   engine would give, which must be far from the right ones for the comparison to mean anything

Weights are scaled so that titles get clearly different logits: at transformers' start values a forgotten position table
changes nothing that a tolerance sees. --base makes the same at the published sizes (up to a gigabyte each, not for the
repository), with the vocabularies of BERT, ERNIE and XLNet where VOCABULARIES has them."""
import copy
import io
import json
import os
import shutil
import sys

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
import sentencepiece
import torch
from safetensors.torch import save_file
from transformers import (AlbertConfig, AlbertForSequenceClassification, BertConfig, BertForSequenceClassification, BertModel, BertTokenizer,
                          ElectraConfig, ElectraForSequenceClassification, ElectraModel, ErnieConfig, ErnieForSequenceClassification, MT5Config,
                          MT5ForSequenceClassification, NezhaConfig, NezhaForSequenceClassification, T5Config, T5ForSequenceClassification,
                          T5Tokenizer, XLNetConfig, XLNetForSequenceClassification, XLNetModel, XLNetTokenizer)

LABELS = ["finance", "realty", "stocks", "education", "science", "society", "politics", "sports", "game", "entertainment"]
TITLES = ["股市大涨三成", "A股收盘：沪指涨0.8%", "我国学者发现新的行星", "高考今日开考，千万考生赴考场", "球队主场3:1战胜对手，提前两轮夺冠",
          "新片上映首日票房过亿", "楼市新政出台", "iPhone新机发布会今晚举行", "雨", "两国外长举行会谈，就地区局势交换意见并签署联合声明",
          "网游公测服务器爆满，玩家排队三小时仍无法登录游戏引发热议，两国市民提前会谈", "市民排队领取免费早餐"]
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def word_pieces():
    characters = sorted({c for t in TITLES for c in t.lower() if ord(c) > 0x2000} - {"雨"})
    ascii_pieces = [chr(c) for c in range(0x21, 0x7f) if not 0x41 <= c <= 0x5a]
    return SPECIALS + characters + ascii_pieces + ["##" + c for c in "abcdefghijklmnopqrstuvwxyz0123456789"] + ["phone", "##phone"]


def sentence_pieces(path, size, t5):
    """A unigram model of the titles, alone and in pairs. XLNet's has <sep> and <cls> among its control symbols, T5's begins
    with <pad>, </s>. Short pieces only, or each title would be one of its own."""
    lines = [t for t in TITLES for _ in range(3)] + [a + b for a in TITLES for b in TITLES]
    extra = dict(pad_id=0, eos_id=1, unk_id=2, bos_id=-1) if t5 else dict(unk_id=0, bos_id=1, eos_id=2, control_symbols="<cls>,<sep>,<pad>,<mask>,<eod>")
    model = io.BytesIO()  # a file would keep its own path, and never be the same twice
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(lines), model_writer=model, vocab_size=size, model_type="unigram",
                                             character_coverage=1.0, max_sentencepiece_length=3, num_threads=1, hard_vocab_limit=False,
                                             normalization_rule_name="identity", minloglevel=2, **extra)
    with open(path, "wb") as f:
        f.write(model.getvalue())


class Hand(torch.nn.Module):
    """A classifier as people write it: a base model called bert and a plain linear layer called fc, on the pooled row or on
    the first (XLNet: the last)."""

    def __init__(self, base, pooled, at):
        super().__init__()
        self.bert, self.config, self.pooled, self.at = base, base.config, pooled, at
        self.fc = torch.nn.Linear(base.config.hidden_size, len(LABELS))

    def forward(self, **arguments):
        out = self.bert(**arguments)
        out.logits = self.fc(out.pooler_output if self.pooled else out.last_hidden_state[:, self.at])
        return out

    def save_pretrained(self, directory):
        self.config.save_pretrained(directory)
        save_file(self.state_dict(), os.path.join(directory, "model.safetensors"), {"format": "pt"})


def sharpen(model, gain):
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.dim() < 2:
                p.add_(torch.randn_like(p) * 0.2)
            elif "embed" in name or "shared" in name:
                p.normal_(0, 0.7)
            else:
                p.normal_(0, gain / (p.shape[-1] if p.dim() == 2 else p.shape[0]) ** 0.5)
                if name.endswith("Attention.q.weight"):  # T5 does not scale its scores: its weights must
                    p.div_(model.config.d_kv ** 0.5)


def last_linear(model):
    modules = dict(model.named_modules())
    return next(modules[n] for n in ("classifier.out_proj", "classification_head.out_proj", "logits_proj", "classifier", "fc") if n in modules)


def spread_logits(name, model, ids):
    """Scales the last matrix until titles differ by 0.8 in the mean."""
    with torch.no_grad():
        spread = torch.cat([run(name, model, i)["logits"] for i in ids]).std(0).mean().item()
        last_linear(model).weight.mul_(0.8 / spread)


BERT = dict(hidden_size=32, num_hidden_layers=3, num_attention_heads=2, intermediate_size=64, max_position_embeddings=48)
V = len(word_pieces())
# name: (class, configuration class, its arguments, what else)
ROWS = {
    "bert": (BertForSequenceClassification, BertConfig, dict(BERT, vocab_size=V), {}),
    "bert-odd": (BertForSequenceClassification, BertConfig, dict(BERT, vocab_size=V, hidden_size=30, num_attention_heads=3, hidden_act="gelu_new"), {}),
    "bert-bare": (lambda c: BertModel(c, add_pooling_layer=False), BertConfig, dict(BERT, vocab_size=V), {"bare": True}),
    "bert-bare-pooler": (BertModel, BertConfig, dict(BERT, vocab_size=V, num_hidden_layers=2), {"bare": True}),
    "bert-fc": (lambda c: Hand(BertModel(c), True, 0), BertConfig, dict(BERT, vocab_size=V), {}),
    "macbert": (BertForSequenceClassification, BertConfig, dict(BERT, vocab_size=V, num_hidden_layers=2), {"old": True}),
    "mengzi": (BertForSequenceClassification, BertConfig, dict(BERT, vocab_size=V, pad_token_id=1), {"half": True}),
    "ernie": (ErnieForSequenceClassification, ErnieConfig,
              dict(BERT, vocab_size=V, use_task_id=True, type_vocab_size=4, task_type_vocab_size=3, layer_norm_eps=1e-5, max_position_embeddings=64), {}),
    "electra": (ElectraForSequenceClassification, ElectraConfig, dict(BERT, vocab_size=V, embedding_size=32), {}),
    "electra-small": (ElectraForSequenceClassification, ElectraConfig, dict(BERT, vocab_size=V, embedding_size=16), {}),
    "electra-fc": (lambda c: Hand(ElectraModel(c), False, 0), ElectraConfig, dict(BERT, vocab_size=V, embedding_size=32), {}),
    "albert": (AlbertForSequenceClassification, AlbertConfig, dict(BERT, vocab_size=V, embedding_size=16, hidden_act="relu", classifier_dropout_prob=0.1),
               {"junk": {"gap_size": 0, "net_structure_type": 0}}),
    "albert-gelu": (AlbertForSequenceClassification, AlbertConfig, dict(BERT, vocab_size=V, embedding_size=16, hidden_act="gelu"), {}),
    "albert-groups": (AlbertForSequenceClassification, AlbertConfig,
                      dict(BERT, vocab_size=V, embedding_size=16, num_hidden_layers=4, num_hidden_groups=2, inner_group_num=2), {}),
    "nezha": (NezhaForSequenceClassification, NezhaConfig, dict(BERT, vocab_size=V, max_relative_position=8), {"junk": {"embedding_size": 128, "num_hidden_groups": 1}}),
    "xlnet": (XLNetForSequenceClassification, XLNetConfig, dict(vocab_size=170, d_model=32, n_layer=3, n_head=2, d_inner=64, ff_activation="relu"), {}),
    "xlnet-gelu": (XLNetForSequenceClassification, XLNetConfig, dict(vocab_size=170, d_model=32, n_layer=3, n_head=2, d_inner=64, ff_activation="gelu"), {}),
    "xlnet-fc": (lambda c: Hand(XLNetModel(c), False, -1), XLNetConfig, dict(vocab_size=170, d_model=32, n_layer=3, n_head=2, d_inner=64, ff_activation="relu"), {}),
    "t5": (T5ForSequenceClassification, T5Config,
           dict(vocab_size=250, d_model=32, d_kv=16, d_ff=64, num_layers=2, num_decoder_layers=1, num_heads=3, relative_attention_num_buckets=8,
                relative_attention_max_distance=12, decoder_start_token_id=0, pad_token_id=0, eos_token_id=1), {}),
    "mt5": (MT5ForSequenceClassification, MT5Config,
            dict(vocab_size=250, d_model=32, d_kv=12, d_ff=40, num_layers=2, num_heads=2, feed_forward_proj="gated-gelu", decoder_start_token_id=0,
                 pad_token_id=0, eos_token_id=1), {}),
}
BASE = dict(BERT, hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072, max_position_embeddings=512)
SIZES = {
    "bert": dict(BASE, vocab_size=21128), "mengzi": dict(BASE, vocab_size=21128), "ernie": dict(BASE, vocab_size=40000, max_position_embeddings=2048),
    "electra": dict(BASE, vocab_size=21128, embedding_size=768), "electra-small": dict(BASE, vocab_size=21128, hidden_size=256, embedding_size=128, num_attention_heads=4, intermediate_size=1024),
    "albert": dict(BASE, vocab_size=21128, embedding_size=128), "nezha": dict(BASE, vocab_size=21128, max_relative_position=64),
    "xlnet": dict(vocab_size=32000, d_model=768, n_layer=12, n_head=12, d_inner=3072),
    "t5": dict(vocab_size=32128, d_model=768, d_kv=64, d_ff=2048, num_layers=12, num_heads=12, num_decoder_layers=12, feed_forward_proj="gated-gelu",
               relative_attention_num_buckets=32, relative_attention_max_distance=128),
}
VOCABULARIES = {"bert": "bert-base-chinese", "mengzi": "bert-base-chinese", "electra": "bert-base-chinese", "electra-small": "bert-base-chinese",
                "albert": "bert-base-chinese", "nezha": "bert-base-chinese", "ernie": "ernie-1.0", "xlnet": "xlnet-zh"}


def old_file(model, directory):
    """As MacBERT and RoBERTa-wwm were published: pytorch_model.bin, LayerNorm's gamma and beta, and beside the weights a buffer
    of position ids and a head for masked words, which no classifier reads."""
    os.remove(os.path.join(directory, "model.safetensors"))
    weights = {n.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): w for n, w in model.state_dict().items()}
    weights["bert.embeddings.position_ids"] = torch.arange(48).expand(1, -1)
    weights["cls.predictions.bias"] = torch.zeros(V)
    torch.save(weights, os.path.join(directory, "pytorch_model.bin"))


def is_t5(name):
    return name.endswith("t5")


def tokenizer_of(name, directory, vocabularies):
    """The slow tokenizer over the row's own small vocabulary, or over a published one."""
    pieces = is_t5(name) or name.startswith("xlnet")
    path = os.path.join(directory, "spiece.model" if pieces else "vocab.txt")
    published = os.path.join(vocabularies or "", VOCABULARIES.get(name, ""), os.path.basename(path))
    if vocabularies and name in VOCABULARIES and os.path.exists(published):
        shutil.copyfile(published, path)
    elif pieces:
        sentence_pieces(path, 140, is_t5(name))
    else:
        with open(path, "w", encoding="utf-8") as f:
            f.write("\n".join(word_pieces()) + "\n")
    tokenizer = (T5Tokenizer if is_t5(name) else XLNetTokenizer if pieces else BertTokenizer)(path)
    tokenizer.save_pretrained(directory)
    return tokenizer


def run(name, model, ids):
    """One title alone, so that neither padding nor a mask takes part: {name: rows}."""
    arguments = {"input_ids": torch.tensor([ids])}
    if name.startswith("xlnet"):
        arguments["token_type_ids"] = torch.tensor([[0] * (len(ids) - 1) + [2]])
    got = {}
    hook = None if "bare" in name else last_linear(model).register_forward_pre_hook(lambda _, x: got.update(pooled=x[0].reshape(1, -1)))
    out = model(**arguments, output_hidden_states=True)
    if hook:
        hook.remove()
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


def swap(owner, attribute, value):
    setattr(owner, attribute, value)


def without_relative(calls, change):
    """NEZHA asks for its table twice a layer, for the scores and then for the values; calls says for which it is changed."""
    def breaks(model):
        for layer in model.nezha.encoder.layer:
            encoding = layer.attention.self.relative_positions_encoding
            def wrong(length, right=encoding.forward, count=[0]):
                count[0] += 1
                return change(right(length)) if (count[0] - 1) % 2 in calls else right(length)
            encoding.forward = wrong
    return breaks


def scale_queries(pick, factor):
    def breaks(model):
        for name, p in model.named_parameters():
            if pick in name:
                p.data.mul_(factor)
    return breaks


def centre_norms(model):
    """T5's norm with LayerNorm's mean taken off."""
    for module in model.modules():
        if type(module).__name__ == "T5LayerNorm":
            module.register_forward_pre_hook(lambda _, x: (x[0] - x[0].mean(-1, keepdim=True),))


def erf_gelu(model):
    for module in model.modules():
        if type(module).__name__ == "MT5DenseGatedActDense":
            module.act = torch.nn.GELU()


# What a wrong engine would do, in the reference's own code: {row: {particular: what breaks the model}}. Particulars that a key
# or a tensor decides are switched off by the test itself, in the engine.
WITHOUT = {
    "bert": {"attention's scale": scale_queries("self.query", 4), "the pooler's tanh": lambda m: swap(m.bert.pooler, "activation", torch.nn.Identity())},
    "electra": {"gelu in the head": lambda m: swap(m.classifier, "activation", torch.nn.Tanh())},
    "nezha": {"relative positions on scores": without_relative({0}, torch.zeros_like), "relative positions on values": without_relative({1}, torch.zeros_like),
              "the direction of positions": without_relative({0, 1}, lambda r: r.transpose(0, 1))},
    "xlnet": {"the direction of positions": lambda m: swap(m.transformer, "relative_positional_encoding",
                                                            lambda *a, f=m.transformer.relative_positional_encoding, **k: f(*a, **k).flip(0)),
              "the last token's summary": lambda m: swap(m.sequence_summary, "summary_type", "first"),
              "the summary's tanh": lambda m: swap(m.sequence_summary, "activation", torch.nn.Identity())},
    "t5": {"unscaled attention": scale_queries("SelfAttention.q", 0.25), "norms that keep the mean": centre_norms,
           "the decoder's one-sided buckets": lambda m: swap(m.transformer.decoder.block[0].layer[0].SelfAttention, "is_decoder", False)},
    "mt5": {"gelu_new": erf_gelu},
}


def broken(name, model, ids):
    """{"without." particular: logits}. Token types and masks are arguments, not code: two more, for XLNet and Mengzi."""
    got = {}
    for particular, breaks in WITHOUT.get(name, {}).items():
        wrong = copy.deepcopy(model)
        breaks(wrong)
        got["without." + particular] = torch.cat([run(name, wrong, i)["logits"] for i in ids])
    if name == "xlnet":
        got["without.a segment for <cls>"] = torch.cat([model(input_ids=torch.tensor([i]), token_type_ids=torch.zeros(1, len(i), dtype=torch.long)).logits for i in ids])
    if name == "mengzi":  # [UNK] is 1 in the vocabulary, and the configuration says that 1 is padding
        rows = [torch.tensor([i]) for i in ids]
        got["without.attention to id 1"] = torch.cat([model(input_ids=i, attention_mask=(i != 1).long()).logits for i in rows])
    return got


def run_start(model, ids):
    decoder = torch.tensor([[model.config.decoder_start_token_id]])
    out = model.transformer(input_ids=torch.tensor([ids]), decoder_input_ids=decoder)
    return model.classification_head(out.last_hidden_state[:, -1, :])


def collect(rows):
    names = rows[0].keys()
    return {n: torch.cat([r[n] for r in rows]).float().contiguous() for n in names}


def make(name, directory, vocabularies):
    cls, config_cls, arguments, what = ROWS[name]
    base = vocabularies is not None
    os.makedirs(directory, exist_ok=True)
    torch.manual_seed(7)
    config = config_cls(**dict(arguments, **(SIZES[name] if base else {})), id2label=dict(enumerate(LABELS)), label2id={l: i for i, l in enumerate(LABELS)})
    tokenizer = tokenizer_of(name, directory, vocabularies)
    assert len(tokenizer) <= config.vocab_size, (name, len(tokenizer))
    model = cls(config).eval()
    sharpen(model, 1.0 if base and is_t5(name) else 1.6)  # its twice twelve layers would magnify rounding
    titles = [t.encode() for t in TITLES]
    ids = [tokenizer(t)["input_ids"] for t in TITLES]
    if not what.get("bare"):
        spread_logits(name, model, ids)
    if what.get("half"):
        model = model.half().float()
    (model.half() if what.get("half") else model).save_pretrained(directory)
    if what.get("old"):
        old_file(model, directory)
    model = model.float()
    with torch.no_grad():
        expected = collect([run(name, model, i) for i in ids])
        if is_t5(name):
            expected["logits.start"] = torch.cat([run_start(model, i) for i in ids])
        if "logits" in expected:
            spread = expected["logits"].std(0).mean().item()
            assert spread >= 0.5, (name, spread)
            if not base:
                expected.update(broken(name, model, ids))
            # A model that magnifies rounding proves nothing: the reference itself must be sure of its figures.
            exact = copy.deepcopy(model).double()
            for key, right in collect([run(name, exact, i) for i in ids]).items():
                unsure = ((right - expected[key]).abs().max() / right.abs().max()).item()
                assert unsure < 3e-5, (name, key, unsure)
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
    lengths = sorted(len(i) for i in ids)
    print(f"{name}: {size} bytes, titles of {lengths[0]} to {lengths[-1]} ids" +
          (f", logits of different titles differ by {spread:.2f}" if "logits" in expected else ""), flush=True)
    for key in expected:
        if key.startswith("without."):
            off = (expected[key] - expected["logits"]).abs().max() / expected["logits"].abs().max()
            assert off > 3e-4, (name, key, off)
            print(f"  {key}: off by {off:.2g} of the largest logit")


def main():
    out, more = sys.argv[1], sys.argv[2:]
    vocabularies = None
    if more[:1] == ["--base"]:
        vocabularies, more = more[1], more[2:]
    for name in more or (ROWS if vocabularies is None else SIZES):
        make(name, os.path.join(out, name), vocabularies)


main()
