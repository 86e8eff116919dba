#!/usr/bin/env python3
"""Write what Hugging Face transformers computes on the way to the logits of some tiny models.

For each model of reference/tests/vectors/models named below: taps.npy, float32 [TOKENS, sum of
widths], one row a token with the stages side by side in the order of computation, and taps.txt,
`stage width` a line, stages named as `harness run --suite parity --bisect` does. They are
transformers' eager forward pass in float64, rounded once, as logits.npy is; every tensor is taken
from the modelling code by hooks, none is computed here. The queries and keys of `llama` are then
put in GGUF's order, as llama.cpp's converter does.

    .oracles/venv/bin/python scripts/oracles/taps.py

Needs scripts/oracles/setup and the folders that scripts/oracles/tiny_models.py writes.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from transformers import AutoConfig

from tiny_models import OUT, build, double_precision

MODELS = ["llama", "gemma3-pattern", "gpt2"]
TOKENS = 8


class Recorder:
    """Stages in the order in which they were computed."""

    def __init__(self) -> None:
        self.stages: dict[str, torch.Tensor] = {}

    def take(self, stage: str, value: torch.Tensor) -> None:
        assert stage not in self.stages, stage
        self.stages[stage] = value.detach()[0].clone()

    def output(self, module: torch.nn.Module, stage: str) -> None:
        def hook(_, __, value):
            self.take(stage, value[0] if isinstance(value, tuple) else value)
        module.register_forward_hook(hook)

    def input(self, module: torch.nn.Module, stage: str) -> None:
        module.register_forward_pre_hook(lambda _, args: self.take(stage, args[0]))


def by_token(heads: torch.Tensor) -> torch.Tensor:
    """[1, heads, n, head_dim] as [1, n, heads · head_dim]."""
    return heads.transpose(1, 2).flatten(2)


def watch_rope(module, recorder: Recorder) -> None:
    """Record what `apply_rotary_pos_emb` of a modelling module returns, layer after layer."""
    theirs, layer = module.apply_rotary_pos_emb, iter(range(1000))

    def rotate(*args, **kwargs):
        query, key = theirs(*args, **kwargs)
        index = next(layer)
        recorder.take(f"blk.{index}.q_rope", by_token(query))
        recorder.take(f"blk.{index}.k_rope", by_token(key))
        return query, key

    module.apply_rotary_pos_emb = rotate


def llama_like(model, recorder: Recorder) -> None:
    body = model.model
    post_norms = hasattr(body.layers[0], "pre_feedforward_layernorm")
    for index, block in enumerate(body.layers):
        name = lambda part, index=index: f"blk.{index}.{part}"
        if index == 0:
            recorder.input(block, "embedding")
        attention, mlp = block.self_attn, block.mlp
        recorder.output(block.input_layernorm, name("attn_norm"))
        for part in "qkv":
            recorder.output(getattr(attention, f"{part}_proj"), name(part))
        for part in "qk":
            if hasattr(attention, f"{part}_norm"):
                norm = getattr(attention, f"{part}_norm")
                norm.register_forward_hook(
                    lambda _, __, value, stage=name(f"{part}_norm"): recorder.take(stage, by_token(value)))
        recorder.input(attention.o_proj, name("attn_mix"))
        recorder.output(attention.o_proj, name("attn_output"))
        if post_norms:
            recorder.output(block.post_attention_layernorm, name("attn_post_norm"))
            before_ffn = block.pre_feedforward_layernorm
        else:
            before_ffn = block.post_attention_layernorm
        recorder.input(before_ffn, name("attn_residual"))
        recorder.output(before_ffn, name("ffn_norm"))
        recorder.input(mlp.down_proj, name("ffn_inner"))
        recorder.output(mlp.down_proj, name("ffn_output"))
        if post_norms:
            recorder.output(block.post_feedforward_layernorm, name("ffn_post_norm"))
        recorder.output(block, name("residual"))
    recorder.output(body.norm, "final_norm")
    watch_rope(sys.modules[type(model).__module__], recorder)


def gpt2(model, recorder: Recorder) -> None:
    body = model.transformer
    hidden = model.config.n_embd
    for index, block in enumerate(body.h):
        name = lambda part, index=index: f"blk.{index}.{part}"
        if index == 0:
            recorder.input(block, "embedding")
        recorder.output(block.ln_1, name("attn_norm"))

        def split(_, __, value, name=name):
            for part, third in zip("qkv", value.split(hidden, dim=2)):
                recorder.take(name(part), third)

        block.attn.c_attn.register_forward_hook(split)
        recorder.input(block.attn.c_proj, name("attn_mix"))
        recorder.output(block.attn.c_proj, name("attn_output"))
        recorder.input(block.ln_2, name("attn_residual"))
        recorder.output(block.ln_2, name("ffn_norm"))
        recorder.input(block.mlp.c_proj, name("ffn_inner"))
        recorder.output(block.mlp.c_proj, name("ffn_output"))
        recorder.output(block, name("residual"))
    recorder.output(body.ln_f, "final_norm")


def gguf_order(rows: torch.Tensor, head_dim: int) -> torch.Tensor:
    """Halves of each head interleaved: `LlamaModel.permute` of llama.cpp's converter."""
    n, width = rows.shape
    return rows.view(n, width // head_dim, 2, head_dim // 2).transpose(2, 3).reshape(n, width)


@torch.no_grad()
def record(folder: Path) -> dict[str, torch.Tensor]:
    config = AutoConfig.from_pretrained(folder)
    state = load_file(folder / "model.safetensors")
    tokens = torch.tensor([int(id) for id in (folder / "tokens.txt").read_text().split()])
    recorder = Recorder()
    with double_precision():
        model = build(config, None, torch.float64)
        found = model.load_state_dict({name: value.double() for name, value in state.items()}, strict=False)
        tied = {"lm_head.weight"} if config.tie_word_embeddings else set()
        assert set(found.missing_keys) <= tied and not found.unexpected_keys, found
        model.tie_weights()
        (gpt2 if config.model_type == "gpt2" else llama_like)(model, recorder)
        logits = model(input_ids=tokens[None, :TOKENS], use_cache=False).logits[0]
    # The same model as made logits.npy.
    expected = np.load(folder / "logits.npy")[:TOKENS]
    assert np.abs(logits.numpy() - expected).max() < 1e-6, "other logits than logits.npy"
    if config.model_type == "llama":
        for stage, value in recorder.stages.items():
            if stage.split(".")[-1] in ("q", "k", "q_rope", "k_rope"):
                recorder.stages[stage] = gguf_order(value, config.head_dim)
    return recorder.stages


def main() -> None:
    for name in MODELS:
        folder = OUT / name
        stages = record(folder)
        table = np.concatenate([value.numpy() for value in stages.values()], axis=1).astype(np.float32)
        np.save(folder / "taps.npy", table)
        lines = [f"{stage} {value.shape[1]}" for stage, value in stages.items()]
        (folder / "taps.txt").write_text("\n".join(lines) + "\n")
        print(f"{name:<18} {len(stages)} stages, {table.nbytes / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
