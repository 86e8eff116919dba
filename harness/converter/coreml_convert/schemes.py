"""How weight matrices are stored: FP16, or compressed as coremltools 9 compresses them.

    palette4-g16   4-bit indices into 16 FP16 levels, one table for 16 output channels (k-means)
    int4-b32       4-bit codes under an FP16 scale for 32 inputs, symmetric
    int8-b32       the same with 8 bits

Matrices are compressed as the file has them, rows being output channels, so that the reference
engine's `weights=palette4-g16` and `weights=int4-b32` make the same numbers of them. Groups are
always clustered exactly; coremltools' own passes would do so from 10,000 weights a group on.
"""

import numpy as np
from coremltools.converters.mil import Builder as mb
from coremltools.converters.mil.mil import types
from coremltools.models.neural_network.quantization_utils import _get_kmeans_lookup_table_and_weight
from coremltools.optimize.coreml._quantization_passes import linear_quantize_weights

from .source import to_f16

SCHEMES = ["fp16", "palette4-g16", "int4-b32", "int8-b32"]
GROUP, BLOCK = 16, 32


class Compressor:
    """Turns matrices into MIL values, each compressed once however often it is used."""

    def __init__(self, scheme, excluded, progress):
        self.scheme, self.excluded, self.progress = scheme, excluded, progress
        self.coded = {}
        self.left = []

    def fits(self, name, rows, columns):
        if self.scheme == "fp16" or any(pattern.search(name) for pattern in self.excluded):
            return False
        return (rows % GROUP if self.scheme == "palette4-g16" else columns % BLOCK) == 0

    def code(self, name, values):
        """The parts of a compressed matrix, rank 2, or the matrix itself."""
        if name in self.coded:
            return self.coded[name]
        values = to_f16(name, values)
        self.progress(name)
        if not self.fits(name, *values.shape):
            if self.scheme != "fp16":
                self.left.append(name)
            parts = (values,)
        elif self.scheme == "palette4-g16":
            tables, indices = zip(*(
                _get_kmeans_lookup_table_and_weight(4, group, force_kmeans1d=True)
                for group in values.reshape(-1, GROUP * values.shape[1])))
            lut = np.stack(tables).astype(np.float16)
            parts = (np.stack(indices).reshape(values.shape).astype(np.uint8), lut)
        else:
            bits = 4 if self.scheme == "int4-b32" else 8
            coded = linear_quantize_weights.blockwise_compress(
                values, nbits=bits, mode="LINEAR_SYMMETRIC", signed=True, block_sizes=[1, BLOCK])
            parts = (np.asarray(coded.data), coded.scale)
        self.coded[name] = parts
        return parts

    def matrix(self, name, values, convolution=False):
        """A MIL value of shape [outputs, inputs], or [outputs, inputs, 1, 1] for a convolution."""
        parts = self.code(name, values)
        tail = (1, 1) if convolution else ()
        label = name.replace(".", "_") + ("_conv" if convolution else "")
        whole = parts[0].reshape(parts[0].shape + tail)
        if len(parts) == 1:
            return mb.const(val=whole, name=label)
        if self.scheme == "palette4-g16":
            lut = parts[1].reshape((parts[1].shape[0], 1) + tail + (16, 1))
            return mb.constexpr_lut_to_dense(
                indices=whole.astype(types.np_uint4_dtype), lut=lut, name=label)
        dtype = types.np_int4_dtype if self.scheme == "int4-b32" else np.int8
        return mb.constexpr_blockwise_shift_scale(
            data=whole.astype(dtype), scale=parts[1].reshape(parts[1].shape + tail), name=label)
