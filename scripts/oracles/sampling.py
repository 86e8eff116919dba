#!/usr/bin/env python3
"""Writes suites/tests/vectors/sampling.json: tokens drawn from rows of logits by the rules that
suites/src/generation/sampling.rs states, computed here with NumPy and a ChaCha8 of its own. What
the filters keep is held against the logits processors of transformers.

    .oracles/venv/bin/python scripts/oracles/sampling.py
"""

import itertools
import json
import pathlib
import struct

import numpy as np
import torch
import transformers
from transformers.generation import logits_process as warpers

OUT = pathlib.Path(__file__).parents[2] / "suites/tests/vectors/sampling.json"
STEPS, VOCAB = 16, 24
SETTINGS = [
    "greedy",
    "temperature=1,seed=0",
    "temperature=1,seed=1",
    "temperature=0.7,seed=18446744073709551615",
    "temperature=1.3,top_k=1,seed=3",
    "temperature=0.8,top_k=5,seed=4",
    "temperature=1,top_k=100,seed=5",
    "temperature=1.5,top_p=0.9,seed=6",
    "temperature=1,top_p=0.001,seed=7",
    "temperature=2,min_p=0.1,seed=8",
    "temperature=0.8,top_k=40,top_p=0.95,min_p=0.05,seed=9",
    "temperature=1.7,top_k=9,top_p=0.8,min_p=0.2,seed=10",
]


def chacha8(key):
    """Words of the keystream: D. J. Bernstein's ChaCha with 8 rounds, zero nonce."""
    rotate = lambda x, n: ((x << n) | (x >> (32 - n))) & 0xFFFFFFFF
    constants = struct.unpack("<4I", b"expand 32-byte k")
    for counter in itertools.count():
        start = [*constants, *struct.unpack("<8I", key), counter & 0xFFFFFFFF, counter >> 32, 0, 0]
        x = list(start)

        def quarter(a, b, c, d):
            for first, second, third, n in [(a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)]:
                x[first] = (x[first] + x[second]) & 0xFFFFFFFF
                x[third] = rotate(x[third] ^ x[first], n)

        for _ in range(4):
            for i in range(4):
                quarter(i, 4 + i, 8 + i, 12 + i)
            for i in range(4):
                quarter(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4)
        yield from ((a + b) & 0xFFFFFFFF for a, b in zip(x, start))


def check_chacha8():
    # eSTREAM's test vectors, 256-bit key of zeros.
    words = itertools.islice(chacha8(bytes(32)), 8)
    stream = struct.pack("<8I", *words).hex()
    assert stream == "3e00ef2f895f40d67f5bb8e81f09a5a12c840ec3ce9a7f3b181be188ef711a1e", stream


def parse(text):
    settings = {"temperature": 0.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "seed": 0}
    if text != "greedy":
        pairs = (item.split("=") for item in text.split(","))
        settings |= {k: (int(v) if k in ("top_k", "seed") else float(v)) for k, v in pairs}
    return settings


def kept_by_transformers(logits, s):
    scores = torch.tensor(logits, dtype=torch.float64)[None]
    steps = [warpers.TemperatureLogitsWarper(s["temperature"])]
    if s["top_k"]:
        steps.append(warpers.TopKLogitsWarper(min(s["top_k"], len(logits))))
    if s["top_p"] < 1:
        steps.append(warpers.TopPLogitsWarper(s["top_p"]))
    if s["min_p"] > 0:
        steps.append(warpers.MinPLogitsWarper(s["min_p"]))
    for step in steps:
        scores = step(None, scores)
    return set(torch.nonzero(scores[0] > -torch.inf).flatten().tolist())


def uniforms(seed):
    """The numbers that draws use, one a step."""
    words = chacha8(struct.pack("<Q", seed) + bytes(24))
    while True:
        low, high = next(words), next(words)
        yield ((high << 32 | low) >> 11) / 2**53


def draw(logits, s, u):
    vocab = len(logits)
    order = sorted(range(vocab), key=lambda i: (-logits[i], i))
    if s["temperature"] == 0:
        return order[0], 1
    z = np.array([logits[i] for i in order], dtype=np.float64)
    weights = np.exp((z - z[0]) / s["temperature"])
    n = min(s["top_k"] or vocab, vocab)
    if s["top_p"] < 1:
        n = int(np.argmax(np.cumsum(weights[:n]) >= s["top_p"] * weights[:n].sum())) + 1
    n = int((weights[:n] >= s["min_p"]).sum())
    kept = set(order[:n])
    theirs = kept_by_transformers(logits, s)
    # transformers keeps every token that ties with the last one that top_k keeps.
    last = min(logits[i] for i in kept)
    assert kept == theirs or theirs - kept <= {i for i in range(vocab) if logits[i] == last}
    sums = np.cumsum(weights[:n])
    return order[int(np.argmax(sums > u * sums[-1]))], n


def main():
    check_chacha8()
    rng = np.random.default_rng(20261121)
    # Sixteenths are exact in f32, and tie now and then.
    rows = (np.round(rng.normal(0, 2.5, (STEPS, VOCAB)) * 16) / 16).tolist()
    cases = []
    for text in SETTINGS:
        s = parse(text)
        drawn = [draw(row, s, u) for row, u in zip(rows, uniforms(s["seed"]))]
        tokens, kept = map(list, zip(*drawn))
        cases.append({"sampling": text, "tokens": tokens, "kept": kept})
    made_by = f"scripts/oracles/sampling.py, numpy {np.__version__}, transformers {transformers.__version__}"
    join = lambda items: ",\n".join("  " + json.dumps(item) for item in items)
    OUT.write_text(
        f'{{"made_by": "{made_by}", "logits": [\n{join(rows)}\n], "cases": [\n{join(cases)}\n]}}\n'
    )


if __name__ == "__main__":
    main()
