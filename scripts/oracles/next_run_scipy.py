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

OUT = pathlib.Path(__file__).parents[2] / "stats/tests/vectors/next_run.json"


def scores(runs, margin):
    """By run and figure; `runs` has the new one last."""
    centre = np.median(runs, axis=0)
    excess = runs - centre
    scale = np.hypot(np.linalg.norm(excess.clip(0), axis=0) / np.sqrt(len(runs)), margin * abs(centre) / 4)
    counts = (excess > 0) & (excess >= margin * abs(centre))
    return centre, np.divide(excess, scale, out=np.zeros_like(excess), where=counts)


def places(values):
    """From the worst; what differs by rounding is a tie, and ties have the last of their places."""
    close = np.abs(values[:, None] - values) <= 1e-12 * np.abs(values)
    return np.sum((values > values[:, None]) | close, axis=1)


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


def case(past, new, margin):
    runs = np.vstack([past, new])
    centre, score = scores(runs, margin)
    sums = score.clip(max=2).sum(axis=1)
    # The share of all choices of the new run that are as bad as it is with this as its worst figure.
    p = []
    for figure in score[-1]:
        # Its other figures do not change the places of the runs before.
        by_worst, by_sum = places(score.max(axis=1)), places(sums)
        by_worst[-1] = places(np.append(score[:-1].max(axis=1), figure))[-1]
        pairs = np.sort(np.column_stack([by_worst, by_sum]), axis=1)
        order = stats.rankdata(pairs @ [len(runs) + 1, 1], method="max")
        p.append(order[-1] / len(runs) if figure > 0 else 1.0)
    return {
        "past": past.T.tolist(),
        "next": new.tolist(),
        "margin": margin,
        "dependence": dependence(past),
        "centre": centre.tolist(),
        "p": p,
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
