#!/usr/bin/env python3
"""Tests of tests/bench/engines without peers: what the report makes of measurements, how contestants fail, and the C
contestant on the demo's TextCNN. Usage: test_engines.py BENCH_ENGINE MODEL"""
import importlib.machinery
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "engines_peers")]
sys.dont_write_bytecode = True

import engines_report as report  # noqa: E402

loader = importlib.machinery.SourceFileLoader("engines", os.path.join(HERE, "engines"))
engines = importlib.util.module_from_spec(importlib.util.spec_from_loader("engines", loader))
loader.exec_module(engines)

BENCH_ENGINE, MODEL = sys.argv[1:3] if len(sys.argv) >= 3 else (None, None)
TITLES = ["股市大涨三百点", "某队夺冠", "新款手机今日发布价格公布", "高考分数线公布", "A", "楼市新政出台后首周成交量回落"]


def contestant(engine, precision, seconds, padded=None, ms=()):
    """Passes of these seconds; padded is twice as slow unless said."""
    padded = padded or [2 * s for s in seconds]
    return {"engine": engine, "precision": precision, "bare": [], "rss_mb": 1,
            "passes": {"sorted": [{"s": s, "rss_mb": 100 + s} for s in seconds],
                       "padded": [{"s": s, "rss_mb": 90} for s in padded],
                       "single": [{"s": sum(ms), "rss_mb": 95, "ms": list(ms)}] if ms else []}}


class Report(unittest.TestCase):
    def test_percentile(self):
        hundred = list(range(100, 0, -1))
        self.assertEqual(report.percentile(hundred, 0.5), 50)
        self.assertEqual(report.percentile(hundred, 0.99), 99)
        self.assertEqual(report.percentile([7], 0.99), 7)
        self.assertEqual(report.percentile([1, 2, 3], 0.5), 2)

    def test_flops_of_bert_base(self):
        base = {"num_hidden_layers": 12, "hidden_size": 768, "intermediate_size": 3072}
        # 12 layers of 4 x 768 x 768 + 2 x 768 x 3072 multiply-adds: 169,869,312 operations a token.
        full, saved = report.flops(base, [10, 30])
        self.assertEqual(full, 169869312 * 40)
        # Of the last layer's, all but keys and values for all but a row a title.
        self.assertEqual(saved, 2 * (2 * 768 * 768 + 2 * 768 * 3072) * 38)
        self.assertEqual(report.flops({"n_layer": 12, "d_model": 768, "d_inner": 3072}, [10, 30]), (full, saved))
        self.assertEqual(report.flops(base, [1, 1])[1], 0)

    def test_ratio_is_of_the_same_round(self):
        # The machine is half as fast in the second round and a third in the last; the ratio is 2 throughout.
        ours, peer = contestant("rubric", "fp32", [1, 2, 3]), contestant("pytorch", "fp32", [2, 4, 6])
        self.assertEqual(report.ratio(ours, peer, "sorted"), 2)
        self.assertIsNone(report.ratio(ours, peer, "single"))

    def test_ratio_of_latency(self):
        ours, peer = contestant("rubric", "fp32", [1], ms=[1, 2, 9]), contestant("pytorch", "fp32", [1], ms=[3, 3, 3])
        self.assertEqual(report.ratio(ours, peer, "single"), 1.5)

    def test_verdict_takes_the_best_peer(self):
        race = [contestant("rubric", "int8", [1.0]), contestant("pytorch", "int8", [9]),
                contestant("openvino", "int8", [1.4]), contestant("openvino", "fp32", [0.1])]
        got = {v["mode"]: v for v in report.verdicts("bert", race, 10)}
        self.assertEqual((got["sorted"]["best"], got["sorted"]["ratio"]), ("openvino", 1.4))
        self.assertIs(got["sorted"]["met"], False)  # 1.5 is aimed at
        self.assertIs(report.verdicts("albert", race, 10)[0]["met"], True)  # 1.25 there

    def test_padded_fp32_of_bert_leaves_ctranslate2_out(self):
        race = [contestant("rubric", "fp32", [1]), contestant("ctranslate2", "fp32", [1]),
                contestant("pytorch", "fp32", [2])]
        got = {v["mode"]: v["best"] for v in report.verdicts("bert", race, 10)}
        self.assertEqual(got, {"sorted": "ctranslate2", "padded": "pytorch"})

    def test_roofline(self):
        base = {"num_hidden_layers": 12, "hidden_size": 768, "intermediate_size": 3072}
        ours = contestant("rubric", "fp32", [2, 4])
        self.assertIsNone(report.roofline(base, [10] * 10, ours))
        full, saved = report.flops(base, [10] * 10)
        ours["bare"] = [full, full / 2]  # one second for all, two in the slower round
        got = report.roofline(base, [10] * 10, ours)
        self.assertEqual((got["share"], got["met"]), (0.5, False))
        self.assertAlmostEqual(got["share_without_saving"], 0.5 * (1 - saved / full))

    def test_agreement(self):
        same, off = report.agreement([[0.9, 0.1], [0.4, 0.6]], [[0.8, 0.2], [0.6, 0.4]])
        self.assertEqual(same, 0.5)
        self.assertAlmostEqual(off, 0.2)

    def test_table_has_every_contestant_and_every_absence(self):
        race = [contestant("rubric", "fp32", [1, 1.5, 1], ms=[5, 6]), contestant("pytorch", "fp32", [2, 2, 2], ms=[9, 9])]
        for c in race:
            c.update(setting="2 threads", version="1.0", load_s=1.5, start_s=2.5, equal=1.0)
        out = []
        for c in race:
            out.append(report.summary(c, 10) | {"ours_times": {"sorted": report.ratio(race[0], c, "sorted")}})
        text = "\n".join(report.lines("bert", {
            "titles": 10, "tokens": 200, "batch": 128, "threads": 2, "rounds": 3, "contestants": out,
            "missing": {"ctranslate2": "no wheel"}, "roofline": [], "verdicts": report.verdicts("bert", race, 10)}))
        self.assertRegex(text, r"rubric +fp32 +10\.0 +\[6\.7–10\.0\]")
        self.assertRegex(text, r"pytorch +fp32 +5\.0 +\[5\.0–5\.0\] +x2\.00")
        self.assertIn("missing: ctranslate2: no wheel", text)
        self.assertIn("bert fp32 sorted: 2.00 times the best peer (pytorch), aim 1.1: met", text)

    def test_pick(self):
        self.assertEqual(engines.pick([{"sorted": 2, "padded": 3}, {"sorted": 1, "padded": 2}]), [1])
        self.assertEqual(engines.pick([{"sorted": 1, "padded": 3}, {"sorted": 2, "padded": 2}]), [0, 1])
        self.assertEqual(engines.pick([{"sorted": 1, "padded": 2.01}, {"sorted": 2, "padded": 2}]), [0])


