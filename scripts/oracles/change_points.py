#!/usr/bin/env python3
"""Precision, recall and false alarms of our change points beside ruptures' and otava's.

    python3 -m venv /tmp/venv-cp
    /tmp/venv-cp/bin/pip install ruptures==1.1.10 apache-otava==0.8.0
    /tmp/venv-cp/bin/python scripts/oracles/change_points.py [REPEATS [SEED]]     # 4 7; minutes

The same synthetic series for all: steps of 1, 1.5, 2, 3 and 5 standard deviations (by the median
absolute deviation) in normal, Student t (3 degrees), lognormal, autocorrelated (AR(1), 0.3) and
normal noise with 3 % outliers of ten deviations; lengths 50 to 1,000; one step in the middle or at
80 %, a stair of two, a bump. A found change point is right when it is the nearest to a true one not
yet taken and within 5 samples of it. otava runs with its defaults; ruptures has none for the
penalty: l2 gets the BIC's (2 σ² ln n, σ from the differences), rbf ln n and 2 ln n. Ours is the
example stats/examples/change_points.rs.

A method trades precision for recall by its level or penalty, so each of the others is held against
the level of PELT that suits it best: as good if PELT is at least as good in both, not told apart if a
95 % interval of each difference (bootstrap over series) reaches up to zero. Exit status 1 if
PELT is neither for one of the others, or if one of our methods at its default raises more than 5 % of
false alarms in noise without autocorrelation (but for one chance in a thousand). PELT's penalty was
chosen on seed 20261121: judge it on any other.
"""

import collections
import json
import pathlib
import subprocess
import sys

import numpy as np
import ruptures
from otava.analysis import compute_change_points
from scipy import stats

REPO = pathlib.Path(__file__).resolve().parents[2]
SEED = int(sys.argv[2]) if len(sys.argv) > 2 else 7
MARGIN = 5
LENGTHS = [50, 100, 200, 500, 1_000]
STEPS = [1.0, 1.5, 2.0, 3.0, 5.0]
PATTERNS = {
    "middle": [(0.5, 1)],
    "late": [(0.8, 1)],
    "stair": [(0.3, 1), (0.7, 2)],
    "bump": [(0.4, 1), (0.7, 0)],
}
NOISES = ["normal", "student t3", "lognormal", "outliers", "AR(1) 0.3"]


def noise(rng, kind, n):
    if kind == "normal":
        x = rng.normal(size=n)
    elif kind == "student t3":
        x = rng.standard_t(3, size=n)
    elif kind == "lognormal":
        x = rng.lognormal(0, 0.7, size=n)
    elif kind == "outliers":
        x = rng.normal(size=n) + 10 * (rng.random(n) < 0.03) * rng.choice([-1, 1], n)
    else:
        x = rng.normal(size=n + 50)
        for i in range(1, len(x)):
            x[i] += 0.3 * x[i - 1]
        x = x[50:]
    # The population's scale, so that a step means the same in any noise.
    scale = {"normal": 1, "student t3": 1.134, "lognormal": 0.627, "outliers": 1, "AR(1) 0.3": 1.048}
    return x / scale[kind]


def otava(x):
    # A list: given an array, otava 0.8.0 forgets to cut its windows.
    found, _ = compute_change_points(x.tolist(), window_len=50, max_pvalue=0.001, min_magnitude=0.0)
    return [point.index for point in found]


def sigma(x):
    return 1.4826 * np.median(np.abs(np.diff(x))) / np.sqrt(2)


def ruptures_l2(x):
    # KernelCPD's linear kernel is PELT with the cost l2, in C.
    fitted = ruptures.KernelCPD(kernel="linear", min_size=5).fit(x)
    return fitted.predict(pen=2 * sigma(x) ** 2 * np.log(len(x)))[:-1]


def ruptures_rbf(x, factor):
    fitted = ruptures.KernelCPD(kernel="rbf", min_size=5).fit(x)
    return fitted.predict(pen=factor * np.log(len(x)))[:-1]


OURS = ["ours, PELT", "ours, PELT, α = 0.2", "ours, PELT, α = 0.01", "ours, PELT, α = 0.001"]
OTHERS = {
    "otava": otava,
    "ruptures l2": ruptures_l2,
    "ruptures rbf, ln n": lambda x: ruptures_rbf(x, 1),
    "ruptures rbf, 2 ln n": lambda x: ruptures_rbf(x, 2),
}


