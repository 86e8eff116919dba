#!/usr/bin/env python3
"""Writes stats/tests/vectors/comparison.json: what SciPy and NumPy make of tests,
slopes and adjusted p-values that the crate `stats/` computes. The test
stats/tests/comparison.rs reads it.

    .oracles/venv/bin/python scripts/oracles/comparison_scipy.py    # 20 s; needs scipy >= 1.12
"""

import json
import pathlib

import numpy as np
import scipy
from scipy import stats

SEED = 20261121
OUT = pathlib.Path(__file__).parents[2] / "stats/tests/vectors/comparison.json"
ALTERNATIVES = {"two_sided": "two-sided", "less": "less", "greater": "greater"}


def rank_sum(x, y):
    return stats.rankdata(np.concatenate([x, y]))[: len(x)].sum()


def mann_whitney(x, y, exact):
    """SciPy's exact method knows no ties; there, its permutation test over all choices."""
    p = {}
    for ours, theirs in ALTERNATIVES.items():
        tied = len(set(x) | set(y)) < len(x) + len(y)
        if exact and tied:
            test = stats.permutation_test(
                (x, y), rank_sum, n_resamples=np.inf, alternative=theirs, vectorized=False
            )
        else:
            method = "exact" if exact else "asymptotic"
            test = stats.mannwhitneyu(x, y, alternative=theirs, method=method)
        p[ours] = float(test.pvalue)
    return {"x": list(x), "y": list(y), "u": float(stats.mannwhitneyu(x, y).statistic), "exact": exact, "p": p}


def hodges_lehmann(before, after, confidence):
    """All differences; the interval by inverting SciPy's exact test between each two of them."""
    differences = np.sort(np.subtract.outer(after, before).ravel())
    middles = (differences[1:] + differences[:-1]) / 2
    kept = [
        stats.mannwhitneyu(before, after - shift, method="exact").pvalue > (1 - confidence) * (1 + 1e-12)
        for shift in middles
    ]
    first, last = kept.index(True), len(kept) - 1 - kept[::-1].index(True)
    return {
        "before": list(before),
        "after": list(after),
        "confidence": confidence,
        "value": float(np.median(differences)),
        "low": float(differences[first]),
        "high": float(differences[last + 1]),
    }


def theil_sen(x, y, confidence):
    fit = stats.theilslopes(y, x, confidence)
    return {
        "x": list(x),
        "y": list(y),
        "confidence": confidence,
        "value": float(fit.slope),
        "low": float(fit.low_slope),
        "high": float(fit.high_slope),
    }


def mcnemar(b, c):
    p = stats.binomtest(b, b + c, 0.5).pvalue if b + c else 1.0
    # Lancaster's mid-p, from the binomial's parts.
    fair = stats.binom(b + c, 0.5)
    mid_p = 2 * fair.cdf(min(b, c)) - fair.pmf(min(b, c))
    return {"b": b, "c": c, "p": float(p), "mid_p": float(mid_p)}


def min_queries(p, confidence, over_limit):
    """By trying every n."""
    n = np.arange(over_limit + 1, 200_000)
    shown = stats.binom.cdf(over_limit, n, 1 - p) <= (1 - confidence) * (1 + 1e-12)
    return {"p": p, "confidence": confidence, "over_limit": over_limit, "n": int(n[shown][0])}


def energy(values, at):
    """SciPy's energy distance is the root of E|X-Y|*2 - E|X-X'| - E|Y-Y'|."""
    ranks = stats.rankdata(values)
    n = len(values)
    squared = stats.energy_distance(ranks[:at], ranks[at:]) ** 2
    return {"values": list(values), "at": at, "energy": float(squared * at * (n - at) / n**2)}


def splitmix64(seed, n):
    """The same doubles as the test draws, made of whole numbers."""
    mask, state, out = 2**64 - 1, seed, []
    for _ in range(n):
        state = (state + 0x9E3779B97F4A7C15) & mask
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        out.append(((z ^ (z >> 31)) >> 11) * 2.0**-53)
    return np.array(out)