class Contestants(unittest.TestCase):
    """Ways in which a process can fail: each is a line, none ends the run."""

    def child(self, program):
        with tempfile.NamedTemporaryFile(suffix=".log", delete=False) as f:
            self.addCleanup(os.unlink, f.name)
        return engines.Child("x", [sys.executable, "-c", program], f.name)

    def fails(self, program, why):
        with self.assertRaisesRegex(engines.Missing, why):
            child = self.child(program)
            self.addCleanup(child.stop)
            child.ask("sorted")

    def test_answers(self):
        child = self.child("import sys\nprint('{\"ready\": true}', flush=True)\n"
                           "for line in sys.stdin: print('{\"s\": 1, \"of\": \"%s\"}' % line.strip(), flush=True)")
        self.assertEqual(child.ask("padded")["of"], "padded")
        child.stop()
        self.assertIsNotNone(child.process.returncode)

    def test_failures(self):
        self.fails("import no_such_module", "status 1: ModuleNotFoundError")
        self.fails("print('{\"error\": \"no bf16 here\"}', flush=True)", "^no bf16 here$")
        self.fails("print('hello', flush=True)", "no JSON")
        self.fails("import os, sys\nprint('{}', flush=True)\nsys.stdin.readline()\nos.kill(os.getpid(), 9)", "signal 9")
        with self.assertRaisesRegex(engines.Missing, "no such program"):
            engines.Child("x", ["/no/such/program"], os.devnull)

    def test_silence_ends(self):
        was, engines.READY_SECONDS = engines.READY_SECONDS, 0.2
        try:
            begin = time.monotonic()
            self.fails("import time; time.sleep(60)", "no answer")
            self.assertLess(time.monotonic() - begin, 20)
        finally:
            engines.READY_SECONDS = was


