#!/usr/bin/env python3
"""Hugging Face transformers on the CPU, in f32, as an engine: GGUF files of llama architecture, and
model folders.

    harness run --suite parity --engine reference \\
        --engine 'stdio:command=.oracles/venv/bin/python scripts/engines/hf.py'

Needs torch and transformers, for GGUF files gguf too (scripts/oracles/setup has them).
"""

import sys
from pathlib import Path

import numpy as np
import torch
import transformers
from harness_engine import Engine, Refused, serve
from transformers import AutoModelForCausalLM, DynamicCache

sys.path.append(str(Path(__file__).resolve().parents[1] / "oracles"))


class HuggingFace(Engine):
    id, version = "transformers", transformers.__version__
    capabilities = ["full_logits", "all_logits", "concurrent_sessions", "kv_usage", "taps", "embeddings"]
    options = {"threads": ("2", "threads of torch")}

    def open(self, path, options):
        torch.set_num_threads(int(options["threads"]))
        torch.set_grad_enabled(False)
        if Path(path).is_dir():
            self.model = AutoModelForCausalLM.from_pretrained(
                path, dtype=torch.float32, attn_implementation="eager"
            ).eval()
        else:
            import gguf_to_hf

            self.model, _ = gguf_to_hf.load(path)
        shape = self.model.config
        self.heads = getattr(shape, "num_key_value_heads", None) or shape.num_attention_heads
        self.head_dim = getattr(shape, "head_dim", None) or shape.hidden_size // shape.num_attention_heads
        config = {
            "architecture": shape.model_type,
            "layers": shape.num_hidden_layers,
            "hidden": shape.hidden_size,
            "feed_forward": shape.intermediate_size,
            "heads": shape.num_attention_heads,
            "kv_heads": self.heads,
            "head_dim": self.head_dim,
            "vocab": shape.vocab_size,
            "context": shape.max_position_embeddings,
            "parameters": sum(p.numel() for p in self.model.parameters()),
        }
        return config, {"weights": "f32", "activations": "f32", "kv": "f32"}

    def new_context(self):
        return DynamicCache()

    def extend(self, cache, tokens, rows, tap):
        handles = self.hook(tap) if tap else []
        try:
            output = self.model(
                input_ids=torch.tensor([tokens]), past_key_values=cache, use_cache=True, logits_to_keep=max(rows, 1)
            )
        finally:
            for handle in handles:
                handle.remove()
        return output.logits[0, -rows:].numpy() if rows else []

    def hook(self, tap):
        """Hand over the residual stream behind every block, and what enters and leaves them all."""
        inner = self.model.model

        def at(module, layer, point):
            def take(_, __, output):
                values = output[0] if isinstance(output, tuple) else output
                tap(layer, point, values[0].numpy().copy())

            return module.register_forward_hook(take)

        blocks = [at(block, number, "residual") for number, block in enumerate(inner.layers)]
        return [at(inner.embed_tokens, None, "embedding"), *blocks, at(inner.norm, None, "final_norm")]

    def truncate(self, cache, length):
        surplus = cache.get_seq_length() - length
        if length == 0:
            cache.layers.clear()
        elif surplus:
            cache.crop(-surplus)

    def kv(self, cache, length):
        used = 2 * self.heads * self.head_dim * 4 * length
        return [{"reserved_bytes": used, "used_bytes": used}] * self.model.config.num_hidden_layers

    def embed(self, texts, pooling):
        if pooling == "cls":
            raise Refused("unsupported", "the first token of a decoder has seen nothing")
        rows = []
        for text in texts:
            states = self.model.model(input_ids=torch.tensor([text]), use_cache=False).last_hidden_state[0]
            rows.append((states[-1] if pooling == "last" else states.mean(0)).numpy())
        return rows[0].shape[0], np.stack(rows)


serve(HuggingFace())
