#!/usr/bin/env python3
"""Writes coreml/tests/vectors/ops.json: programs of one operation each, made by coremltools' MIL
builder, random inputs, and what NumPy makes of them in f64.

    /tmp/coremltools/bin/python scripts/oracles/mil_ops.py

The test `every_operation_agrees_with_numpy` of the crate `coreml` runs them. `terms` is the number
of terms that are summed for one result, `scale` the largest sum of their magnitudes; from both
follows how far f32 may stray before the result is rounded to f16.
"""

import json
import logging
import math
import pathlib
import tempfile

import numpy as np

logging.disable(logging.ERROR)
import coremltools as ct
from coremltools.converters.mil import Builder as mb
from coremltools.converters.mil.mil import Function, Program, types

OUT = pathlib.Path(__file__).parents[2] / "coreml/tests/vectors/ops.json"
RNG = np.random.default_rng(20261122)
TYPES = {np.float16: types.fp16, np.float32: types.fp32, np.int32: types.int32}
CASES = []


def f16(*shape, scale=1.0):
    return (RNG.normal(size=shape) * scale).astype(np.float16)


def case(name, build, expected, *, terms=1, scale=0.0, **inputs):
    """`build` gets MIL values by the names of `inputs`, `expected` the arrays in f64."""
    program = Program()
    specs = {k: mb.placeholder(v.shape, dtype=TYPES[v.dtype.type]) for k, v in inputs.items()}
    with Function(specs, opset_version=ct.target.iOS18) as function:
        out = build(**function.inputs)
        outs = list(out) if isinstance(out, (list, tuple)) else [out]
        if outs[0].dtype == types.bool:
            outs[0] = mb.cast(x=outs[0], dtype="int32")
        function.set_outputs([mb.identity(x=outs[0], name="result")])
    program.add_function("main", function)
    model = ct.convert(program, minimum_deployment_target=ct.target.iOS18, skip_model_load=True,
                       compute_precision=ct.precision.FLOAT16, pass_pipeline=ct.PassPipeline.EMPTY)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "op.mlpackage"
        model.save(str(path))
        data = path / "Data/com.apple.CoreML"
        weights = data / "weights/weight.bin"
        spec, blobs = (data / "model.mlmodel").read_bytes(), weights.read_bytes() if weights.exists() else b""
    wide = {k: v.astype(np.float64) if v.dtype.kind == "f" else v for k, v in inputs.items()}
    want = np.asarray(expected(*wide.values()))
    kind = "float" if want.dtype.kind == "f" else "int"
    array = lambda a: {"shape": list(a.shape), "float": a.dtype.kind == "f",
                       "values": [float(v) for v in a.ravel()]}
    CASES.append({"name": name, "kind": kind, "terms": terms, "scale": float(scale),
                  "inputs": {k: array(v) for k, v in inputs.items()}, "want": array(want),
                  "spec": spec.hex(), "weights": blobs.hex()})
    print(name, list(want.shape), flush=True)


