#!/usr/bin/env python3
"""Writes stats/tests/vectors/kendall.json: rank correlations by SciPy, for stats/tests/kendall.rs.

    .oracles/venv/bin/python scripts/oracles/kendall_scipy.py
"""

import json
import pathlib

import numpy as np
import scipy

OUT = pathlib.Path(__file__).parents[2] / "stats/tests/vectors/kendall.json"


def main():
    rng = np.random.default_rng(20261121)
    pairs = [([1, 2], [3, 4]), ([1, 2], [4, 3]), ([1, 1, 2], [1, 2, 2])]
    for n in [3, 7, 16, 63, 200]:
        x = rng.normal(size=n).round(6)
        pairs += [(x, (x + rng.normal(size=n)).round(6)), (x, x), (x, -x)]
        # Few levels, so many ties in either and in both.
        pairs.append((rng.integers(0, 4, n), rng.integers(0, 3, n)))
    cases = []
    for x, y in pairs:
        tau = scipy.stats.kendalltau(x, y, variant="b").statistic
        assert np.isfinite(tau)
        cases.append({"x": [float(v) for v in x], "y": [float(v) for v in y], "tau": float(tau)})
    rows = ",\n".join(json.dumps(case) for case in cases)
    OUT.write_text(f'{{"made_by": "SciPy {scipy.__version__}", "cases": [\n{rows}\n]}}\n')


if __name__ == "__main__":
    main()
