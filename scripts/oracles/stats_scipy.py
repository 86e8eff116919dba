#!/usr/bin/env python3
"""Writes stats/tests/vectors/scipy.json: what SciPy and NumPy make of the
numbers that the crate `stats/` computes. The test stats/tests/scipy.rs reads it.

    python3 scripts/oracles/stats_scipy.py        # needs numpy and scipy >= 1.12

Bootstraps are random, so each end of each bootstrap interval is given as the
mean and standard deviation over RUNS independent runs of SciPy's; our single
run with as many resamples is one more draw from that distribution.
"""

import json
import pathlib

import numpy as np
import scipy
from scipy import stats

SEED = 20261121
RUNS = 32
RESAMPLES = 20_000
OUT = pathlib.Path(__file__).parents[2] / "stats/tests/vectors/scipy.json"


def samples(rng):
    """Named samples, rounded so that the JSON is short and exact."""
    return {
        "one": [3.25],
        "two": [1.0, 4.0],
        "ties": [1.0, 1.0, 1.0, 2.0, 2.0, 5.0],
        "normal": rng.normal(10, 2, 12).round(4).tolist(),
        "lognormal": rng.lognormal(0, 1, 25).round(4).tolist(),
        "gamma": rng.gamma(0.7, 3, 40).round(4).tolist(),
        "negative": (-rng.exponential(1e6, 33)).round(2).tolist(),
    }


def summary(x):
    levels = [0.0, 0.01, 0.1, 0.25, 0.5, 0.9, 0.95, 0.99, 0.999, 1.0]
    return {
        "samples": x,
        "mean": float(np.mean(x)),
        "std": float(np.std(x, ddof=1)) if len(x) > 1 else None,
        "scaled_mad": float(stats.median_abs_deviation(x, scale="normal")),
        "percentiles": [[p, float(np.quantile(x, p))] for p in levels],
    }


def rank(end):
    """The samples were 1, 2, …, n: the interval's ends are ranks. NaN: withheld."""
    return None if np.isnan(end) else int(end)


def quantile(n, p, confidence):
    x = np.arange(1, n + 1)

    def interval(alternative):
        test = stats.quantile_test(x, q=0, p=p, alternative=alternative)
        return test.confidence_interval(confidence)

    both, upper = interval("two-sided"), interval("less")
    withheld = np.isnan(both.low) or np.isnan(both.high)
    return {
        "n": n,
        "p": p,
        "confidence": confidence,
        "low": None if withheld else rank(both.low),
        "high": None if withheld else rank(both.high),
        "upper": rank(upper.high),
    }


def min_samples(p, confidence):
    """By trying every n against the binomial."""
    # 1 - 0.9999 is a little under 0.01²: a tie in arithmetic is one here too.
    alpha = (1 - confidence) * (1 + 1e-12)
    n = np.arange(1, 200_000)
    all_below = stats.binom.pmf(n, n, p)
    all_above = stats.binom.pmf(0, n, p)
    upper = n[all_below <= alpha][0]
    both = n[(all_below <= alpha / 2) & (all_above <= alpha / 2)][0]
    return {"p": p, "confidence": confidence, "upper": int(upper), "both": int(both)}


def wilson(successes, trials, confidence):
    test = stats.binomtest(successes, trials)
    ends = test.proportion_ci(confidence, method="wilson")
    return {
        "successes": successes,
        "trials": trials,
        "confidence": confidence,
        "low": float(ends.low),
        "high": float(ends.high),
    }


def mean_t(x, confidence):
    """SciPy's t interval about the mean."""
    low, high = stats.t.interval(confidence, len(x) - 1, loc=np.mean(x), scale=stats.sem(x))
    return {"samples": x, "confidence": confidence, "low": float(low), "high": float(high)}


def bootstrap(rng, data, statistic, confidence, method):
    """Mean and standard deviation of each end over the runs."""
    ends = []
    for _ in range(RUNS):
        result = stats.bootstrap(
            data,
            statistic,
            paired=len(data) > 1,
            vectorized=True,
            n_resamples=RESAMPLES,
            batch=2_000,
            confidence_level=confidence,
            method=method,
            rng=rng,
        )
        ends.append(tuple(result.confidence_interval))
    low, high = np.array(ends).T
    return {
        "low": [float(low.mean()), float(low.std(ddof=1))],
        "high": [float(high.mean()), float(high.std(ddof=1))],
    }


def both_bootstraps(rng, data, statistic, confidence):
    return {
        "confidence": confidence,
        "bca": bootstrap(rng, data, statistic, confidence, "BCa"),
        "percentile": bootstrap(rng, data, statistic, confidence, "percentile"),
    }


