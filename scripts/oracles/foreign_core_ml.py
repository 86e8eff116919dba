#!/usr/bin/env python3
"""Writes Core ML packages of coreml/tests/packages/tiny.gguf as other converters lay them out, so that
none of this project's names and metadata are in them. scripts/oracles/tiny_core_ml.py runs it.

    tiny-apple.mlpackage   as Apple's article on Llama 3.1 and Hugging Face's on Mistral: `inputIds`
                           [1, n] and `causalMask` [1, 1, n, end], states `keyCache` and `valueCache` of all
                           layers; where the tokens stand is told by the width of the mask alone
    tiny-anemll.mlpackage  as ANEMLL: functions `infer` (1 token) and `prefill` (8), `input_ids`,
                           `position_ids`, `causal_mask` [1, 1, n, context], `current_pos`, one state for keys
                           and values, the vocabulary in parts `logits1`, `logits2`, ...

coreml/tests/packages.rs holds their logits against NumPy's (logits.json)."""

import pathlib
import shutil
import tempfile

import coremltools as ct
import gguf
import numpy as np
from coremltools.converters.mil import Builder as mb
from coremltools.converters.mil.mil import Function, Program, get_new_symbol, types
from coremltools.models.neural_network import flexible_shape_utils
from coremltools.models.utils import MultiFunctionDescriptor, save_multifunction

OUT = pathlib.Path(__file__).parents[2] / "coreml/tests/packages"
LAYERS, HIDDEN, HEADS, KV, DIM, CONTEXT, VOCAB = 2, 32, 4, 2, 8, 64, 259
PARTS = [65, 65, 65, 64]


