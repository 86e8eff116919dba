#!/usr/bin/env python3
"""Oracle for the fixture: Hugging Face transformers in f32 with eager attention.

Without --logits: perplexity of a text, in llama.cpp's scheme (`llama-perplexity`: chunks of
--ctx tokens whose first token is replaced by BOS; the tokens at ctx/2 + 1 … ctx - 1 are scored,
the rest of the text is dropped) and over full windows (BOS and up to ctx - 1 tokens, every
token of the text scored once).

With --logits and --tokens: the logits of another engine, float32 [windows, n_ctx, vocab], for
tokens [windows, n_ctx], each window run from position 0 with an empty cache, against ours.
Exit status 1 if any logit differs by more than --tol or is not a number.
"""

import argparse
import json
import math
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

import gguf_to_hf

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"


@torch.no_grad()
def nll(model, windows: torch.Tensor) -> torch.Tensor:
    """-log p(windows[:, i + 1] | windows[:, : i + 1]) in f64, shape [windows, length - 1]."""
    parts = []
    for w in windows.split(1):
        logits = model(input_ids=w, use_cache=False).logits[:, :-1].double()
        parts.append(F.cross_entropy(logits.flatten(0, 1), w[:, 1:].flatten(), reduction="none").view(len(w), -1))
    return torch.cat(parts)


def llama_cpp_scheme(model, ids: list[int], bos: int, ctx: int) -> dict:
    """`llama-perplexity` puts BOS before the text, cuts it into chunks, then overwrites each first token."""
    ids = [bos, *ids]
    chunks = len(ids) // ctx
    windows = torch.tensor(ids[: chunks * ctx]).view(chunks, ctx)
    windows[:, 0] = bos
    scores = nll(model, windows)[:, ctx // 2 :].flatten()
    mean = scores.mean().item()
    error = scores.std(correction=1).item() / math.sqrt(scores.numel())
    return {"scheme": "llama.cpp", "ctx": ctx, "chunks": chunks, "scored": scores.numel(),
            "ppl": math.exp(mean), "ppl_error": math.exp(mean) * error}


def full_windows(model, ids: list[int], bos: int, ctx: int, size: int) -> dict:
    """Every token scored once, in windows of BOS and up to ctx - 1 tokens; no context carries over."""
    step = ctx - 1
    full = len(ids) // step
    scores = [nll(model, torch.cat((torch.full((full, 1), bos),
                                    torch.tensor(ids[: full * step]).view(full, step)), dim=1)).flatten()]
    if ids[full * step :]:
        scores.append(nll(model, torch.tensor([[bos, *ids[full * step :]]])).flatten())
    total = torch.cat(scores).sum().item()
    return {"scheme": "full windows", "ctx": ctx, "tokens": len(ids), "bytes": size,
            "ppl": math.exp(total / len(ids)), "bits_per_byte": total / math.log(2) / size,
            "ppl_per_byte": math.exp(total / size)}


@torch.no_grad()
def compare(model, logits_path: Path, tokens_path: Path, tolerance: float) -> bool:
    theirs = np.load(logits_path, mmap_mode="r")
    tokens = torch.from_numpy(np.load(tokens_path).astype(np.int64))
    if theirs.shape[:2] != tuple(tokens.shape) or theirs.ndim != 3:
        raise SystemExit(f"shapes differ: logits {theirs.shape}, tokens {tuple(tokens.shape)}")
    worst, squares = 0.0, 0.0
    for i, window in enumerate(tokens):
        ours = model(input_ids=window[None], use_cache=False).logits[0].double().numpy()
        if ours.shape[1] != theirs.shape[2]:
            raise SystemExit(f"vocabulary differs: {theirs.shape[2]}, expected {ours.shape[1]}")
        delta = np.abs(theirs[i].astype(np.float64) - ours)
        top = (theirs[i].argmax(-1) == ours.argmax(-1)).mean()
        largest = float(delta.max()) if np.isfinite(delta).all() else math.inf
        worst, squares = max(worst, largest), squares + float(np.square(delta).sum())
        position = int(np.nan_to_num(delta, nan=math.inf).max(-1).argmax())
        print(f"window {i}: max |Δlogit| {largest:.3e} at position {position}, same top token {100 * top:.2f} %")
    passed = worst <= tolerance
    print(f"max |Δlogit| {worst:.3e}, RMS {math.sqrt(squares / theirs.size):.3e},"
          f" tolerance {tolerance:g}: {'pass' if passed else 'FAIL'}")
    return passed


@torch.no_grad()
def generate(model, tok, bos: int, prompt: str, count: int) -> str:
    ids = torch.tensor([[bos, *tok.encode(prompt, add_special_tokens=False).ids]])
    for _ in range(count):
        best = model(input_ids=ids, use_cache=False).logits[0, -1].argmax()
        ids = torch.cat((ids, best.view(1, 1)), dim=1)
    return tok.decode(ids[0, 1:].tolist(), skip_special_tokens=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=Path, default=FIXTURES / "model" / "harness-fixture-f16.gguf")
    parser.add_argument("--text", type=Path, default=FIXTURES / "text" / "heldout.txt")
    parser.add_argument("--ctx", type=int, action="append", help="context length; may be repeated (512 and the model's)")
    parser.add_argument("--scheme", choices=["both", "llama.cpp", "full"], default="both")
    parser.add_argument("--logits", type=Path, help="float32 [windows, n_ctx, vocab] in .npy")
    parser.add_argument("--tokens", type=Path, help="int32 or uint32 [windows, n_ctx] in .npy")
    parser.add_argument("--tol", type=float, default=1e-3)
    parser.add_argument("--generate", metavar="PROMPT", help="print a greedy continuation instead")
    parser.add_argument("--count", type=int, default=64, help="tokens to generate")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    if (args.logits is None) != (args.tokens is None):
        parser.error("--logits and --tokens go together")
    torch.set_num_threads(args.threads)
    model, meta = gguf_to_hf.load(args.model)
    if args.logits:
        sys.exit(0 if compare(model, args.logits, args.tokens, args.tol) else 1)
    tok, bos = gguf_to_hf.tokenizer(meta), meta["tokenizer.ggml.bos_token_id"]
    if args.generate is not None:
        print(generate(model, tok, bos, args.generate, args.count))
        return
    text = args.text.read_text(encoding="utf-8")
    ids = tok.encode(text, add_special_tokens=False).ids
    for ctx in args.ctx or [512, meta["llama.context_length"]]:
        if args.scheme != "full":
            print(json.dumps(llama_cpp_scheme(model, ids, bos, ctx)), flush=True)
        if args.scheme != "llama.cpp":
            print(json.dumps(full_windows(model, ids, bos, ctx, len(text.encode()))), flush=True)


if __name__ == "__main__":
    main()