STATISTICS = {
    "mean": np.mean,
    "median": np.median,
    "std": lambda x, axis=-1: np.std(x, axis=axis, ddof=1),
    "p90": lambda x, axis=-1: np.quantile(x, 0.9, axis=axis),
}


def ratio(numerator, denominator, axis=-1):
    return numerator.sum(axis=axis) / denominator.sum(axis=axis)


def blocks(rng, n):
    """Sums over contexts of unequal length, longer ones with lower means."""
    length = rng.integers(32, 513, n).astype(float)
    mean = (3 - length / 512) * rng.lognormal(0, 0.8, n)
    return (mean * length).round(3), length


def ratio_t(numerator, denominator, confidence):
    """Student t with the standard error of the delete-one jackknife."""
    n = len(numerator)
    keep = ~np.eye(n, dtype=bool)
    without = np.array([ratio(numerator[k], denominator[k]) for k in keep])
    error = np.sqrt((n - 1) * np.var(without))
    half = stats.t.ppf((1 + confidence) / 2, n - 1) * error
    value = ratio(numerator, denominator)
    return {"confidence": confidence, "low": value - half, "high": value + half}


def equal_t(numerator, denominator, confidence):
    """Equal denominators: the t test's own interval for the mean."""
    means = numerator / denominator
    ends = stats.ttest_1samp(means, 0).confidence_interval(confidence)
    return {"confidence": confidence, "low": float(ends.low), "high": float(ends.high)}


def main():
    rng = np.random.default_rng(SEED)
    named = samples(rng)
    iid = [
        ("normal", "std", 0.95),
        ("lognormal", "mean", 0.95),
        ("lognormal", "mean", 0.99),
        ("gamma", "median", 0.9),
        ("gamma", "p90", 0.95),
        ("gamma", "std", 0.95),
        ("negative", "mean", 0.95),
    ]
    t_cases = []
    for n in [2, 3, 7, 20, 49]:
        numerator, denominator = blocks(rng, n)
        for confidence in [0.9, 0.95, 0.999]:
            t_cases.append((numerator, denominator, ratio_t(numerator, denominator, confidence)))
            same = np.full(n, 256.0)
            t_cases.append((numerator, same, equal_t(numerator, same, confidence)))
    bca_cases = []
    for n, confidence in [(50, 0.95), (60, 0.99)]:
        numerator, denominator = blocks(rng, n)
        vectors = both_bootstraps(rng, (numerator, denominator), ratio, confidence)
        bca_cases.append((numerator, denominator, vectors))

    def with_blocks(cases):
        return [
            {"numerators": list(n), "denominators": list(d), **vectors} for n, d, vectors in cases
        ]

    vectors = {
        "made_by": f"scripts/oracles/stats_scipy.py, SciPy {scipy.__version__}, "
        f"NumPy {np.__version__}, seed {SEED}",
        "runs": RUNS,
        "resamples": RESAMPLES,
        "summaries": [summary(x) for x in named.values()],
        "quantiles": [
            quantile(n, p, confidence)
            for n in [1, 2, 5, 6, 7, 10, 30, 100, 458, 459, 1_000, 10_007, 1_000_000]
            for p in [0.05, 0.5, 0.9, 0.99, 0.999]
            for confidence in [0.9, 0.95, 0.99]
        ],
        "min_samples": [
            min_samples(p, confidence)
            for p in [0.01, 0.5, 0.9, 0.95, 0.99, 0.999]
            for confidence in [0.8, 0.95, 0.99, 0.9999]
        ],
        "wilson": [
            wilson(successes, trials, confidence)
            for successes, trials in [(0, 1), (1, 1), (0, 50), (3, 10), (50, 50), (517, 1_000), (999_999, 1_000_000)]
            for confidence in [0.5, 0.95, 0.999]
        ],
        "mean_t": [
            mean_t(named[name], confidence)
            for name in ["two", "ties", "lognormal", "gamma", "negative"]
            for confidence in [0.9, 0.95, 0.999]
        ],
        "bootstrap": [
            {
                "samples": named[name],
                "statistic": statistic,
                **both_bootstraps(rng, (named[name],), STATISTICS[statistic], confidence),
            }
            for name, statistic, confidence in iid
        ],
        "ratio_t": with_blocks(t_cases),
        "ratio_bca": with_blocks(bca_cases),
    }
    OUT.parent.mkdir(parents=True, exist_ok=True)
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