def elementwise():
    a, b, row = f16(3, 4), f16(3, 4), f16(4)
    positive = np.abs(f16(3, 4)) + np.float16(0.25)
    for name, f in [("add", np.add), ("sub", np.subtract), ("mul", np.multiply),
                    ("real_div", np.divide), ("maximum", np.maximum), ("minimum", np.minimum),
                    ("greater", np.greater), ("greater_equal", np.greater_equal),
                    ("less", np.less), ("less_equal", np.less_equal), ("equal", np.equal),
                    ("not_equal", np.not_equal)]:
        compare = f(1.0, 2.0).dtype == bool
        want = (lambda x, y, f=f: f(x, y).astype(np.int32)) if compare else f
        case(name, lambda x, y, n=name: getattr(mb, n)(x=x, y=y), want, x=a, y=b)
        case(f"{name} broadcast", lambda x, y, n=name: getattr(mb, n)(x=x, y=y), want, x=a, y=row)
    case("pow", lambda x, y: mb.pow(x=x, y=y), np.power, x=positive, y=b, scale=64)
    case("floor_div", lambda x, y: mb.floor_div(x=x, y=y), np.floor_divide,
         x=np.array([7, -7, 9], np.int32), y=np.array([2, 2, -4], np.int32))
    case("mod", lambda x, y: mb.mod(x=x, y=y), np.mod,
         x=np.array([7, -7, 9], np.int32), y=np.array([2, 2, -4], np.int32))
    erf = np.vectorize(math.erf)
    sig = lambda x: 1 / (1 + np.exp(-x))
    tanh_gelu = lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x ** 3)))
    for name, f, extra in [
            ("exp", np.exp, {}), ("exp2", np.exp2, {}), ("tanh", np.tanh, {}), ("sigmoid", sig, {}),
            ("silu", lambda x: x * sig(x), {}), ("relu", lambda x: np.maximum(x, 0), {}),
            ("relu6", lambda x: np.clip(x, 0, 6), {}), ("abs", np.abs, {}), ("square", np.square, {}),
            ("sin", np.sin, {}), ("cos", np.cos, {}), ("floor", np.floor, {}), ("ceil", np.ceil, {}),
            ("round", np.round, {}), ("sign", np.sign, {}), ("erf", erf, {}),
            ("softplus", lambda x: np.log1p(np.exp(x)), {}),
            ("leaky_relu", lambda x: np.where(x < 0, 0.125 * x, x), {"alpha": np.float16(0.125)}),
            ("clip", lambda x: np.clip(x, -0.5, 0.75), {"alpha": np.float16(-0.5), "beta": np.float16(0.75)})]:
        case(name, lambda x, n=name, e=extra: getattr(mb, n)(x=x, **e), f, x=f16(3, 5, scale=2), scale=4)
    case("gelu exact", lambda x: mb.gelu(x=x, mode="EXACT"),
         lambda x: 0.5 * x * (1 + erf(x / np.sqrt(2))), x=f16(3, 5, scale=2), scale=4)
    case("gelu tanh", lambda x: mb.gelu(x=x, mode="TANH_APPROXIMATION"), tanh_gelu,
         x=f16(3, 5, scale=2), scale=4)
    # MIL adds an epsilon first; one that f16 holds exactly.
    e = np.float16(2.0 ** -10)
    for name, f in [("sqrt", np.sqrt), ("rsqrt", lambda x: 1 / np.sqrt(x + float(e))),
                    ("log", lambda x: np.log(x + float(e))), ("inverse", lambda x: 1 / (x + float(e)))]:
        extra = {} if name == "sqrt" else {"epsilon": e}
        case(name, lambda x, n=name, k=extra: getattr(mb, n)(x=x, **k), f, x=positive, scale=4)
    case("logical_and", lambda x, y: mb.logical_and(x=mb.greater(x=x, y=np.float16(0)),
                                                    y=mb.greater(x=y, y=np.float16(0))),
         lambda x, y: ((x > 0) & (y > 0)).astype(np.int32), x=a, y=b)
    case("logical_not", lambda x: mb.logical_not(x=mb.greater(x=x, y=np.float16(0))),
         lambda x: (~(x > 0)).astype(np.int32), x=a)
    case("select", lambda x, y: mb.select(cond=mb.greater(x=x, y=y), a=x, b=y), np.maximum, x=a, y=b)
    case("cast to int", lambda x: mb.cast(x=x, dtype="int32"), lambda x: np.trunc(x).astype(np.int32),
         x=f16(7, scale=4))
    case("cast to int16", lambda x: mb.cast(x=mb.cast(x=x, dtype="int16"), dtype="int32"),
         lambda x: x.astype(np.int16).astype(np.int32), x=np.array([1, -2, 32767, 40000], np.int32))


