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


def scores(runs, margin):
    """By run and figure; `runs` has the new one last."""
    centre = np.median(runs, axis=0)
    excess = runs - centre
    scale = np.hypot(np.linalg.norm(excess.clip(0), axis=0) / np.sqrt(len(runs)), margin * abs(centre) / 4)
    counts = (excess > 0) & (excess >= margin * abs(centre))
    return centre, np.divide(excess, scale, out=np.zeros_like(excess), where=counts)


def badness(score, level):
    """By run: the larger of worst and sum, each by what one run more than the share `level` reaches."""
    measures = np.column_stack([score.max(axis=1), score.clip(max=2).sum(axis=1)])
    place = int(level * len(score) * (1 + 1e-12))
    return measures, np.sort(measures, axis=0)[::-1][place].clip(min=1e-9)


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
    centre, score = scores(runs, margin)
    p = {}
    for level in LEVELS:
        measures, units = badness(score, level)
        bad = (measures / units).max(axis=1)
        joint, own = [], []
        for figure, all_of_it in zip(score[-1], score.T):
            # The share of all choices of the new run that are as bad as it is with this as its worst
            # figure, and by this figure alone.
            here = max(figure / units[0], measures[-1, 1] / units[1])
            joint.append(share_as_bad(np.append(bad[:-1], here)) if figure > 0 else 1.0)
            own.append(share_as_bad(all_of_it) if figure > 0 else 1.0)
        both = np.maximum(joint, own)
        # If the run is bad and no figure alone is, the worst is named.
        if not (both * factor <= level * (1 + 1e-12)).any():
            worst = len(both) - 1 - np.argmax(score[-1][::-1])
            both[worst] = joint[worst]
        p[level] = both.tolist()
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
