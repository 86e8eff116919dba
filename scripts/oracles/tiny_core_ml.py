#!/usr/bin/env python3
"""Writes coreml/tests/packages/: a tiny Llama of random weights as GGUF, and Core ML packages of it.

    /tmp/coremltools/bin/python scripts/oracles/tiny_core_ml.py

    tiny.gguf              2 layers, 32 wide, vocabulary of the 256 bytes and three more
    tiny-fp16.mlpackage    one function, 1 to 16 tokens a call
    tiny-multi.mlpackage   palette4-g16; prefill of 1, 4 or 16 tokens, decode, encode; convolutions
    tiny-defect.mlpackage  a state read again after its update, which coremltools' passes then lose
    tiny-apple, -anemll    the same model as other converters lay it out; see foreign_core_ml.py
    logits.json            what NumPy makes of 64 random tokens in f64, from the GGUF's weights, and how
                           much of a small noise in these weights reaches the logits
"""

import json
import pathlib
import shutil
import subprocess
import sys

import gguf
import numpy as np

ROOT = pathlib.Path(__file__).parents[2]
OUT = ROOT / "coreml/tests/packages"
LAYERS, HIDDEN, INNER, HEADS, KV_HEADS, CONTEXT, VOCAB = 2, 32, 64, 4, 2, 64, 259
VARIANTS = {
    "fp16": ["--prompt-lengths", "1..16"],
    "multi": ["--scheme", "palette4-g16", "--layout", "ane", "--functions", "multi", "--encode",
              "--prompt-lengths", "1,4,16"],
    "defect": ["--prompt-lengths", "1..16", "--defect", "reread-state"],
}


def byte_tokens():
    """GPT-2's names of the 256 bytes."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in plain]
    return [chr(b) if b in plain else chr(256 + rest.index(b)) for b in range(256)]


def write_gguf(path):
    rng = np.random.default_rng(20261122)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    for key, value in [("block_count", LAYERS), ("context_length", CONTEXT), ("embedding_length", HIDDEN),
                       ("feed_forward_length", INNER), ("attention.head_count", HEADS),
                       ("attention.head_count_kv", KV_HEADS), ("rope.dimension_count", HIDDEN // HEADS)]:
        writer.add_uint32(f"llama.{key}", value)
    writer.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(["<s>", "</s>", *byte_tokens(), "Ġt"])
    writer.add_token_types([3, 3] + [1] * 257)
    writer.add_token_merges(["Ġ t"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_add_bos_token(True)
    kv = HIDDEN // HEADS * KV_HEADS

    def matrix(name, rows, columns, scale=1.0):
        values = rng.normal(size=(rows, columns)) * scale / np.sqrt(columns)
        writer.add_tensor(name, values.astype(np.float16))

    def norm(name):
        writer.add_tensor(name, (1 + 0.1 * rng.normal(size=HIDDEN)).astype(np.float32))

    matrix("token_embd.weight", VOCAB, HIDDEN, 4.0)
    for layer in range(LAYERS):
        b = f"blk.{layer}."
        norm(b + "attn_norm.weight"), norm(b + "ffn_norm.weight")
        matrix(b + "attn_q.weight", HIDDEN, HIDDEN), matrix(b + "attn_k.weight", kv, HIDDEN)
        matrix(b + "attn_v.weight", kv, HIDDEN), matrix(b + "attn_output.weight", HIDDEN, HIDDEN)
        matrix(b + "ffn_gate.weight", INNER, HIDDEN), matrix(b + "ffn_up.weight", INNER, HIDDEN)
        matrix(b + "ffn_down.weight", HIDDEN, INNER)
    norm("output_norm.weight")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def rms_norm(x, weight):
    return x / np.sqrt(np.mean(x * x, -1, keepdims=True) + 1e-5) * weight


def logits(w, tokens):
    """A Llama in 30 lines: pairs of neighbours rotate, heads share keys and values in groups."""
    count, dim = len(tokens), HIDDEN // HEADS
    x = w["token_embd.weight"][tokens]
    angles = np.arange(count)[:, None] * 10000.0 ** (-2.0 * np.arange(dim // 2) / dim)

    def heads(y, rotate):
        y = y.reshape(count, -1, dim).transpose(1, 0, 2)
        if rotate:
            even, odd = y[..., 0::2].copy(), y[..., 1::2].copy()
            y[..., 0::2] = even * np.cos(angles) - odd * np.sin(angles)
            y[..., 1::2] = even * np.sin(angles) + odd * np.cos(angles)
        return y

    for layer in range(LAYERS):
        b = f"blk.{layer}."
        n = rms_norm(x, w[b + "attn_norm.weight"])
        q = heads(n @ w[b + "attn_q.weight"].T, True)
        k, v = (np.repeat(heads(n @ w[f"{b}attn_{p}.weight"].T, p == "k"), HEADS // KV_HEADS, 0) for p in "kv")
        scores = q @ k.transpose(0, 2, 1) / np.sqrt(dim) + np.triu(np.full((count, count), -np.inf), 1)
        p = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = (p / p.sum(-1, keepdims=True) @ v).transpose(1, 0, 2).reshape(count, -1)
        x = x + mixed @ w[b + "attn_output.weight"].T
        n = rms_norm(x, w[b + "ffn_norm.weight"])
        gate = n @ w[b + "ffn_gate.weight"].T
        x = x + (gate / (1 + np.exp(-gate)) * (n @ w[b + "ffn_up.weight"].T)) @ w[b + "ffn_down.weight"].T
    return rms_norm(x, w["output_norm.weight"]) @ w["token_embd.weight"].T


def noise_gain(w, tokens, exact, epsilon=1e-3, draws=8):
    """Squared error of the logits over that of the weights of all products, both relative."""
    rng = np.random.default_rng(2)
    errors = []
    for _ in range(draws):
        noisy = {n: v * (1 + epsilon * rng.normal(size=v.shape)) if n.startswith("blk.") and v.ndim == 2 else v
                 for n, v in w.items()}
        errors.append(np.sum((logits(noisy, tokens) - exact) ** 2) / np.sum(exact ** 2))
    return float(np.mean(errors)) / epsilon ** 2


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    write_gguf(OUT / "tiny.gguf")
    tokens = np.random.default_rng(1).integers(0, VOCAB, CONTEXT)
    weights = {t.name: t.data.astype(float) for t in gguf.GGUFReader(OUT / "tiny.gguf").tensors}
    expected = logits(weights, tokens)
    gain = noise_gain(weights, tokens, expected)
    # What `engine::tolerance` takes for the most; the conformance checks rely on it.
    assert gain < 4 * sum(1 / n for n in range(1, 2 * LAYERS + 1)) + 1, gain
    (OUT / "logits.json").write_text(json.dumps(
        {"gain": gain, "tokens": tokens.tolist(), "logits": [[round(v, 6) for v in row] for row in expected.tolist()]}) + "\n")
    for name, options in VARIANTS.items():
        subprocess.run([sys.executable, ROOT / "scripts/convert_coreml.py", OUT / "tiny.gguf", "--out",
                        OUT / f"tiny-{name}.mlpackage", *options], check=True)
    subprocess.run([sys.executable, pathlib.Path(__file__).with_name("foreign_core_ml.py")], check=True)


if __name__ == "__main__":
    main()