@unittest.skipUnless(BENCH_ENGINE, "no bench_engine given")
class Ours(unittest.TestCase):
    def ask(self, work, commands, *options):
        with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as f:
            json.dump(work, f)
            f.flush()
            done = subprocess.run([BENCH_ENGINE, "--model", MODEL, "--work", f.name, *options], text=True,
                                  input="".join(c + "\n" for c in commands), capture_output=True, timeout=60)
        return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]

    def test_passes(self):
        status, said = self.ask({"titles": TITLES}, ["sorted", "padded", "single", "what", "quit"], "--singles", "4")
        self.assertEqual(status, 0)
        self.assertEqual((said[0]["ready"], said[0]["ids_differ"]), (True, 0))
        self.assertTrue(all(reply["s"] > 0 and reply["rss_mb"] > 1 for reply in said[1:4]))
        self.assertEqual(len(said[3]["ms"]), 4)
        self.assertIn("error", said[4])

    def test_answers_do_not_depend_on_works(self):
        _, (_, whole) = self.ask({"titles": TITLES}, ["answers"])
        self.assertTrue(all(abs(sum(p) - 1) < 1e-4 for p in whole["answers"]))
        for options in (["--batch", "1"], ["--batch", "4", "--threads", "1"], ["--threads", "5"]):
            _, (_, cut) = self.ask({"titles": TITLES}, ["answers"], *options)
            self.assertLess(report.agreement(cut["answers"], whole["answers"])[1], 1e-5)

    def test_given_ids_are_used(self):
        _, (ready, a) = self.ask({"titles": TITLES[:2], "ids": [[5], [6, 7]]}, ["answers"])
        _, (_, b) = self.ask({"ids": [[5], [6, 7]]}, ["answers"])
        self.assertEqual((ready["ids_differ"], a), (2, b))

    def test_bad_work(self):
        for work, why in (({}, "neither"), ({"ids": [[]]}, r"ids\[0\] has 0 ids"), ({"ids": [[1], [-1]]}, r"ids\[1\]\[0\]"),
                          ({"titles": [3]}, "no string"), ({"titles": ["a"], "ids": [[1], [2]]}, "ids of 2")):
            status, said = self.ask(work, [])
            self.assertNotEqual(status, 0)
            self.assertRegex(said[0]["error"], why)


class Peers(unittest.TestCase):
    """What the peers share; needs numpy, which their environment has."""

    def setUp(self):
        try:
            import peer
        except ImportError as why:
            self.skipTest(str(why))
        self.peer = peer

    def test_cut(self):
        self.assertEqual(self.peer.cut(384, 128, 1), [(0, 128), (128, 256), (256, 384)])
        self.assertEqual(self.peer.cut(384, 128, 2), [(0, 96), (96, 192), (192, 288), (288, 384)])
        self.assertEqual(self.peer.cut(5, 2, 2), [(0, 2), (2, 4), (4, 5)])
        self.assertEqual(self.peer.cut(1, 128, 4), [(0, 1)])

    def test_padding(self):
        x = self.peer.arrays("bert", [[101, 5, 102], [101, 102]], 4)
        self.assertEqual(x["input_ids"].tolist(), [[101, 5, 102, 0], [101, 102, 0, 0]])
        self.assertEqual(x["attention_mask"].tolist(), [[1, 1, 1, 0], [1, 1, 0, 0]])
        x = self.peer.arrays("xlnet", [[9, 4, 3], [4, 3]], 4)
        self.assertEqual(x["input_ids"].tolist(), [[5, 9, 4, 3], [5, 5, 4, 3]])
        self.assertEqual(x["attention_mask"].tolist(), [[0, 1, 1, 1], [0, 0, 1, 1]])
        self.assertEqual(x["token_type_ids"].tolist(), [[3, 0, 0, 2], [3, 3, 0, 2]])

    def test_answers_come_in_the_order_of_the_titles(self):
        class Echo:
            streams = 2

            def prepare(self, x):
                return x["input_ids"]

            def run(self, works):
                return [w[:, :1] * [[0.1, 0.0]] for w in works]
        ids = [[3], [9, 1, 1], [5, 1], [7, 1, 1, 1]]
        passes = self.peer.Passes(Echo(), "bert", ids, 2, 8)
        best = [row[0] for row in passes.answers()["answers"]]
        self.assertEqual(sorted(range(4), key=lambda i: best[i]), [0, 2, 3, 1])
        self.assertEqual(len(passes.run("single")["ms"]), 4)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[3:])
