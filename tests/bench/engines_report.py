"""What tests/bench/engines makes of its measurements: medians, ratios of the same round, shares of the roofline, the
table. Pure functions of plain data, tested by test_engines.py."""
import statistics

MODES = ("sorted", "padded", "single")
OURS = "rubric"
# (row, precision, mode): how many times the best peer of that precision this engine aims at, and peers left out.
AIMS = {("bert", "fp32", "sorted"): (1.1, ()), ("bert", "int8", "sorted"): (1.5, ()),
        ("albert", "fp32", "sorted"): (1.3, ()), ("albert", "int8", "sorted"): (1.25, ()),
        ("xlnet", "fp32", "sorted"): (1.4, ()), ("xlnet", "int8", "sorted"): (2.0, ()),
        ("bert", "fp32", "padded"): (1.8, ("ctranslate2",)), ("bert", "int8", "padded"): (2.2, ())}
ROOFLINE_AIMS = {"fp32": 0.85, "bf16": 0.85, "int8": 0.80}


def percentile(values, q):
    """The smallest value that at least the share q is not above."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * round(q * 1000) // 1000) - 1)]


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def shape(config):
    """(layers, width, inner width) of a transformers configuration."""
    if "d_inner" in config:
        return config["n_layer"], config["d_model"], config["d_inner"]
    return config["num_hidden_layers"], config["hidden_size"], config["intermediate_size"]


def flops(config, lengths):
    """The dense products of all layers over all tokens (four of width x width, two of width x inner; attention, the
    embedding's projection and the head are not counted), and what is saved of them when in the last layer only one row
    a title goes on after keys and values."""
    layers, width, inner = shape(config)
    tokens, titles = sum(lengths), len(lengths)
    full = layers * 2 * (4 * width * width + 2 * width * inner) * tokens
    saved = 2 * (2 * width * width + 2 * width * inner) * (tokens - titles)
    return full, saved


def agreement(answers, reference):
    """(share of titles with the same best class, greatest difference of a probability)"""
    same = sum(max(range(len(a)), key=a.__getitem__) == max(range(len(r)), key=r.__getitem__)
               for a, r in zip(answers, reference))
    return same / len(reference), max(abs(x - y) for a, r in zip(answers, reference) for x, y in zip(a, r))


def rates(contestant, mode, titles):
    """Titles a second of each round."""
    return [titles / p["s"] for p in contestant["passes"][mode]]


def summary(contestant, titles):
    """Of one contestant, {"engine", "precision", "setting", "passes": {mode: [reply of each round]}, ...}."""
    out = {k: v for k, v in contestant.items() if k != "passes"}
    for mode in MODES[:2]:
        if contestant["passes"].get(mode):
            out[mode] = spread(rates(contestant, mode, titles))
    ms = [x for p in contestant["passes"].get("single", []) for x in p["ms"]]
    if ms:
        out["latency_ms"] = {"p50": percentile(ms, 0.5), "p99": percentile(ms, 0.99)}
    replies = [p["rss_mb"] for passes in contestant["passes"].values() for p in passes]
    out["rss_mb"] = max(replies) if replies else contestant["rss_mb"]
    return out


def ratio(ours, peer, mode):
    """How many times as fast ours is: the median of the rounds' ratios."""
    pairs = list(zip(ours["passes"].get(mode, []), peer["passes"].get(mode, [])))
    if not pairs:
        return None
    if mode == "single":
        return statistics.median(percentile(p["ms"], 0.5) / percentile(o["ms"], 0.5) for o, p in pairs)
    return statistics.median(p["s"] / o["s"] for o, p in pairs)


def find_ours(contestants, precision):
    return next((c for c in contestants if c["engine"] == OURS and c["precision"] == precision), None)


def verdicts(row, contestants, titles):
    """For each precision and mode of batch 128: ours against the best peer, with the aim where there is one."""
    out = []
    for precision in ("fp32", "bf16", "int8"):
        ours = find_ours(contestants, precision)
        for mode in MODES[:2]:
            aim, without = AIMS.get((row, precision, mode), (None, ()))
            peers = [c for c in contestants if c["engine"] != OURS and c["engine"] not in without
                     and c["precision"] == precision and c["passes"].get(mode)]
            if not peers or not ours or not ours["passes"].get(mode):
                continue
            best = max(peers, key=lambda c: statistics.median(rates(c, mode, titles)))
            got = ratio(ours, best, mode)
            out.append({"row": row, "precision": precision, "mode": mode, "best": best["engine"], "without": list(without),
                        "ratio": got, "aim": aim, "met": None if aim is None else got >= aim})
    return out


def roofline(config, lengths, ours):
    """Shares of the bare products' rate, of each round: ours["bare"] is their rate in FLOP/s in that round."""
    if not ours.get("bare"):
        return None
    full, saved = flops(config, lengths)
    pairs = [(full / bare, p["s"]) for bare, p in zip(ours["bare"], ours["passes"]["sorted"])]
    share = statistics.median(need / s for need, s in pairs)
    aim = ROOFLINE_AIMS.get(ours["precision"])
    return {"precision": ours["precision"], "bare_gflops": statistics.median(ours["bare"]) / 1e9, "share": share,
            "share_without_saving": share * (full - saved) / full, "head_row_saving": saved / full, "aim": aim,
            "met": None if aim is None else share >= aim}


def number(x, digits=1):
    return f"{x:,.{digits}f}"


def lines(row, result):
    """The table of one row of models."""
    head = f"{'engine':16}{'prec.':6}{'sorted/s':>9}{'[min–max]':>15}{'ours':>7}{'padded/s':>10}{'[min–max]':>15}{'ours':>7}" \
           f"{'p50 ms':>8}{'p99 ms':>8}{'load s':>8}{'start s':>8}{'RSS MB':>8}{'equal':>8}  setting"
    yield f"{row}: {result['titles']} titles of {result['tokens'] / result['titles']:.1f} tokens, batch {result['batch']}, " \
          f"{result['threads']} threads, median of {result['rounds']} rounds"
    yield head
    for c in result["contestants"]:
        cells = f"{c['engine']:16}{c['precision']:6}"
        for mode in MODES[:2]:
            r, times = c.get(mode), c["ours_times"].get(mode)
            span = f"[{number(r['min'])}–{number(r['max'])}]" if r else ""
            cells += f"{number(r['median']) if r else '':>{9 if mode == 'sorted' else 10}}{span:>15}"
            cells += f"{'x' + number(times, 2) if times else '':>7}"
        ms = c.get("latency_ms")
        cells += f"{number(ms['p50']) if ms else '':>8}{number(ms['p99']) if ms else '':>8}"
        cells += f"{number(c['load_s'], 2):>8}{number(c['start_s'], 2):>8}{number(c['rss_mb'], 0):>8}{c['equal']:>8.1%}"
        yield cells + f"  {c['setting']} ({c['version']})"
    for name, why in result["missing"].items():
        yield f"missing: {name}: {why}"
    for v in result["verdicts"]:
        without = f" without {', '.join(v['without'])}" if v["without"] else ""
        aim = f", aim {v['aim']}: {'met' if v['met'] else 'MISSED'}" if v["aim"] else ""
        yield f"{row} {v['precision']} {v['mode']}: {v['ratio']:.2f} times the best peer{without} ({v['best']}){aim}"
    for r in result["roofline"]:
        aim = f", aim {r['aim']:.0%}: {'met' if r['met'] else 'MISSED'}" if r["aim"] else ""
        yield f"{row} {r['precision']} roofline: {r['share']:.0%} of {r['bare_gflops']:,.0f} GFLOP/s of bare products{aim} " \
              f"({r['share_without_saving']:.0%} without the head-row saving, which is {r['head_row_saving']:.1%} of the FLOPs)"
