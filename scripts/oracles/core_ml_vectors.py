#!/usr/bin/env python3
"""Writes reference/tests/vectors/core_ml/: a weight matrix and what coremltools' weight compressions
make of it. The test reference/tests/core_ml_schemes.rs reads it.

    python3 -m venv /tmp/coremltools
    /tmp/coremltools/bin/pip install coremltools==9.0 scikit-learn
    /tmp/coremltools/bin/python scripts/oracles/core_ml_vectors.py

    weights.f16      ROWS × COLUMNS numbers (little-endian f16)
    palette.f16      palettize_weights, KMEANS, 4 bits, 16 output channels a group
    int4.f16         linear_quantize_weights, LINEAR_SYMMETRIC, int4, blocks of 32 inputs
    small.f16        the first SMALL columns of the weights, palettized: too few for coremltools'
                     exact k-means, so scikit-learn's

A group of 16 rows has 10,240 weights, past the 10,000 from which coremltools clusters exactly.
"""

import pathlib

import numpy as np
from coremltools.optimize import _utils
from coremltools.optimize.coreml._quantization_passes import linear_quantize_weights, palettize_weights

SEED, ROWS, COLUMNS, SMALL = 20261121, 32, 640, 64
OUT = pathlib.Path(__file__).parents[2] / "reference/tests/vectors/core_ml"


def palettized(weights):
    params = palettize_weights.blockwise_compress(weights, "KMEANS", nbits=4, block_sizes=[16, 0])
    return palettize_weights.decompress(params)


def main():
    rng = np.random.default_rng(SEED)
    weights = rng.normal(0, 0.02, (ROWS, COLUMNS)) * np.exp(rng.normal(0, 0.5, (ROWS, 1)))
    weights[16:, :32] = 0
    weights[17, :3] = [3.5, -0.0, 1e-7]
    weights = weights.astype("<f2")
    quantized = linear_quantize_weights.blockwise_compress(
        weights, nbits=4, mode="LINEAR_SYMMETRIC", signed=True, block_sizes=[1, 32])
    # As constexpr_blockwise_shift_scale multiplies: in the scale's precision.
    int4 = _utils.dequantize_by_scale_and_zp(quantized.data, quantized.scale, None)
    OUT.mkdir(parents=True, exist_ok=True)
    for name, values in [("weights", weights), ("palette", palettized(weights)), ("int4", int4),
                         ("small", palettized(np.ascontiguousarray(weights[:, :SMALL])))]:
        assert values.dtype == np.float16, name
        values.astype("<f2").tofile(OUT / f"{name}.f16")
        print(name, values.shape, np.sqrt(np.mean(np.square(values.astype(float)))))


if __name__ == "__main__":
    main()
