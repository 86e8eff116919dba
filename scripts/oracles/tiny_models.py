#!/usr/bin/env python3
"""Make tiny models with random weights, and the logits that Hugging Face transformers gives them.

One folder per model: config.json and model.safetensors as transformers saves them, model.gguf as
llama.cpp's own converter writes it, tokens.txt, logits.npy, float32 [tokens, vocab], and about.txt,
the model's class in transformers and its features, one a line.

The logits are transformers' eager forward pass in float64, rounded once: the modelling code's
up-casts to float32 become up-casts to float64, so that the vectors are the architecture's and not
one machine's rounding. What the same code gives in float32 is printed beside them.

Every feature a model is there for is also switched off: the logits must then move by at least
100 times the tolerance that engines are held to, or the model would prove nothing.

    .oracles/venv/bin/python scripts/oracles/tiny_models.py
    .oracles/venv/bin/python scripts/oracles/tiny_models.py --out /tmp/models --seed 7 --dtype f32

Needs scripts/oracles/setup, and llama.cpp's source (scripts/oracles/setup-llama-cpp).
"""

import argparse
import contextlib
import json
import logging
import os
import shutil
import sys
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

os.environ |= {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}

import numpy as np
import torch
import transformers
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "reference" / "tests" / "vectors" / "models"
SOURCES = ROOT / ".oracles" / "llama.cpp" / "src"

VOCAB = 80
CONTEXT = 128
# Of models with a window: room for a ring that turns over while a prompt is read in pieces.
LONG = 1024
TOKENS = 64
WINDOW = 16
# What `reference/tests/architectures.rs` allows, and how far a feature must move the logits.
TOLERANCE = 1e-4
FELT = 100 * TOLERANCE

DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
State = dict[str, torch.Tensor]


@dataclass
class Case:
    """A model: its configuration, and what it is there to prove."""

    config: transformers.PretrainedConfig
    # What to change, and how: fields of the configuration, or the weights.
    features: dict[str, dict | Callable[[State], State]]
    dtype: str = "f16"
    # Keys that llama.cpp's converter leaves out: name of the GGUF writer's method, argument.
    metadata: dict[str, object] = field(default_factory=dict)
    # Also the logits of the first N tokens alone, for models that look at the length of the text.
    also: int | None = None


def sizes(hidden=32, heads=4, kv_heads=2, layers=2, inner=48, context=CONTEXT, **more) -> dict:
    return dict(vocab_size=VOCAB, hidden_size=hidden, num_attention_heads=heads, num_hidden_layers=layers,
                num_key_value_heads=kv_heads, intermediate_size=inner, max_position_embeddings=context,
                bos_token_id=1, eos_token_id=2, pad_token_id=0, **more)


def rope(theta=10_000.0, kind="default", **more) -> dict:
    return dict(rope_parameters=dict(rope_type=kind, rope_theta=theta, **more))


def edit(part: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[State], State]:
    """The weights with `change` made to every tensor whose name contains `part`."""
    def apply(state: State) -> State:
        found = [name for name in state if part in name]
        assert found, f"no weight called …{part}…"
        return {name: change(value) if name in found else value for name, value in state.items()}
    return apply


zero = torch.zeros_like
NO_BIAS = edit(".bias", zero)
# Uniform attention: were it so already, no mask, scale or position would show.
UNIFORM = edit("k_proj.weight", zero)