def random_quantile(seed):
    """Of the data set of this seed one quantile and its 95 % interval; null where withheld."""
    u = splitmix64(seed, 1 + seed * 7919 % 2000)
    x = [u, u * u - u, 1 / (u + 2.0**-53), np.floor(10 * u)][seed // 4 % 4]
    p = [0.5, 0.9, 0.95, 0.99][seed % 4]
    ends = stats.quantile_test(x, q=0, p=p).confidence_interval(0.95)
    interval = None if np.isnan(ends.low) or np.isnan(ends.high) else [float(ends.low), float(ends.high)]
    return [float(np.quantile(x, p)), interval]


def main():
    rng = np.random.default_rng(SEED)

    def normal(n, digits=4):
        return rng.normal(10, 2, n).round(digits)

    def slope_case(n, ties):
        x = np.arange(n) // (2 if ties else 1)
        y = (0.3 * x + rng.standard_t(2, n)).round(0 if ties else 4)
        return x.astype(float), y

    vectors = {
        "made_by": f"scripts/oracles/comparison_scipy.py, SciPy {scipy.__version__}, "
        f"NumPy {np.__version__}, seed {SEED}",
        "mann_whitney": [
            *(mann_whitney(normal(a), normal(b) + shift, True) for a, b, shift in
              [(1, 1, 0), (3, 4, 0), (8, 5, 1), (12, 12, 2), (25, 30, 1), (50, 50, 0.5)]),
            *(mann_whitney(normal(a, 0), normal(b, 0) + shift, True) for a, b, shift in
              [(4, 4, 0), (5, 6, 1), (7, 5, 2), (8, 8, 1)]),
            *(mann_whitney(normal(a, digits), normal(b, digits) + shift, False) for a, b, shift, digits in
              [(70, 60, 0, 4), (70, 80, 1, 0), (120, 55, 0.5, 1), (60, 90, 3, 0)]),
        ],
        "hodges_lehmann": [
            hodges_lehmann(normal(a), normal(b) + 1, confidence)
            for a, b in [(4, 5), (7, 7), (12, 9)]
            for confidence in [0.8, 0.95]
        ],
        "theil_sen": [
            theil_sen(*slope_case(n, ties), confidence)
            for n in [6, 7, 20, 51]
            for ties in [False, True]
            for confidence in [0.8, 0.9]
        ],
        "mcnemar": [mcnemar(b, c) for b, c in [(0, 0), (0, 1), (5, 0), (3, 9), (10, 10), (40, 62), (510, 450), (9_000, 9_300)]],
        "min_queries": [
            min_queries(p, confidence, over_limit)
            for p in [0.5, 0.9, 0.97, 0.99, 0.999]
            for confidence in [0.9, 0.95, 0.99]
            for over_limit in [0, 1, 2, 10]
        ],
        "false_discovery": [
            {"p": list(p), "adjusted": list(stats.false_discovery_control(p))}
            for p in [[0.5], [0.01, 0.02, 0.03, 0.04], [0.04, 0.04, 0.9, 0.04], [0.0, 1.0, 1.0],
                      rng.random(30).round(4).tolist(), (rng.random(50) ** 4).round(5).tolist()]
        ],
        "energy": [
            energy(values, at)
            for values in [normal(9), normal(30, 0), np.sort(normal(25))]
            for at in [1, 2, 4, len(values) - 1]
        ],
        "random_quantiles": [random_quantile(seed) for seed in range(1_000)],
    }
    # One vector a line: a changed one is one changed line.
    lines = []
    for key, value in vectors.items():
        if isinstance(value, list):
            rows = ",\n".join("  " + json.dumps(row) for row in value)
            lines.append(f'"{key}": [\n{rows}\n]')
        else:
            lines.append(f'"{key}": {json.dumps(value)}')
    OUT.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
