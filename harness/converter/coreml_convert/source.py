"""A decoder's shape and weights, read from a GGUF file.

The rules are those of the reference engine (reference/src/hyperparameters.rs, network.rs): the same
tensors under the same names, and a refusal of every tensor that nothing asked for.
"""

import dataclasses
import math
import pathlib
import struct

import gguf
import numpy as np

ARCHITECTURES = ["llama", "qwen2", "qwen3", "gemma", "gemma2", "gemma3", "phi2", "gpt2"]


class Refused(Exception):
    """A model or a request that cannot be converted, with the reason for the user."""


@dataclasses.dataclass
class Rope:
    cos: np.ndarray  # [context, head_dim]; 1 where nothing rotates
    sin: np.ndarray  # [context, head_dim]; 0 there
    turn: np.ndarray  # [head_dim, head_dim]: x @ turn is x a quarter turn on, pair by pair


@dataclasses.dataclass
class Layer:
    window: int | None
    rope: Rope | None


class Source:
    """Metadata and tensors of one GGUF file."""

    def __init__(self, path: pathlib.Path):
        try:
            self.reader = gguf.GGUFReader(path)
        except (OSError, ValueError, IndexError, KeyError) as error:
            raise Refused(f"{path}: no GGUF file that can be read: {error}") from error
        self.tensors = {tensor.name: tensor for tensor in self.reader.tensors}
        self.asked = set()
        self.architecture = self.get("general.architecture")
        if self.architecture not in ARCHITECTURES:
            raise Refused(f"architecture `{self.architecture}` is not converted; "
                          f"known are {', '.join(ARCHITECTURES)}")

    def get(self, key, default=None):
        field = self.reader.fields.get(key)
        return default if field is None else field.contents()

    def own(self, key, default=None):
        """The value of `ARCHITECTURE.key`."""
        value = self.get(f"{self.architecture}.{key}", default)
        if value is None:
            raise Refused(f"metadata `{self.architecture}.{key}` is missing")
        return value

    def has(self, name):
        return name in self.tensors

    def tensor(self, name, shape):
        """The tensor `name` in f32, held against `shape`; None stands for any extent."""
        if name not in self.tensors:
            raise Refused(f"the model has no tensor `{name}`")
        self.asked.add(name)
        stored = self.tensors[name]
        found = tuple(int(extent) for extent in reversed(stored.shape))
        if len(found) != len(shape) or any(w not in (None, f) for w, f in zip(shape, found)):
            raise Refused(f"tensor `{name}` has the shape {list(found)}, not {list(shape)}")
        values = gguf.dequantize(stored.data, stored.tensor_type).astype(np.float32)
        return values.reshape(found)

    def refuse_unasked(self):
        unknown = [n for n in self.tensors
                   if n not in self.asked and not n.startswith("rope_factors_")]
        if unknown:
            raise Refused(f"nothing here knows what tensor `{unknown[0]}` is for")

    def vocabulary(self) -> bytes:
        """The file without its tensors: all that a tokenizer needs."""
        data = self.reader.data
        end = min(tensor.field.offset for tensor in self.reader.tensors)
        head = bytes(data[:8]) + struct.pack("<Q", 0) + bytes(data[16:end])
        return head + bytes(-len(head) % 32)


def to_f16(name, values):
    """`values` rounded to f16. Beyond its range the model could not run at all."""
    most = float(np.max(np.abs(values), initial=0.0))
    if not most < 65504.0:
        raise Refused(f"tensor `{name}` holds {most:g}, which FP16 cannot")
    return values.astype(np.float16)