def swap_heads(head_dim: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """Key heads in another order: which of them a query belongs to must matter."""
    return lambda w: w.view(-1, head_dim, w.shape[-1]).flip(0).reshape(w.shape)


def cases() -> dict[str, Case]:
    t = transformers
    gqa = edit("k_proj.weight", swap_heads(32))
    theta = {"RoPE base": rope(500.0)}
    llama3 = dict(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32)
    pairs = 6
    longrope = dict(original_max_position_embeddings=48,
                    short_factor=[1.0 + 0.25 * i for i in range(pairs)],
                    long_factor=[2.0 + 0.75 * i for i in range(pairs)])
    local = "sliding_attention"
    both = lambda theta, **full: dict(rope_parameters={
        local: dict(rope_type="default", rope_theta=theta),
        "full_attention": dict(rope_type="default", rope_theta=1000.0) | full})
    linear = dict(rope_type="linear", factor=4.0)
    return {
        "llama": Case(
            t.LlamaConfig(**sizes(), head_dim=32, rms_norm_eps=0.02, **rope()),
            theta | {"head grouping": gqa, "attention weights": UNIFORM, "epsilon": dict(rms_norm_eps=1e-6)}),
        "llama-tied": Case(
            t.LlamaConfig(**sizes(heads=2, kv_heads=2, inner=32), tie_word_embeddings=True, **rope()),
            theta | {"attention weights": UNIFORM}, dtype="f32"),
        "llama-rope-llama3": Case(
            t.LlamaConfig(**sizes(heads=2, kv_heads=1), head_dim=32, **rope(kind="llama3", **llama3)),
            theta | {"RoPE frequency factors": rope()}),
        "llama-rope-linear": Case(
            t.LlamaConfig(**sizes(heads=2, kv_heads=1), head_dim=32, **rope(kind="linear", factor=4.0)),
            theta | {"RoPE scaling": rope()}),
        "llama-bias": Case(
            t.LlamaConfig(**sizes(heads=2, kv_heads=1), head_dim=32, attention_bias=True, mlp_bias=True, **rope()),
            {f"{part} bias": edit(f"{part}_proj.bias", zero) for part in ("q", "k", "v", "o", "gate", "up", "down")}),
        "mistral": Case(
            t.MistralConfig(**sizes(heads=2, kv_heads=1, context=LONG), head_dim=32, sliding_window=WINDOW, **rope(1_000.0)),
            {"window": dict(sliding_window=None), "window edge": dict(sliding_window=WINDOW + 1)},
            metadata={"add_sliding_window": WINDOW}),
        "qwen2": Case(
            t.Qwen2Config(**sizes(heads=2, kv_heads=1, inner=64), tie_word_embeddings=True, **rope(1_000.0)),
            theta | {f"{part} bias": edit(f"{part}_proj.bias", zero) for part in "qkv"}),
        "qwen3": Case(
            t.Qwen3Config(**sizes(), head_dim=32, **rope(1_000.0)),
            {"query norm": edit("q_norm.weight", torch.ones_like), "key norm": edit("k_norm.weight", torch.ones_like),
             "head grouping": gqa}, dtype="bf16"),
        "gemma": Case(
            t.GemmaConfig(**sizes(heads=2, kv_heads=1), head_dim=32, hidden_activation="gelu_pytorch_tanh", **rope()),
            theta | {"attention weights": UNIFORM, "norm offset": edit("norm.weight", lambda w: w - 1)}),
        "gemma2": Case(
            t.Gemma2Config(**sizes(layers=3, context=LONG), head_dim=16, sliding_window=WINDOW, query_pre_attn_scalar=6,
                           attn_logit_softcapping=2.0, final_logit_softcapping=3.0, **rope()),
            {"window": dict(sliding_window=LONG), "window edge": dict(sliding_window=WINDOW - 1), "alternation": dict(layer_types=[local] * 3),
             "layer order": dict(layer_types=["full_attention", local, "full_attention"]),
             "attention scale": dict(query_pre_attn_scalar=16), "attention cap": dict(attn_logit_softcapping=None),
             "logit cap": dict(final_logit_softcapping=None), "head grouping": edit("k_proj.weight", swap_heads(16))},
            metadata={"add_attention_scale": 6**-0.5}),
        # Seven layers: llama.cpp's converter writes no pattern, which then is every sixth.
        "gemma3": Case(
            t.Gemma3TextConfig(**sizes(heads=2, kv_heads=1, layers=7, inner=32, context=LONG), head_dim=16, sliding_window=WINDOW,
                               query_pre_attn_scalar=16, **both(100.0, **linear)),
            {"window": dict(sliding_window=LONG), "layer pattern": dict(layer_types=[local] * 7),
             "local RoPE base": both(1000.0, **linear), "global RoPE scaling": both(100.0),
             "query norm": edit("q_norm.weight", zero), "key norm": edit("k_norm.weight", zero)}),
        "gemma3-pattern": Case(
            t.Gemma3TextConfig(**sizes(heads=2, kv_heads=1, layers=3, context=LONG), head_dim=32, sliding_window=WINDOW,
                               query_pre_attn_scalar=12, final_logit_softcapping=3.0,
                               layer_types=[local, "full_attention", local], **both(100.0)),
            {"window": dict(sliding_window=LONG), "layer pattern": dict(layer_types=[local, local, "full_attention"]),
             "logit cap": dict(final_logit_softcapping=None), "attention scale": dict(query_pre_attn_scalar=32)},
            metadata={"add_attention_scale": 12**-0.5, "add_sliding_window_pattern": [True, False, True]}),
        "phi2": Case(
            t.PhiConfig(**sizes(heads=2, kv_heads=2, inner=128), hidden_act="gelu_new", layer_norm_eps=0.02, **rope(partial_rotary_factor=0.5)),
            {"partial RoPE": rope(partial_rotary_factor=1.0),
             "epsilon": dict(layer_norm_eps=1e-6), "attention weights": UNIFORM, "activation": dict(hidden_act="silu"),
             "biases": NO_BIAS, "head bias": edit("lm_head.bias", zero)}),
        "phi3": Case(
            t.Phi3Config(**sizes(hidden=64, heads=2, kv_heads=1, inner=32, context=LONG), sliding_window=WINDOW,
                         original_max_position_embeddings=LONG,
                         **rope(1_000.0, partial_rotary_factor=1.0)),
            {"window": dict(sliding_window=None), "RoPE base": rope(50.0, partial_rotary_factor=1.0)}),
        # As Phi-4-mini: not all of a head is rotated.
        "phi3-longrope": Case(
            t.Phi3Config(**sizes(heads=2, kv_heads=2), original_max_position_embeddings=48, sliding_window=None,
                         tie_word_embeddings=True,
                         **rope(1_000.0, "longrope", partial_rotary_factor=0.75, **longrope)),
            {"RoPE factors and magnitude": rope(1_000.0, partial_rotary_factor=0.75)},
            also=48),
        "gpt2": Case(
            t.GPT2Config(vocab_size=VOCAB, n_embd=32, n_head=2, n_layer=2, n_positions=CONTEXT, n_ctx=CONTEXT,
                         bos_token_id=1, eos_token_id=2, layer_norm_epsilon=0.02, activation_function="gelu_new"),
            {"positions": edit("wpe.weight", zero), "epsilon": dict(layer_norm_epsilon=1e-6), "biases": NO_BIAS}),
    }


@contextlib.contextmanager
def double_precision():
    """Inside, models are built and run in float64, the parts included that they up-cast to float32."""
    kept = torch.float32, torch.float, torch.Tensor.float, torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    torch.float32 = torch.float = torch.float64
    torch.Tensor.float = torch.Tensor.double
    try:
        yield
    finally:
        torch.float32, torch.float, torch.Tensor.float = kept[:3]
        torch.set_default_dtype(kept[3])


def build(config, state: State | None = None, dtype=torch.float32):
    # In a narrower type Gemma would round the factor of its embeddings.
    config = type(config).from_dict(config.to_dict() | {"dtype": dtype})
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").to(dtype).eval()
    if state is not None:
        model.load_state_dict({name: value.to(dtype) for name, value in state.items()}, strict=True)
    return model


@torch.no_grad()
def logits(config, state: State, tokens: torch.Tensor, double=True) -> np.ndarray:
    if not double:
        return build(config, state)(input_ids=tokens[None], use_cache=False).logits[0].double().numpy()
    with double_precision():
        found = build(config, state, torch.float64)(input_ids=tokens[None], use_cache=False).logits[0]
    assert found.dtype == torch.float64
    return found.numpy()


def draw(name: str, shape: torch.Size, family: str, generator: torch.Generator) -> torch.Tensor:
    """Weights large enough that attention is far from uniform."""
    normal = torch.randn(shape, generator=generator)
    if "norm" in name or ".ln_" in name:
        if name.endswith("bias"):
            return 0.3 * normal
        # Multiples of 1/128: exact in every format here, and with Gemma's 1 added.
        scale = ((1 + 0.3 * normal).clamp(0.4, 1.9) * 128).round() / 128
        return scale - 1 if "gemma" in family else scale
    if name.endswith("bias"):
        return 0.3 * normal
    if "embed_tokens" in name or "wte" in name or "wpe" in name:
        return 0.5 * normal
    fan_in = shape[0] if "gpt2" in family else shape[1]
    gain = 1.25 if any(part in name for part in ("q_proj", "k_proj", "qkv", "c_attn")) else 1.0
    return gain / fan_in**0.5 * normal


def features(case: Case, state: State, tokens: torch.Tensor, truth: np.ndarray) -> dict[str, float]:
    """How far the logits move when each feature is off."""
    moved = {}
    for feature, off in case.features.items():
        if callable(off):
            other = logits(case.config, off(state), tokens)
        else:
            other = logits(type(case.config).from_dict(case.config.to_dict() | off), state, tokens)
        moved[feature] = float(np.abs(other - truth).max())
    return moved


def convert(folder: Path, case: Case, dtype: str) -> None:
    """Write model.gguf with llama.cpp's converter, less the tokenizer that these models do not have."""
    from conversion import ModelType, get_model_architecture, get_model_class
    from conversion.base import ModelBase, gguf

    outtype = {"f32": gguf.LlamaFileType.ALL_F32, "f16": gguf.LlamaFileType.MOSTLY_F16,
               "bf16": gguf.LlamaFileType.MOSTLY_BF16}[dtype]
    with tempfile.TemporaryDirectory() as scratch, torch.inference_mode():
        source = Path(scratch) / folder.name
        shutil.copytree(folder, source)
        # The Gemma 3 converter counts the tokens of a tokenizer to drop rows beyond them.
        vocabulary = {"model": {"vocab": {f"<{i}>": i for i in range(VOCAB)}}, "added_tokens": []}
        (source / "tokenizer.json").write_text(json.dumps(vocabulary))
        hparams = ModelBase.load_hparams(source, False)
        model_class = get_model_class(get_model_architecture(hparams, ModelType.TEXT))
        model = model_class(source, outtype, folder / "model.gguf")
        model.set_vocab = model._set_vocab_none
        theirs = model.set_gguf_parameters

        def set_gguf_parameters() -> None:
            theirs()
            for method, value in case.metadata.items():
                getattr(model.gguf_writer, method)(value)

        model.set_gguf_parameters = set_gguf_parameters
        model.write()


def make(name: str, case: Case, out: Path, seed: int, dtype: str) -> None:
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()) + seed)
    case.config.dtype = dtype_of = DTYPES[dtype]
    model = build(case.config)
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            family = case.config.model_type
            parameter.copy_(draw(parameter_name, parameter.shape, family, generator).to(dtype_of))
    tokens = torch.randint(0, VOCAB, (TOKENS,), generator=generator)
    folder = out / name
    shutil.rmtree(folder, ignore_errors=True)
    model.to(dtype_of).save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    stored = load_file(folder / "model.safetensors")
    assert all(torch.equal(value, state[key]) for key, value in stored.items())

    truth = logits(case.config, state, tokens)
    rounding = np.abs(logits(case.config, state, tokens, double=False) - truth).max()
    moved = features(case, state, tokens, truth)
    np.save(folder / "logits.npy", truth.astype(np.float32))
    if case.also:
        short = logits(case.config, state, tokens[: case.also])
        moved["length of the context"] = float(np.abs(short - truth[: case.also]).max())
        np.save(folder / f"logits-ctx{case.also}.npy", short.astype(np.float32))
    (folder / "tokens.txt").write_text(" ".join(map(str, tokens.tolist())) + "\n")
    (folder / "about.txt").write_text("\n".join([type(model).__name__, *moved]) + "\n")
    convert(folder, case, dtype)
    kib = sum(file.stat().st_size for file in folder.iterdir()) / 1024
    print(f"{name:<18} {dtype:>4} {kib:4.0f} KiB, RMS logit {truth.std():.2f}, in float32 Δ {rounding:.1e}; off: "
          + ", ".join(f"{feature} {delta:.2g}" for feature, delta in moved.items()), flush=True)
    unfelt = [feature for feature, delta in moved.items() if not delta >= FELT]
    if unfelt:
        raise SystemExit(f"{name}: {', '.join(unfelt)} moves the logits by less than {FELT:g}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dtype", choices=DTYPES, help="store every model so, not each in its own format")
    parser.add_argument("--only", action="append", metavar="NAME", help="may be repeated")
    args = parser.parse_args()
    [llama_cpp] = SOURCES.glob("llama_cpp_python-*/vendor/llama.cpp")
    sys.path.insert(1, str(llama_cpp))
    sys.path.insert(1, str(llama_cpp / "gguf-py"))
    logging.disable(logging.WARNING)
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(2)
    for name, case in cases().items():
        if args.only is None or name in args.only:
            make(name, case, args.out, args.seed, args.dtype or case.dtype)


if __name__ == "__main__":
    main()
