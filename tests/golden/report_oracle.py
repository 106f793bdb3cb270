"""Prints tests/trainer/report_oracle.inc: per class, macro and weighted precision, recall and F1 of scikit-learn for the
sequence of tests/trainer/test_report.c. Needs scikit-learn (made with 1.7); the test does not.

With arguments MODEL.json TRUTH PREDICTED (one index a line), compares `evaluate --json` with classification_report."""
import json
import sys

from sklearn.metrics import accuracy_score, classification_report, confusion_matrix


def sequence():
    x, truth, predicted = 1, [], []
    for _ in range(1000):
        x = (1103515245 * x + 12345) % 2**31
        label = (x >> 16) % 3
        x = (1103515245 * x + 12345) % 2**31
        truth.append(label)
        predicted.append(label if (x >> 16) % 10 < 7 else (x >> 20) % 3)
    return truth, predicted


def print_golden():
    report = classification_report(*sequence(), output_dict=True, zero_division=0)
    for key in ["0", "1", "2", "macro avg", "weighted avg"]:
        row = report[key]
        print("        {%.12g, %.12g, %.12g}," % (row["precision"], row["recall"], row["f1-score"]))


def compare(json_path, truth_path, predicted_path):
    ours = json.load(open(json_path))
    truth = [int(line) for line in open(truth_path)]
    predicted = [int(line) for line in open(predicted_path)]
    theirs = classification_report(truth, predicted, output_dict=True, zero_division=0)
    pairs = [(ours["accuracy"], accuracy_score(truth, predicted)),
             (ours["macro_f1"], theirs["macro avg"]["f1-score"])]
    for ours_key, key in [("macro", "macro avg"), ("weighted", "weighted avg")]:
        pairs += [(ours[ours_key][a], theirs[key][b])
                  for a, b in [("precision", "precision"), ("recall", "recall"), ("f1", "f1-score")]]
    for row in ours["classes"]:
        other = theirs[str(row["index"])]
        pairs += [(row["precision"], other["precision"]), (row["recall"], other["recall"]),
                  (row["f1"], other["f1-score"]), (row["support"], other["support"])]
    worst = max(abs(a - b) for a, b in pairs)
    same = ours["confusion"] == confusion_matrix(truth, predicted).tolist()
    print(f"{len(pairs)} figures, greatest difference {worst:.2g}, confusion matrix {'equal' if same else 'DIFFERENT'}")
    return 0 if worst < 1e-8 and same else 1


if __name__ == "__main__":
    sys.exit(compare(*sys.argv[1:]) if len(sys.argv) == 4 else print_golden())