class Shape:
    """What the network looks like."""

    def __init__(self, source: Source, context: int):
        s, arch = source, source.architecture
        gemma = arch.startswith("gemma")
        self.architecture = arch
        self.layers_count = s.own("block_count")
        self.hidden = s.own("embedding_length")
        self.feed_forward = s.own("feed_forward_length")
        self.heads = s.own("attention.head_count")
        self.kv_heads = s.own("attention.head_count_kv", self.heads)
        self.head_dim = s.own("attention.key_length", self.hidden // self.heads)
        self.vocab = int(s.tensors["token_embd.weight"].shape[1])
        trained = s.own("context_length")
        self.context = min(trained, context)
        self.parameters = sum(int(np.prod(tensor.shape)) for tensor in s.tensors.values())
        if s.own("attention.value_length", self.head_dim) != self.head_dim:
            raise Refused("values and keys have different dimensions")
        if s.own("expert_count", 0):
            raise Refused("mixtures of experts are not converted")
        self.layer_norm = arch in ("phi2", "gpt2")
        epsilon = "layer_norm_epsilon" if self.layer_norm else "layer_norm_rms_epsilon"
        self.epsilon = s.own(f"attention.{epsilon}")
        large = (arch, self.layers_count) in (("gemma2", 46), ("gemma3", 62))
        divisor = self.hidden // self.heads if large else self.head_dim
        self.attention_scale = s.own("attention.scale", 1 / math.sqrt(divisor))
        self.embedding_scale = math.sqrt(self.hidden) if gemma else 1.0
        self.attention_cap = s.own("attn_logit_softcapping", 50.0) if arch == "gemma2" else None
        self.logit_cap = {"gemma2": s.own("final_logit_softcapping", 30.0),
                          "gemma3": s.own("final_logit_softcapping", 0.0)}.get(arch) or None
        self.activation = "gelu" if gemma or self.layer_norm else "silu"
        self.gated = not self.layer_norm
        self.parallel = arch == "phi2"
        self.qk_norm = arch in ("qwen3", "gemma3")
        self.post_norms = arch in ("gemma2", "gemma3")
        self.learned_positions = arch == "gpt2"
        self.layers = self._layers(source, trained)

    def _layers(self, source, trained):
        window = source.own("attention.sliding_window", 4096 if self.architecture == "gemma2" else 0)
        period = {"gemma2": 2, "gemma3": 6}.get(self.architecture)
        pattern = source.own("attention.sliding_window_pattern", period or 0)
        if isinstance(pattern, list):
            local = [bool(value) for value in pattern]
        elif pattern:
            local = [index % pattern < pattern - 1 for index in range(self.layers_count)]
        else:
            local = [True] * self.layers_count  # A window without a pattern is everyone's.
        if self.learned_positions:
            whole = narrow = None
        else:
            whole = narrow = self._rope(source, source.own("rope.freq_base", 10000.0), trained)
            if self.architecture == "gemma3":
                base = source.own("rope.freq_base_swa", 10000.0)
                narrow = self._rope(source, base, trained, scaled=False)
        return [Layer(window, narrow) if near and window else Layer(None, whole) for near in local]

    def _rope(self, source, base, trained, scaled=True):
        dims = source.own("rope.dimension_count", self.head_dim)
        kind = source.own("rope.scaling.type", "linear")
        if kind not in ("linear", "none"):
            raise Refused(f"RoPE scaling `{kind}` is not converted")
        factor = 1.0
        if scaled and kind == "linear":
            factor = source.own("rope.scaling.factor", source.own("rope.scale_linear", 0.0)) or 1.0
        pairs = np.arange(dims // 2)
        frequencies = float(base) ** (-2.0 * pairs / dims) / factor
        if scaled and source.has("rope_freqs.weight"):
            frequencies = frequencies / source.tensor("rope_freqs.weight", (dims // 2,))
        neighbours = self.architecture == "llama"
        first = 2 * pairs if neighbours else pairs
        second = first + 1 if neighbours else pairs + dims // 2
        magnitude = source.own("rope.scaling.attn_factor", 1.0)
        angles = np.arange(self.context)[:, None] * frequencies
        cos = np.ones((self.context, self.head_dim))
        sin = np.zeros((self.context, self.head_dim))
        for place in (first, second):
            cos[:, place], sin[:, place] = np.cos(angles) * magnitude, np.sin(angles) * magnitude
        turn = np.zeros((self.head_dim, self.head_dim), np.float16)
        turn[second, first], turn[first, second] = -1, 1
        return Rope(cos.astype(np.float16), sin.astype(np.float16), turn)

    def config(self):
        """As the engine's `ModelConfig` has it."""
        return {
            "architecture": self.architecture, "layers": self.layers_count, "hidden": self.hidden,
            "feed_forward": self.feed_forward, "heads": self.heads, "kv_heads": self.kv_heads,
            "head_dim": self.head_dim, "vocab": self.vocab, "context": self.context,
            "parameters": self.parameters,
        }