class Model:
    def __init__(self):
        self.w = {t.name: t.data.astype(np.float16) for t in gguf.GGUFReader(OUT / "tiny.gguf").tensors}
        angles = np.arange(CONTEXT)[:, None] * 10000.0 ** (-2.0 * np.arange(DIM // 2) / DIM)
        self.cos, self.sin = (np.repeat(f(angles), 2, axis=1).astype(np.float16) for f in (np.cos, np.sin))
        # (even, odd) becomes (-odd, even).
        self.turn = np.zeros((DIM, DIM), np.float16)
        for i in range(0, DIM, 2):
            self.turn[i + 1, i], self.turn[i, i + 1] = -1, 1

    def norm(self, name, x):
        # Activations of this model are small: no mean of squares overflows.
        mean = mb.reduce_mean(x=mb.mul(x=x, y=x), axes=[-1], keep_dims=True)
        return mb.mul(x=mb.mul(x=x, y=mb.rsqrt(x=mean, epsilon=np.float16(1e-5))), y=self.w[name])

    def heads(self, x, count, places=None):
        x = mb.transpose(x=mb.reshape(x=x, shape=[1, -1, count, DIM]), perm=[0, 2, 1, 3])
        if places is None:
            return x
        cos, sin = (mb.gather(x=t, indices=places, axis=0, validate_indices=False) for t in (self.cos, self.sin))
        return mb.add(x=mb.mul(x=x, y=cos), y=mb.mul(x=mb.matmul(x=x, y=self.turn), y=sin))

    def run(self, ids, places, mask, cached):
        """Final hidden states. `cached(layer, k, v)` stores rows and returns all that the mask covers."""
        w = self.w
        x = mb.gather(x=w["token_embd.weight"], indices=ids, axis=0, validate_indices=False)
        for layer in range(LAYERS):
            b = f"blk.{layer}."
            n = self.norm(b + "attn_norm.weight", x)
            project = lambda part: mb.linear(x=n, weight=w[f"{b}attn_{part}.weight"])
            q = self.heads(project("q"), HEADS, places)
            k, v = cached(layer, self.heads(project("k"), KV, places), self.heads(project("v"), KV))
            k, v = (self.repeated(t) for t in (k, v))
            mixed = mb.scaled_dot_product_attention(query=q, key=k, value=v, attn_mask=mask)
            mixed = mb.reshape(x=mb.transpose(x=mixed, perm=[0, 2, 1, 3]), shape=[1, -1, HIDDEN])
            x = mb.add(x=x, y=mb.linear(x=mixed, weight=w[b + "attn_output.weight"]))
            n = self.norm(b + "ffn_norm.weight", x)
            gate = mb.silu(x=mb.linear(x=n, weight=w[b + "ffn_gate.weight"]))
            up = mb.mul(x=gate, y=mb.linear(x=n, weight=w[b + "ffn_up.weight"]))
            x = mb.add(x=x, y=mb.linear(x=up, weight=w[b + "ffn_down.weight"]))
        return self.norm("output_norm.weight", x)

    @staticmethod
    def repeated(x):
        """[1, KV, n, DIM], each for a group of heads."""
        x = mb.tile(x=mb.expand_dims(x=x, axes=[2]), reps=[1, 1, HEADS // KV, 1, 1])
        return mb.reshape(x=x, shape=[1, HEADS, -1, DIM])

    def apple(self):
        n, end = get_new_symbol(), get_new_symbol()
        cache = (LAYERS, 1, KV, CONTEXT, DIM)
        inputs = {"inputIds": mb.placeholder((1, n), dtype=types.int32),
                  "causalMask": mb.placeholder((1, 1, n, end), dtype=types.fp16),
                  "keyCache": mb.state_tensor_placeholder(cache, dtype=types.fp16),
                  "valueCache": mb.state_tensor_placeholder(cache, dtype=types.fp16)}
        with Function(inputs, opset_version=ct.target.iOS18) as function:
            given = function.inputs
            ids, mask = given["inputIds"], given["causalMask"]
            stop = mb.slice_by_index(x=mb.shape(x=mask), begin=[3], end=[4])
            count = mb.slice_by_index(x=mb.shape(x=ids), begin=[1], end=[2])
            begin = mb.sub(x=stop, y=count)
            places = mb.slice_by_size(x=np.arange(CONTEXT, dtype=np.int32), begin=begin, size=count)
            states = [given["keyCache"], given["valueCache"]]
            values = [mb.read_state(input=state) for state in states]

            def cached(layer, *new):
                rows = []
                for i, update in enumerate(new):
                    at = lambda first, place, rest: mb.concat(
                        values=[np.array([first, rest[0], rest[1]], np.int32), place, np.array([rest[2]], np.int32)],
                        axis=0)
                    changed = mb.slice_update(x=values[i], update=mb.expand_dims(x=update, axes=[0]),
                                              begin=at(layer, begin, (0, 0, 0)), end=at(layer + 1, stop, (1, KV, DIM)))
                    values[i] = mb.coreml_update_state(state=states[i], value=changed)
                    all_rows = mb.slice_by_index(x=values[i], begin=at(layer, np.array([0], np.int32), (0, 0, 0)),
                                                 end=at(layer + 1, stop, (1, KV, DIM)))
                    rows.append(mb.reshape(x=all_rows, shape=[1, KV, -1, DIM]))
                return rows

            x = self.run(ids, places, mask, cached)
            logits = mb.linear(x=x, weight=self.w["token_embd.weight"])
            function.set_outputs([mb.identity(x=logits, name="logits")])
        return function

    def anemll(self, n):
        cache = (2 * LAYERS, KV, CONTEXT, DIM)
        inputs = {"input_ids": mb.placeholder((1, n), dtype=types.int32),
                  "position_ids": mb.placeholder((n,), dtype=types.int32),
                  "causal_mask": mb.placeholder((1, 1, n, CONTEXT), dtype=types.fp16),
                  "current_pos": mb.placeholder((1,), dtype=types.int32),
                  "model_model_kv_cache_0": mb.state_tensor_placeholder(cache, dtype=types.fp16)}
        with Function(inputs, opset_version=ct.target.iOS18) as function:
            given = function.inputs
            state, begin = given["model_model_kv_cache_0"], given["current_pos"]
            value = [mb.read_state(input=state)]
            stop = mb.add(x=begin, y=np.array([n], np.int32))

            def cached(layer, *new):
                rows = []
                for i, update in enumerate(new):
                    row = layer + i * LAYERS
                    at = lambda first, place, rest: mb.concat(
                        values=[np.array([first, rest[0]], np.int32), place, np.array([rest[1]], np.int32)], axis=0)
                    changed = mb.slice_update(x=value[0], update=update, begin=at(row, begin, (0, 0)),
                                              end=at(row + 1, stop, (KV, DIM)))
                    value[0] = mb.coreml_update_state(state=state, value=changed)
                    rows.append(mb.slice_by_index(x=value[0], begin=[row, 0, 0, 0], end=[row + 1, KV, CONTEXT, DIM]))
                return rows

            x = self.run(given["input_ids"], given["position_ids"], given["causal_mask"], cached)
            outputs, start = [], 0
            for i, size in enumerate(PARTS):
                weight = self.w["token_embd.weight"][start:start + size]
                outputs.append(mb.identity(x=mb.linear(x=x, weight=weight), name=f"logits{i + 1}"))
                start += size
            function.set_outputs(outputs)
        return function


def save(function, path):
    program = Program()
    program.add_function("main", function)
    model = ct.convert(program, minimum_deployment_target=ct.target.iOS18, skip_model_load=True,
                       compute_precision=ct.precision.FLOAT16)
    model.save(str(path))


def describe(package):
    """Flexible shapes, as `ct.RangeDim` leaves them."""
    path = package / "Data/com.apple.CoreML/model.mlmodel"
    spec = ct.proto.Model_pb2.Model()
    spec.ParseFromString(path.read_bytes())
    for feature in spec.description.input:
        rank = 2 if feature.name == "inputIds" else 4
        feature.type.multiArrayType.ClearField("ShapeFlexibility")
        feature.type.multiArrayType.shape[:] = [1] * rank
        flexible = [1] if rank == 2 else [2, 3]
        upper = [CONTEXT if axis in flexible else 1 for axis in range(rank)]
        flexible_shape_utils._set_multiarray_ndshape_range_for_feature(
            feature, lower_bounds=[1] * rank, upper_bounds=upper)
    path.write_bytes(spec.SerializeToString(deterministic=True))


def main():
    model = Model()
    for style in ["apple", "anemll"]:
        shutil.rmtree(OUT / f"tiny-{style}.mlpackage", ignore_errors=True)
    save(model.apple(), OUT / "tiny-apple.mlpackage")
    describe(OUT / "tiny-apple.mlpackage")
    with tempfile.TemporaryDirectory() as work:
        functions = MultiFunctionDescriptor()
        for name, n in [("infer", 1), ("prefill", 8)]:
            path = pathlib.Path(work) / f"{name}.mlpackage"
            save(model.anemll(n), path)
            functions.add_function(str(path), src_function_name="main", target_function_name=name)
        functions.default_function_name = "infer"
        save_multifunction(functions, str(OUT / "tiny-anemll.mlpackage"))


if __name__ == "__main__":
    main()
