#!/usr/bin/env python3
"""Pooled final hidden states of the tiny models, as Hugging Face transformers gives them.

Beside every model that tiny_models.py made: embeddings.npy, float32 [texts · poolings, hidden], where
the texts are SPANS of tokens.txt and each is pooled by its mean, then by its last token. And a tiny
BERT with random weights in reference/tests/vectors/encoders, in the same form, pooled by its first
token as well.

As in tiny_models.py, everything is computed in float64 and rounded once, and every feature that the
BERT is there for is also switched off.

    .oracles/venv/bin/python scripts/oracles/tiny_embeddings.py

Needs scripts/oracles/setup, and llama.cpp's source (scripts/oracles/setup-llama-cpp).
"""

import logging
import shutil
import sys
import zlib
from pathlib import Path

import numpy as np
import tiny_models
import torch
import transformers
from safetensors.torch import load_file
from tiny_models import OUT as DECODERS
from tiny_models import SOURCES, TOKENS, VOCAB, Case, edit, zero

ENCODERS = DECODERS.parent / "encoders"
# The second and third begin elsewhere: what a position is must not depend on the text before.
SPANS = [(0, 64), (11, 60), (3, 12)]
# How far a feature must move an embedding: near a hundred times the 4e-6 that tests allow, as far as
# GELU's two forms can (they differ by at most 5e-4).
FELT = 3e-4


def pooled(states: torch.Tensor, poolings: str) -> list[torch.Tensor]:
    ways = {"m": lambda: states.mean(0), "l": lambda: states[-1], "c": lambda: states[0]}
    return [ways[way]() for way in poolings]


@torch.no_grad()
def embeddings(model: torch.nn.Module, tokens: torch.Tensor, spans, poolings: str) -> np.ndarray:
    rows = []
    for start, end in spans:
        states = model(input_ids=tokens[None, start:end]).last_hidden_state[0]
        assert states.dtype == torch.float64
        rows += pooled(states, poolings)
    return torch.stack(rows).numpy()


def of_decoder(folder: Path) -> None:
    config = transformers.AutoConfig.from_pretrained(folder)
    tokens = torch.tensor([int(id) for id in (folder / "tokens.txt").read_text().split()])
    # A model that goes by the length of the text is tested at its whole context only.
    by_length = (folder / "logits-ctx48.npy").exists()
    spans = [(start, end) for start, end in SPANS if not by_length or end - start > 48]
    state = load_file(folder / "model.safetensors")
    with tiny_models.double_precision():
        # What is tied is stored once.
        model = tiny_models.build(config, None, torch.float64)
        model.load_state_dict({name: value.double() for name, value in state.items()}, strict=False)
        model.tie_weights()
        found = embeddings(model.base_model, tokens, spans, "ml")
        logits = model(input_ids=tokens[None], use_cache=False).logits[0].detach().numpy()
    assert np.abs(logits - np.load(folder / "logits.npy")).max() < 1e-6, f"{folder.name} is not what it was"
    np.save(folder / "embeddings.npy", found.astype(np.float32))
    print(f"{folder.name:<18} {found.shape[0]} embeddings, RMS {found.std():.2f}")


def build_bert(config, state=None) -> torch.nn.Module:
    model = transformers.AutoModel.from_config(config, attn_implementation="eager").double().eval()
    if state is not None:
        model.load_state_dict({name: value.double() for name, value in state.items()}, strict=True)
    return model


def draw(name: str, shape: torch.Size, generator: torch.Generator) -> torch.Tensor:
    """As of a decoder, whose names tiny_models knows."""
    theirs = {"LayerNorm": "norm", "query": "q_proj", "key": "k_proj", "word_embeddings": "wte",
              "position_embeddings": "wpe", "token_type_embeddings": "wte"}
    for ours, name_of in theirs.items():
        name = name.replace(ours, name_of)
    return tiny_models.draw(name, shape, "bert", generator)


def bert() -> None:
    config = transformers.BertConfig(
        vocab_size=VOCAB, hidden_size=32, num_attention_heads=2, num_hidden_layers=3, intermediate_size=64,
        max_position_embeddings=96, type_vocab_size=2, layer_norm_eps=0.02)
    case = Case(config, {
        "attention to later tokens": dict(is_decoder=True), "attention weights": edit("key.weight", zero),
        "positions": edit("position_embeddings", zero), "token types": edit("token_type_embeddings", zero),
        "epsilon": dict(layer_norm_eps=1e-6), "exact GELU": dict(hidden_act="gelu_new"),
        "biases": edit(".bias", zero), "embedding norm": edit("embeddings.LayerNorm.weight", torch.ones_like)})
    generator = torch.Generator().manual_seed(zlib.crc32(b"bert"))
    config.dtype = torch.float16
    model = build_bert(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(draw(name, parameter.shape, generator).half())
    tokens = torch.randint(0, VOCAB, (TOKENS,), generator=generator)
    folder = ENCODERS / "bert"
    shutil.rmtree(folder, ignore_errors=True)
    model.half().save_pretrained(folder)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    with tiny_models.double_precision():
        truth = embeddings(build_bert(config, state), tokens, SPANS, "mlc")
        moved = {}
        for feature, off in case.features.items():
            changed = off(state) if callable(off) else state
            other = config if callable(off) else type(config).from_dict(config.to_dict() | off)
            found = embeddings(build_bert(other, changed), tokens, SPANS, "mlc")
            moved[feature] = float(np.abs(found - truth).max())
    np.save(folder / "embeddings.npy", truth.astype(np.float32))
    (folder / "tokens.txt").write_text(" ".join(map(str, tokens.tolist())) + "\n")
    (folder / "about.txt").write_text("\n".join([type(model).__name__, *moved]) + "\n")
    tiny_models.convert(folder, case, "f16")
    kib = sum(file.stat().st_size for file in folder.iterdir()) / 1024
    print(f"{'bert':<18} {kib:4.0f} KiB, RMS {truth.std():.2f}; off: "
          + ", ".join(f"{feature} {delta:.2g}" for feature, delta in moved.items()))
    unfelt = [feature for feature, delta in moved.items() if not delta >= FELT]
    if unfelt:
        raise SystemExit(f"bert: {', '.join(unfelt)} moves the embeddings by less than {FELT:g}")


def main() -> None:
    [llama_cpp] = SOURCES.glob("llama_cpp_python-*/vendor/llama.cpp")
    sys.path.insert(1, str(llama_cpp))
    sys.path.insert(1, str(llama_cpp / "gguf-py"))
    logging.disable(logging.WARNING)
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(2)
    for folder in sorted(DECODERS.iterdir()):
        of_decoder(folder)
    bert()


if __name__ == "__main__":
    main()