def make(rng, repeats):
    series = []
    for kind in NOISES:
        for n in LENGTHS:
            for _ in range(4 * repeats):
                series.append({"noise": kind, "n": n, "step": 0.0, "pattern": "none", "true": [], "x": noise(rng, kind, n)})
            for step in STEPS:
                for pattern, changes in PATTERNS.items():
                    for _ in range(max(1, repeats // 4)):
                        x = noise(rng, kind, n)
                        true = [int(share * n) for share, _ in changes]
                        for i, (at, (_, level)) in enumerate(zip(true, changes)):
                            end = true[i + 1] if i + 1 < len(true) else n
                            x[at:end] += step * level
                        series.append({"noise": kind, "n": n, "step": step, "pattern": pattern, "true": true, "x": x})
    return series


def hits(true, found):
    left = list(found)
    hit = 0
    for at in true:
        near = min(left, key=lambda index: abs(index - at), default=None)
        if near is not None and abs(near - at) <= MARGIN:
            left.remove(near)
            hit += 1
    return hit


def ours(series):
    lines = "".join(json.dumps(one["x"].tolist()) + "\n" for one in series)
    command = ["cargo", "run", "--release", "--quiet", "-p", "harness-stats", "--example", "change_points"]
    output = subprocess.run(command, input=lines, capture_output=True, text=True, check=True, cwd=REPO).stdout
    found, brackets = collections.defaultdict(list), collections.defaultdict(list)
    for line in output.splitlines():
        for name, points in json.loads(line).items():
            found[f"ours, {name}"].append([point["index"] for point in points])
            brackets[f"ours, {name}"].append([point["bracket"] for point in points])
    return found, brackets


def counts(series, found):
    """By series with changes: how many there are, how many were named, how many rightly."""
    return np.array([(len(one["true"]), len(indices), hits(one["true"], indices)) for one, indices in zip(series, found)])


def ratios(counted):
    true, named, right = counted.sum(axis=-2).T
    return np.array([right / np.maximum(named, 1), right / np.maximum(true, 1)])


def scores(series, found, keep):
    kept = [bool(one["true"]) and keep(one) for one in series]
    return ratios(counts(series, found)[kept])


def difference(series, ours, theirs):
    """Precision and recall, ours less theirs, each with a 95 % interval by a bootstrap over series."""
    kept = [bool(one["true"]) for one in series]
    ours, theirs = counts(series, ours)[kept], counts(series, theirs)[kept]
    draws = np.random.default_rng(0).integers(len(ours), size=(2000, len(ours)))
    spread = ratios(ours[draws]) - ratios(theirs[draws])
    return ratios(ours) - ratios(theirs), np.quantile(spread, [0.025, 0.975], axis=1)


def alarms(series, found, keep):
    noise_only = [bool(indices) for one, indices in zip(series, found) if not one["true"] and keep(one)]
    return sum(noise_only) / len(noise_only)


def held(series, found, brackets, keep):
    """How many brackets of changes found hold the true change, and how wide they are, in the median. A change is
    that of a true one if it is within 40 samples of it, and none nearer to it."""
    holds, widths = [], []
    for one, indices, ends in zip(series, found, brackets):
        for at in one["true"] if keep(one) else []:
            near = min(range(len(indices)), key=lambda i: abs(indices[i] - at), default=None)
            if near is not None and abs(indices[near] - at) <= 40:
                before, after = ends[near]
                holds.append(before < at <= after)
                widths.append(after - before)
    return f"{100 * np.mean(holds):.1f} of {len(holds)}, {np.median(widths):.0f}"


def table(title, names, cell):
    print(f"\n{title}\n")
    print("| | " + " | ".join(names) + " |")
    print("|---|" + "---|" * len(names))
    for label, row in cell:
        print(f"| {label} | " + " | ".join(row) + " |")


def main():
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 4
    series = make(np.random.default_rng(SEED), repeats)
    found, brackets = ours(series)
    for name, method in OTHERS.items():
        found[name] = [method(one["x"]) for one in series]
    names = list(found)
    everything = lambda one: True
    groups = [("all", everything)]
    groups += [(f"noise: {kind}", lambda one, kind=kind: one["noise"] == kind) for kind in NOISES]
    groups += [(f"step {step:g}", lambda one, step=step: one["step"] == step) for step in STEPS]
    groups += [(f"n = {n}", lambda one, n=n: one["n"] == n) for n in LENGTHS]
    groups += [(f"shape: {pattern}", lambda one, pattern=pattern: one["pattern"] == pattern) for pattern in PATTERNS]
    print(f"{len(series)} series, seed {SEED}, margin {MARGIN}")
    rows = []
    for label, keep in groups:
        pairs = [scores(series, found[name], keep) for name in names]
        rows.append((label, [f"{100 * p:.1f} / {100 * r:.1f}" for p, r in pairs]))
    table("precision / recall, %", names, rows)
    rows = []
    for label, keep in [("all", everything), *groups[1 : 1 + len(NOISES)]]:
        rows.append((label, [f"{100 * alarms(series, found[name], keep):.1f}" for name in names]))
    table("series of noise alone that raised an alarm, %", names, rows)
    rows = []
    for label, keep in groups[:6]:
        rows.append((label, [held(series, found[name], brackets[name], keep) for name in brackets]))
    table("brackets of 95 % that hold the change, %, and their width in samples", list(brackets), rows)
    print()
    passed = True
    rows = []
    for name in names:
        p, r = scores(series, found[name], everything)
        print(f"{name}: F1 {200 * p * r / (p + r):.1f}")
    for name in OTHERS:
        gains = {one: difference(series, found[one], found[name]) for one in OURS}
        # The level whose worse side is best.
        best = max(OURS, key=lambda one: min(gains[one][0]))
        (precision, recall), (low, high) = gains[best]
        verdict = "as good in both" if min(precision, recall) >= 0 else "not told apart" if min(high) >= 0 else "WORSE"
        passed &= verdict != "WORSE"
        rows.append((f"{best} against {name}", [
            f"{100 * precision:+.1f} ({100 * low[0]:+.1f} to {100 * high[0]:+.1f})",
            f"{100 * recall:+.1f} ({100 * low[1]:+.1f} to {100 * high[1]:+.1f})",
            verdict,
        ]))
    table("our best level against each, points", ["precision", "recall", "verdict"], rows)
    print()
    independent = lambda one: not one["noise"].startswith("AR")
    trials = sum(not one["true"] and independent(one) for one in series)
    most = stats.binom.ppf(0.999, trials, 0.05) / trials
    for name in ["ours, E-divisive", "ours, PELT"]:
        share = alarms(series, found[name], independent)
        passed &= share <= most
        print(f"{name}: {100 * share:.1f} % false alarms in independent noise: {'pass' if share <= most else 'FAIL'}")
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
