#!/usr/bin/env python3
"""Writes suites/tests/vectors/rolling.json: how lm-evaluation-harness cuts token lists for its
rolling log-likelihoods. The tests of the suite `perplexity` read it.

    python3 -m pip download --no-deps lm-eval==0.4.13
    python3 scripts/oracles/rolling_windows.py lm_eval-0.4.13-py3-none-any.whl
"""

import ast
import json
import pathlib
import sys
import zipfile

OUT = pathlib.Path(__file__).parents[2] / "suites/tests/vectors/rolling.json"
PREFIX = 77


def functions(wheel):
    """The two functions alone: their module imports half of PyPI."""
    tree = ast.parse(zipfile.ZipFile(wheel).read("lm_eval/utils.py"))
    wanted = ("get_rolling_token_windows", "make_disjoint_window")
    tree.body = [node for node in tree.body if getattr(node, "name", "") in wanted]
    names = {"Generator": __import__("typing").Generator}
    exec(compile(tree, "lm_eval/utils.py", "exec"), names)
    return [names[name] for name in wanted]


def main():
    rolling, disjoint = functions(sys.argv[1])
    cases = []
    for tokens, ctx in [(4, 4), (9, 4), (12, 4), (13, 4), (10, 7), (14, 7), (30, 8)]:
        windows = []
        for pair in map(disjoint, rolling(list(range(tokens)), PREFIX, ctx, 1)):
            context, targets = pair
            windows.append({"read": (context + targets)[:-1], "targets": targets})
        cases.append({"tokens": tokens, "ctx": ctx, "prefix": PREFIX, "windows": windows})
    rows = ",\n".join("  " + json.dumps(case) for case in cases)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(f'{{"made_by": "scripts/oracles/rolling_windows.py, lm-eval 0.4.13", "cases": [\n{rows}\n]}}\n')


if __name__ == "__main__":
    main()