def products():
    x, w, bias = f16(2, 3, 24), f16(8, 24), f16(8)
    case("linear", lambda x: mb.linear(x=x, weight=w, bias=bias),
         lambda x: x @ w.astype(float).T + bias.astype(float), x=x, terms=25,
         scale=np.max(np.abs(x).astype(float) @ np.abs(w).astype(float).T) + 4)
    a, b = f16(2, 3, 4, 8), f16(2, 1, 8, 5)
    magnitude = np.max(np.abs(a).astype(float) @ np.abs(b).astype(float))
    case("matmul broadcast", lambda x, y: mb.matmul(x=x, y=y), np.matmul, x=a, y=b, terms=8, scale=magnitude)
    case("matmul transposed", lambda x, y: mb.matmul(x=x, y=y, transpose_x=True, transpose_y=True),
         lambda x, y: x.swapaxes(-1, -2) @ y.swapaxes(-1, -2),
         x=np.ascontiguousarray(a.swapaxes(-1, -2)), y=np.ascontiguousarray(b.swapaxes(-1, -2)),
         terms=8, scale=magnitude)
    image, kernel = f16(1, 6, 1, 5), f16(4, 6, 1, 1)
    case("conv 1x1", lambda x: mb.conv(x=x, weight=kernel, pad_type="valid"),
         lambda x: np.einsum("nchw,oc->nohw", x, kernel[:, :, 0, 0].astype(float)), x=image, terms=6, scale=24)
    picture, taps, offset = f16(1, 4, 5, 6), f16(6, 2, 3, 2), f16(6)

    def convolve(x):
        x = np.pad(x, [(0, 0), (0, 0), (1, 0), (2, 1)])
        out = np.zeros((1, 6, (6 - 3) // 2 + 1, 9 - 3 + 1))
        for o in range(6):
            for i in range(out.shape[2]):
                for j in range(out.shape[3]):
                    part = x[0, o // 3 * 2:o // 3 * 2 + 2, 2 * i:2 * i + 3, j:j + 3:2]
                    out[0, o, i, j] = np.sum(part * taps[o].astype(float)) + float(offset[o])
        return out

    case("conv strides, groups, padding, dilation",
         lambda x: mb.conv(x=x, weight=taps, bias=offset, strides=[2, 1], pad_type="custom",
                           pad=[1, 0, 2, 1], dilations=[1, 2], groups=2),
         convolve, x=picture, terms=13, scale=40)
    case("einsum", lambda x, y: mb.einsum(values=[x, y], equation="abcd,adce->abce"),
         lambda x, y: np.einsum("abcd,adce->abce", x, y), x=f16(2, 3, 4, 5), y=f16(2, 5, 4, 3), terms=5, scale=30)
    q, k, v, m = f16(1, 2, 3, 4), f16(1, 2, 5, 4), f16(1, 2, 5, 4), f16(3, 5)

    def attend(q, k, v, m):
        s = q @ k.swapaxes(-1, -2) / 2 + m
        p = np.exp(s - s.max(-1, keepdims=True))
        return p / p.sum(-1, keepdims=True) @ v

    case("scaled_dot_product_attention",
         lambda q, k, v, m: mb.scaled_dot_product_attention(query=q, key=k, value=v, attn_mask=m),
         attend, q=q, k=k, v=v, m=m, terms=60, scale=8)


def along_axes():
    x = f16(3, 4, 5)
    for name, f, s in [("reduce_sum", np.sum, 12), ("reduce_mean", np.mean, 4), ("reduce_max", np.max, 4),
                       ("reduce_min", np.min, 4), ("reduce_prod", np.prod, 64),
                       ("reduce_sum_square", lambda x, **k: np.sum(x * x, **k), 40),
                       ("reduce_l2_norm", lambda x, **k: np.sqrt(np.sum(x * x, **k)), 8),
                       ("reduce_l1_norm", lambda x, **k: np.sum(np.abs(x), **k), 20),
                       ("reduce_log_sum_exp", lambda x, **k: np.log(np.sum(np.exp(x), **k)), 16)]:
        for axes, keep in [([1], True), ([0, 2], False)]:
            case(f"{name} {axes}", lambda x, n=name, a=axes, k=keep: getattr(mb, n)(x=x, axes=a, keep_dims=k),
                 lambda x, f=f, a=axes, k=keep: f(x, axis=tuple(a), keepdims=k), x=x, terms=15, scale=s)
    case("reduce_argmax", lambda x: mb.reduce_argmax(x=x, axis=1),
         lambda x: np.argmax(x, axis=1).astype(np.int32), x=x)
    case("cumsum", lambda x: mb.cumsum(x=x, axis=1), lambda x: np.cumsum(x, axis=1), x=x, terms=4, scale=8)
    for axis in (-1, 1):
        case(f"softmax {axis}", lambda x, a=axis: mb.softmax(x=x, axis=a),
             lambda x, a=axis: np.exp(x) / np.exp(x).sum(a, keepdims=True), x=x, terms=24, scale=1)
    gamma, beta, e = f16(4), f16(4), np.float16(2.0 ** -10)

    def layer_norm(x, axis=1):
        shape = [1, 4, 1]
        centred = x - x.mean(axis, keepdims=True)
        normed = centred / np.sqrt((centred ** 2).mean(axis, keepdims=True) + float(e))
        return normed * gamma.astype(float).reshape(shape) + beta.astype(float).reshape(shape)

    case("layer_norm", lambda x: mb.layer_norm(x=x, axes=[1], gamma=gamma, beta=beta, epsilon=e),
         layer_norm, x=x, terms=8, scale=8)
    variance = np.abs(f16(4)) + np.float16(0.5)
    case("batch_norm", lambda x: mb.batch_norm(x=x, mean=gamma, variance=variance, gamma=beta, beta=gamma, epsilon=e),
         lambda x: (x - gamma.astype(float)[:, None]) / np.sqrt(variance.astype(float)[:, None] + float(e))
         * beta.astype(float)[:, None] + gamma.astype(float)[:, None], x=x, terms=8, scale=16)


def moves():
    x = f16(2, 3, 4)
    ints = lambda *v: np.array(v, np.int32)
    case("shape", lambda x: mb.shape(x=x), lambda x: np.array(x.shape, np.int32), x=x)
    case("reshape", lambda x: mb.reshape(x=x, shape=[4, -1]), lambda x: x.reshape(4, -1), x=x)
    case("expand_dims", lambda x: mb.expand_dims(x=x, axes=[0, -1]), lambda x: x[None, ..., None], x=x)
    case("squeeze", lambda x: mb.squeeze(x=x, axes=[1]), lambda x: x[:, 0], x=f16(2, 1, 3))
    case("transpose", lambda x: mb.transpose(x=x, perm=[2, 0, 1]), lambda x: x.transpose(2, 0, 1), x=x)
    case("concat", lambda x, y: mb.concat(values=[x, y], axis=1), lambda x, y: np.concatenate([x, y], 1), x=x, y=f16(2, 2, 4))
    case("concat interleave", lambda x, y: mb.concat(values=[x, y], axis=1, interleave=True),
         lambda x, y: np.stack([x, y], 2).reshape(2, 6, 4), x=x, y=f16(2, 3, 4))
    case("stack", lambda x, y: mb.stack(values=[x, y], axis=1), lambda x, y: np.stack([x, y], 1), x=x, y=f16(2, 3, 4))
    case("split", lambda x: mb.split(x=x, split_sizes=[1, 3], axis=2), lambda x: x[..., :1], x=x)
    case("tile", lambda x: mb.tile(x=x, reps=[1, 2, 3]), lambda x: np.tile(x, (1, 2, 3)), x=x)
    case("reverse", lambda x: mb.reverse(x=x, axes=[0, 2]), lambda x: x[::-1, :, ::-1], x=x)
    case("band_part", lambda x: mb.band_part(x=x, lower=1, upper=0), lambda x: np.tril(x) - np.tril(x, -2), x=f16(4, 5))
    case("pad", lambda x: mb.pad(x=x, pad=[1, 0, 0, 2], mode="constant", constant_val=np.float16(0.5)),
         lambda x: np.pad(x, [(0, 0), (1, 0), (0, 2)], constant_values=0.5), x=x)
    case("slice_by_index", lambda x: mb.slice_by_index(x=x, begin=[0, -1, 1], end=[1, 0, 4], stride=[1, -1, 2],
                                                       end_mask=[False, True, False]),
         lambda x: x[0:1, ::-1, 1:4:2], x=x)
    case("slice_by_index squeeze", lambda x: mb.slice_by_index(x=x, begin=[1, 0, 0], end=[0, 0, -1],
                                                               squeeze_mask=[True, False, False],
                                                               end_mask=[False, True, False]),
         lambda x: x[1, :, :-1], x=x)
    case("slice_by_size", lambda x, b: mb.slice_by_size(x=x, begin=b, size=[1, 2, 3]),
         lambda x, b: x[1:2, 0:2, 1:4], x=x, b=ints(1, 0, 1))

    def updated(x, u, b):
        x = x.copy()
        x[0:2, 1:2, 1:3] = u
        return x

    case("slice_update", lambda x, u, b: mb.slice_update(x=x, update=u, begin=b, end=[2, 2, 3]),
         updated, x=x, u=f16(2, 1, 2), b=ints(0, 1, 1))
    case("gather", lambda x, i: mb.gather(x=x, indices=i, axis=1, validate_indices=False),
         lambda x, i: np.take(x, i, axis=1), x=x, i=np.array([[2, 0], [1, 1]], np.int32))
    case("gather_along_axis", lambda x, i: mb.gather_along_axis(x=x, indices=i, axis=2, validate_indices=False),
         lambda x, i: np.take_along_axis(x, i, 2), x=x, i=RNG.integers(0, 4, (2, 3, 2)).astype(np.int32))

    def scattered(x, i, u):
        x = x.copy()
        x[:, i] = u
        return x

    case("scatter update", lambda x, i, u: mb.scatter(data=x, indices=i, updates=u, axis=1, mode="update", validate_indices=False),
         scattered, x=x, i=ints(2, 0), u=f16(2, 2, 4))
    case("one_hot", lambda i: mb.one_hot(indices=i, one_hot_vector_size=4), lambda i: np.eye(4, dtype=np.int32)[i], i=ints(0, 3, 1))
    case("topk", lambda x: mb.topk(x=x, k=2, axis=-1), lambda x: -np.sort(-x, -1)[..., :2], x=x)
    case("range_1d", lambda n: mb.range_1d(start=2, end=mb.squeeze(x=n), step=3), lambda n: np.arange(2, 12, 3, dtype=np.int32), n=ints(12))
    case("fill", lambda x: mb.mul(x=x, y=mb.fill(shape=mb.shape(x=x), value=np.float16(2))), lambda x: 2 * x, x=x)


def compressed():
    x = f16(1, 32)
    lut, codes = f16(2, 1, 16, 1), RNG.integers(0, 16, (32, 32)).astype(np.uint8)
    dense = np.where(np.arange(32)[:, None] < 16, lut[0, 0, codes, 0], lut[1, 0, codes, 0]).astype(float)
    case("constexpr_lut_to_dense",
         lambda x: mb.linear(x=x, weight=mb.constexpr_lut_to_dense(indices=codes.astype(types.np_uint4_dtype), lut=lut)),
         lambda x: x @ dense.T, x=x, terms=32, scale=np.max(np.abs(x.astype(float)) @ np.abs(dense).T))
    for bits, dtype in [(4, types.np_int4_dtype), (8, np.int8)]:
        top = 2 ** (bits - 1)
        data, scale = RNG.integers(-top, top, (4, 32)).astype(np.int8), np.abs(f16(4, 2, scale=0.1)) + np.float16(0.01)
        whole = (data * np.repeat(scale, 16, 1).astype(float)).astype(np.float16).astype(float)
        case(f"constexpr_blockwise_shift_scale int{bits}",
             lambda x: mb.linear(x=x, weight=mb.constexpr_blockwise_shift_scale(data=data.astype(dtype), scale=scale)),
             lambda x: x @ whole.T, x=x, terms=32, scale=np.max(np.abs(x.astype(float)) @ np.abs(whole).T))


def main():
    elementwise(), products(), along_axes(), moves(), compressed()
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text("[\n" + ",\n".join(json.dumps(c) for c in CASES) + "\n]\n")
    print(len(CASES), "cases,", OUT.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
