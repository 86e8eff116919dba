"""Load a Llama-architecture GGUF file into Hugging Face `transformers` (f32, eager attention).

Quantized tensors are decoded with the NumPy reference of the `gguf` package. llama.cpp stores
the rows of q and k for interleaved rotary pairs; they are put back into rotate-half order.
"""

from pathlib import Path

import gguf
import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

BLOCK_TENSORS = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def rotate_half_order(weight: np.ndarray, heads: int) -> np.ndarray:
    """Reorder the rows of q or k from pairs (2i, 2i + 1) to pairs (i, i + d/2)."""
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def fields(reader: gguf.GGUFReader) -> dict:
    """The metadata of a GGUF file as plain Python values."""
    return {name: field.contents() for name, field in reader.fields.items()}


def load(path: Path | str) -> tuple[LlamaForCausalLM, dict]:
    """(model in evaluation mode, metadata)."""
    reader = gguf.GGUFReader(path)
    meta = fields(reader)
    if meta["general.architecture"] != "llama":
        raise ValueError(f"{path}: architecture {meta['general.architecture']!r}, expected 'llama'")
    heads = meta["llama.attention.head_count"]
    kv_heads = meta["llama.attention.head_count_kv"]
    tensors = {
        t.name: gguf.quants.dequantize(t.data, t.tensor_type).astype(np.float32).reshape(t.shape[::-1])
        for t in reader.tensors
    }
    config = LlamaConfig(
        vocab_size=tensors["token_embd.weight"].shape[0],
        hidden_size=meta["llama.embedding_length"],
        intermediate_size=meta["llama.feed_forward_length"],
        num_hidden_layers=meta["llama.block_count"],
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=meta.get("llama.attention.key_length", meta["llama.embedding_length"] // heads),
        max_position_embeddings=meta["llama.context_length"],
        rms_norm_eps=meta["llama.attention.layer_norm_rms_epsilon"],
        rope_parameters={"rope_type": "default", "rope_theta": meta.get("llama.rope.freq_base", 10000.0)},
        tie_word_embeddings="output.weight" not in tensors,
        bos_token_id=meta.get("tokenizer.ggml.bos_token_id"),
        eos_token_id=meta.get("tokenizer.ggml.eos_token_id"),
        attn_implementation="eager",
        dtype=torch.float32,
    )
    state = {"model.embed_tokens.weight": tensors.pop("token_embd.weight"),
             "model.norm.weight": tensors.pop("output_norm.weight")}
    state["lm_head.weight"] = tensors.pop("output.weight", state["model.embed_tokens.weight"])
    for name, weight in tensors.items():
        _, layer, part, _ = name.split(".")
        if part in ("attn_q", "attn_k"):
            weight = rotate_half_order(weight, heads if part == "attn_q" else kv_heads)
        state[f"model.layers.{layer}.{BLOCK_TENSORS[part]}.weight"] = weight
    model = LlamaForCausalLM(config)
    model.load_state_dict({k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in state.items()}, strict=True)
    return model.float().eval(), meta


def tokenizer(meta: dict):
    """A `tokenizers.Tokenizer` equal to the GPT-2 style byte-level BPE in the metadata."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    if (meta["tokenizer.ggml.model"], meta["tokenizer.ggml.pre"]) != ("gpt2", "gpt-2"):
        raise ValueError("only byte-level BPE with the GPT-2 pattern is supported")
    vocabulary = {token: i for i, token in enumerate(meta["tokenizer.ggml.tokens"])}
    merges = [tuple(m.split(" ")) for m in meta["tokenizer.ggml.merges"]]
    result = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    result.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    result.decoder = decoders.ByteLevel()
    control = [t for t, kind in zip(meta["tokenizer.ggml.tokens"], meta["tokenizer.ggml.token_type"])
               if kind == gguf.TokenType.CONTROL]
    result.add_special_tokens(control)
    return result
