#!/usr/bin/env python3
"""Writes harness/tests/vectors/generation.json: what transformers generates from the tiny models in
reference/tests/vectors/models, greedily by its own `generate`, and drawn from its logits by the rules
of scripts/oracles/sampling.py. The test harness/tests/cli/generation.rs reads it.

    .oracles/venv/bin/python scripts/oracles/generation.py
"""

import json
import os
import pathlib
import sys

os.environ |= {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}

import torch
import transformers

import sampling

ROOT = pathlib.Path(__file__).parents[2]
MODELS = ROOT / "reference/tests/vectors/models"
OUT = ROOT / "harness/tests/vectors/generation.json"
NAMES = ["llama", "mistral", "qwen3", "gemma2", "phi3", "gpt2"]
DRAWS = ["temperature=1,seed=1", "temperature=0.8,top_k=40,top_p=0.95,min_p=0.05,seed=7"]
PROMPT, STEPS = 6, 32


def main():
    torch.set_default_dtype(torch.float64)
    cases = []
    for name in NAMES:
        folder = MODELS / name
        model = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float64, attn_implementation="eager"
        ).eval()
        model.generation_config = transformers.GenerationConfig(pad_token_id=0)
        prompt = list(map(int, (folder / "tokens.txt").read_text().split()))[:PROMPT]
        ids = torch.tensor([prompt])
        with torch.no_grad():
            greedy = model.generate(ids, max_new_tokens=STEPS, do_sample=False)[0, PROMPT:].tolist()
            logits = model(torch.tensor([prompt + greedy])).logits[0, PROMPT - 1 : -1]
        best = logits.topk(2).values
        margin = float((best[:, 0] - best[:, 1]).min())
        print(f"{name}: {len(greedy)} greedy tokens, smallest margin {margin:.2e}", file=sys.stderr)
        cases.append({"model": name, "prompt": prompt, "sampling": "greedy", "tokens": greedy})
        for text in DRAWS:
            s, tokens = sampling.parse(text), []
            for _, u in zip(range(STEPS), sampling.uniforms(s["seed"])):
                with torch.no_grad():
                    row = model(torch.tensor([prompt + tokens])).logits[0, -1].tolist()
                tokens.append(sampling.draw(row, s, u)[0])
            cases.append({"model": name, "prompt": prompt, "sampling": text, "tokens": tokens})
    rows = ",\n".join("  " + json.dumps(case) for case in cases)
    made_by = f"scripts/oracles/generation.py, transformers {transformers.__version__}"
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(f'{{"made_by": "{made_by}", "cases": [\n{rows}\n]}}\n')


if __name__ == "__main__":
    main()
