#!/usr/bin/env python3
"""Writes reference/tests/vectors/ggml/: blocks of every GGML type that the crate `reference/` reads,
and what others make of them. The test reference/tests/ggml_types.rs reads it.

    .oracles/venv/bin/python scripts/oracles/ggml_vectors.py

    inputs.f32       rows of 256 numbers to be quantized (little-endian f32)
    TYPE.blocks      RANDOM × 256 numbers in blocks of random bytes, then, for the types that ggml
                     quantizes to, inputs.f32 as ggml's own `ggml_quantize_chunk` stores it
    TYPE.f32         TYPE.blocks dequantized

Dequantized by PyPI `gguf`'s NumPy code; Q8_1 and Q8_K, which it lacks, by the lines below that follow
`dequantize_row_q8_K` and block_q8_1 in ggml (scale times code). ggml is the build of
scripts/oracles/setup-llama-cpp, reached through a few lines of C. Random bytes make any block but
for their scales, which are finite: half of them of the usual size, the rest any finite f16.
"""

import pathlib
import subprocess
import tempfile

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type

SEED = 20261121
RANDOM = 4
REPO = pathlib.Path(__file__).parents[2]
OUT = REPO / "reference/tests/vectors/ggml"
GGML = REPO / ".oracles/llama.cpp"

# Where the f16 scales of a block stand.
SCALES = {
    Type.Q4_0: [0], Type.Q4_1: [0, 2], Type.Q5_0: [0], Type.Q5_1: [0, 2], Type.Q8_0: [0],
    Type.Q8_1: [0, 2], Type.Q2_K: [80, 82], Type.Q3_K: [108], Type.Q4_K: [0, 2],
    Type.Q5_K: [0, 2], Type.Q6_K: [208], Type.Q8_K: [], Type.IQ4_NL: [0], Type.IQ4_XS: [0],
    Type.TQ1_0: [52], Type.TQ2_0: [64], Type.MXFP4: [],
}
# gguf's table still has the older Q8_1, with f32 scales.
SIZES = gguf.GGML_QUANT_SIZES | {Type.Q8_1: (32, 36)}
# No row quantizers in ggml_quantize_chunk: formats of activations.
UNQUANTIZED = {Type.Q8_1, Type.Q8_K}

C = r"""
#include "ggml.h"
#include <stdio.h>
#include <stdlib.h>
int main(int argc, char ** argv) { // TYPE ROWS: rows of 256 floats in, quantized rows out
    enum ggml_type type = atoi(argv[1]);
    long rows = atol(argv[2]);
    float * x = malloc(rows * 256 * 4);
    void * q = malloc(rows * 256 * 4);
    if (fread(x, 1024, rows, stdin) != (size_t) rows) return 1;
    fwrite(q, 1, ggml_quantize_chunk(type, x, q, 0, rows, 256, NULL), stdout);
}
"""


def build(folder):
    source, program = folder / "quantize.c", folder / "quantize"
    source.write_text(C)
    include = next(GGML.glob("src/*/vendor/llama.cpp/ggml/include"))
    library = GGML / "build/ggml/src/libggml-base.a"
    subprocess.run(["gcc", "-I", include, source, library, "-o", program,
                    "-lstdc++", "-lm", "-lpthread", "-fopenmp"], check=True)
    return program


def inputs(rng):
    rows = [
        rng.normal(0, 0.02, 256),
        rng.laplace(0, 1.0, 256),
        rng.uniform(-3000, 5000, 256),
        rng.normal(0, 1e-6, 256),
        # Quiet channels beside an outlier, blocks of zeros and of one value.
        np.concatenate([rng.normal(0, 0.01, 95), [40.0], np.zeros(64), np.full(32, -0.75),
                        np.abs(rng.normal(0, 0.3, 64))]),
        np.zeros(256),
    ]
    return np.stack(rows).astype("<f4")


def random_blocks(rng, ty):
    size, nbytes = SIZES[ty]
    count = RANDOM * 256 // size
    blocks = rng.integers(0, 256, (count, nbytes), dtype=np.uint8)
    usual = rng.random((count, 1)) < 0.5
    for at in SCALES[ty]:
        wild = rng.integers(0, 0x7C00, (count, 1)) | rng.integers(0, 2, (count, 1)) << 15
        scale = np.where(usual, rng.normal(0, 0.01, (count, 1)).astype("<f2").view("<u2"), wild)
        blocks[:, at:at + 2] = scale.astype("<u2").view(np.uint8)
    if ty == Type.Q8_K:
        blocks[:, :4] = rng.normal(0, 0.01, (count, 1)).astype("<f4").view(np.uint8)
    if ty == Type.MXFP4:
        # E8M0 scales so large that twelve times them leaves f32 are left out.
        blocks[:, 0] = rng.integers(0, 250, count)
    return blocks.reshape(-1)


def dequantize(ty, data):
    size, nbytes = SIZES[ty]
    if ty == Type.Q8_1:
        blocks = data.reshape(-1, nbytes)
        return blocks[:, :2].copy().view("<f2").astype("<f4") * blocks[:, 4:].view(np.int8).astype("<f4")
    if ty == Type.Q8_K:
        blocks = data.reshape(-1, nbytes)
        return blocks[:, :4].copy().view("<f4") * blocks[:, 4:260].view(np.int8).astype("<f4")
    return gguf.quants.dequantize(data.reshape(-1, nbytes), ty)


def plain(rng, ty):
    if ty == Type.F32:
        return rng.normal(0, 1, RANDOM * 256).astype("<f4").view(np.uint8)
    data = rng.integers(0, 0x7C00 if ty == Type.F16 else 0x7F80, RANDOM * 256)
    return (data | rng.integers(0, 2, RANDOM * 256) << 15).astype("<u2").view(np.uint8)


def main():
    rng = np.random.default_rng(SEED)
    OUT.mkdir(parents=True, exist_ok=True)
    rows = inputs(rng)
    rows.tofile(OUT / "inputs.f32")
    with tempfile.TemporaryDirectory() as folder:
        program = build(pathlib.Path(folder))
        for ty in [Type.F32, Type.F16, Type.BF16, *SCALES]:
            data = random_blocks(rng, ty) if ty in SCALES else plain(rng, ty)
            if ty not in UNQUANTIZED:
                done = subprocess.run([program, str(ty.value), str(len(rows))],
                                      input=rows.tobytes(), capture_output=True, check=True)
                data = np.concatenate([data, np.frombuffer(done.stdout, np.uint8)])
            values = np.ascontiguousarray(dequantize(ty, data), "<f4")
            assert np.isfinite(values).all(), ty
            name = ty.name.lower()
            data.tofile(OUT / f"{name}.blocks")
            values.tofile(OUT / f"{name}.f32")
            print(f"{name}: {data.size} bytes, {values.size} numbers")


if __name__ == "__main__":
    main()
