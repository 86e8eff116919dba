#!/usr/bin/env python3
"""Writes stats/tests/vectors/next_run.json: whether a run of several figures is like those before it,
for stats/tests/next_run.rs. Medians, norms and ranks are NumPy's and SciPy's.

    .oracles/venv/bin/python scripts/oracles/next_run_scipy.py
"""

import json
import pathlib

import numpy as np
import scipy
from scipy import stats

# The level of the test, and one at which the runs suffice however they depend on each other.
LEVELS = (0.05, 0.5)
OUT = pathlib.Path(__file__).parents[2] / "stats/tests/vectors/next_run.json"


def reached(values, runs):
    """What one run more than `runs` reach, by column."""
    return np.partition(values, -1 - runs, axis=0)[-1 - runs]


def scores(runs, margin, few):
    """By run and figure; `runs` has the new one last."""
    centre = np.median(runs, axis=0)
    excess = runs - centre
    least = margin * abs(centre)
    scale = np.maximum(reached(excess, few), least)
    counts = (excess > 0) & (excess >= least)
    with np.errstate(divide="ignore", invalid="ignore"):
        return centre, np.where(counts, np.minimum(excess / scale, 1e9), 0.0)


def badness(score, few):
    """By run: the largest of its worst, second, fourth, eighth ... worst scores, in units of their own."""
    ranks = 2 ** np.arange(score.shape[1].bit_length()) - 1
    worst = np.sort(score, axis=1)[:, ::-1][:, ranks]
    return (worst / reached(worst, few).clip(min=1e-9)).max(axis=1)


def dependence(past):
    products = squares = 0.0
    for figure in past.T:
        ranks = stats.rankdata(figure)
        ranks -= ranks.mean()
        products += ranks[1:] @ ranks[:-1]
        squares += ranks @ ranks
    n = len(past)
    raw = products / squares if squares else 0.0
    r = raw + (1 + 3 * max(raw, 0)) / n
    if squares == 0 or r < 1 / np.sqrt(n):
        return 1.0
    r = min(r, 0.9)
    return float(np.sqrt((1 + r) / (1 - r)))


def share_as_bad(values):
    """The share of `values` as large as the last of them; what differs by rounding is a tie."""
    return 1 - stats.percentileofscore(values, values[-1] * (1 - 1e-12), kind="strict") / 100


def case(past, new, margin):
    factor = dependence(past)
    runs = np.vstack([past, new])
    p = {}
    for level in LEVELS:
        few = int(level * len(runs) * (1 + 1e-12))
        centre, score = scores(runs, margin, few)
        run = share_as_bad(badness(score, few))
        own = np.array([share_as_bad(figure) for figure in score.T])
        both = np.maximum(own, run)
        # If the run is bad and no figure alone is, the worst is named.
        if not (both * factor <= level * (1 + 1e-12)).any():
            both[len(both) - 1 - np.argmax(score[-1][::-1])] = run
        p[level] = np.where(score[-1] > 0, both, 1.0).tolist()
    return {
        "past": past.T.tolist(),
        "next": new.tolist(),
        "margin": margin,
        "dependence": factor,
        "centre": centre.tolist(),
        "p": list(p.values()),
    }


def main():
    rng = np.random.default_rng(20261122)
    cases = []
    for n in (19, 24, 57):
        for m in (1, 3, 8):
            for kind in ("normal", "heavy", "ties", "dependent"):
                z = rng.normal(size=(n + 1, m)) + rng.normal(size=(n + 1, 1))
                if kind == "heavy":
                    z = np.sinh(1.5 * z)
                if kind == "ties":
                    z = z.round()
                if kind == "dependent":
                    for i in range(1, n + 1):
                        z[i] += 0.7 * z[i - 1]
                z[-1, : rng.choice([1, m])] += rng.choice([0, 2, 6])
                runs = (100 + z).round(5)
                cases.append(case(runs[:-1], runs[-1], float(rng.choice([0, 0.01, 0.02]))))
    # One figure that hardly ever varies, and one that never did.
    rare = np.array([[5.0, 7.0]] * 22)
    rare[4, 0] = 5.5
    cases.append(case(rare, np.array([5.6, 7.2]), 0.01))
    rows = ",\n".join(json.dumps(case) for case in cases)
    OUT.write_text(f'{{"made_by": "SciPy {scipy.__version__}", "cases": [\n{rows}\n]}}\n')


if __name__ == "__main__":
    main()
