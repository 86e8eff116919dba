#!/usr/bin/env python3
"""Hold saved embeddings of a Hugging Face folder against transformers in float64.

Compares the first engine of a record made with `--set embedding.save_embeddings=true`: its tokens with
the folder's own tokenizer, its vectors with mean-pooled last hidden states. Fails if any value
differs by more than the bound of reference/tests/architectures/embeddings.rs: six deviations of
`RMS · sqrt(4 · noise gain · K · noise of f32)`, with the noise gain that the record holds.

    .oracles/venv/bin/python scripts/oracles/embeddings_hf.py MODEL-FOLDER RECORD
"""

import json
import math
import os
import sys
from pathlib import Path

os.environ |= {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}

import numpy as np
import torch
import transformers
from tiny_models import double_precision


@torch.no_grad()
def main(folder: Path, record: Path) -> None:
    found = np.load(record / "artifacts/embedding-0.embeddings.npy")[0].astype(np.float64)
    texts = [json.loads(line) for line in (record / "artifacts/embedding-0.texts.jsonl").open()]
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    for text in texts:
        # A user's text holds no special tokens, however it reads.
        ids = tokenizer(text["text"], truncation=False, padding=False, split_special_tokens=True)["input_ids"]
        assert ids == text["tokens"], f"text {text['id']}: {ids} is not {text['tokens']}"
    config = transformers.AutoConfig.from_pretrained(folder)
    trained = transformers.AutoModel.from_pretrained(folder).state_dict()
    with double_precision():
        model = transformers.AutoModel.from_config(config, attn_implementation="eager").double().eval()
        model.load_state_dict({name: value.double() for name, value in trained.items()})
        expected = torch.stack([
            model(input_ids=torch.tensor([text["tokens"]])).last_hidden_state[0].mean(0) for text in texts
        ]).numpy()
    cell = json.loads((record / "run.json").read_text())["cells"][0]
    [gain] = [m["value"] for m in cell["metrics"] if m["name"] == "embedding.mean.noise_gain"]
    longest = max(config.hidden_size, config.intermediate_size)
    noise = longest * 2.0**-46 / 12 * 3 / (8 * math.log(2))
    bound = 6 * np.sqrt((expected**2).mean()) * math.sqrt(4 * gain * noise)
    delta = np.abs(found - expected).max()
    unit = lambda rows: rows / np.linalg.norm(rows, axis=1, keepdims=True)
    cosine = (unit(found) * unit(expected)).sum(1).min()
    print(f"{len(texts)} texts, {sum(len(t['tokens']) for t in texts)} tokens, all the same as transformers'")
    print(f"max |Δ| {delta:.2e}, {100 * delta / bound:.0f} % of the bound; least cosine 1 - {1 - cosine:.1e}")
    if not delta <= bound:
        raise SystemExit(f"max |Δ| {delta:.2e} exceeds {bound:.2e}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
