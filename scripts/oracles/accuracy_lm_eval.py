#!/usr/bin/env python3
"""Suite `accuracy` against lm-evaluation-harness, on the same items and weights.

    harness run --suite accuracy --engine reference --out RUN --set accuracy.save_answers=true
    accuracy_lm_eval.py RUN [--items FILE] [--model FILE.gguf]

lm-evaluation-harness runs the multiple-choice items as a task of its own, on transformers in f32:
every choice's log-likelihood must agree to --tol nats, and acc and acc_norm exactly. (Its
acc_norm divides by characters; by bytes it is acc_bytes, which is what ours is held against.)
Written answers must be the texts that it generates, judged by Python's `re` and `in`.

Needs, besides scripts/oracles/setup, lm_eval==0.4.13 in the environment that runs it.
"""

import argparse
import csv
import json
import re
import sys
from pathlib import Path

import gguf_to_hf
import lm_eval
from datasets import Dataset
from lm_eval.api.instance import Instance
from lm_eval.api.task import ConfigurableTask
from lm_eval.models.huggingface import HFLM
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"


def language_model(path: Path) -> HFLM:
    model, meta = gguf_to_hf.load(path)
    tokenizer = gguf_to_hf.tokenizer(meta)
    names = meta["tokenizer.ggml.tokens"]
    bos, eos = (meta[f"tokenizer.ggml.{which}_token_id"] for which in ("bos", "eos"))
    # Every text begins with BOS, as the model wants it.
    tokenizer.post_processor = TemplateProcessing(single=f"{names[bos]} $A", special_tokens=[(names[bos], bos)])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=names[bos], eos_token=names[eos])
    return HFLM(pretrained=model, tokenizer=fast, add_bos_token=True, batch_size=32, device="cpu")


def multiple_choice(items: list[dict], lm: HFLM) -> tuple[list[list[float]], dict]:
    """Log-likelihoods by item and choice, and the task's own accuracies."""
    task = ConfigurableTask(config={
        "task": "items",
        "dataset_path": "json",
        "custom_dataset": lambda **_: {"test": Dataset.from_list(items)},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": lambda item: item["prompt"],
        "doc_to_choice": lambda item: item["choices"],
        "doc_to_target": lambda item: item["answer"],
        "target_delimiter": "",
        "metric_list": [{"metric": name} for name in ("acc", "acc_norm", "acc_bytes")],
    })
    results = lm_eval.evaluate(lm=lm, task_dict={"items": task}, bootstrap_iters=0)
    samples = sorted(results["samples"]["items"], key=lambda sample: sample["doc_id"])
    likelihoods = [[float(pair[0]) for pair in sample["filtered_resps"]] for sample in samples]
    return likelihoods, results["results"]["items"]


def written(items: list[dict], lm: HFLM) -> list[str]:
    requests = [Instance("generate_until", item, (item["prompt"], {
        "until": [], "max_gen_toks": item["max_tokens"], "do_sample": False}), k)
        for k, item in enumerate(items)]
    return lm.generate_until(requests)


def judged(item: dict, text: str) -> bool:
    if "regex" in item:
        return re.search(item["regex"], text) is not None
    return item["contains"] in " ".join(text.split())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--items", type=Path, default=FIXTURES / "accuracy" / "items.jsonl")
    parser.add_argument("--model", type=Path, default=FIXTURES / "model" / "harness-fixture-f16.gguf")
    parser.add_argument("--tol", type=float, default=1e-4, help="nats")
    args = parser.parse_args()
    items = [json.loads(line) for line in args.items.read_text(encoding="utf-8").splitlines()]
    record = json.loads((args.run / "run.json").read_text())
    cell = record["cells"][0]
    ours: dict[str, dict[int, float]] = {}
    with open(args.run / "samples.csv", newline="") as file:
        for row in csv.DictReader(file):
            if row["cell"] == cell["cell"]:
                ours.setdefault(row["metric"], {})[int(row["index"])] = float(row["value"])
    figures = {metric["name"]: metric["value"] for metric in cell["metrics"]}
    lm = language_model(args.model)
    failed = False

    def check(what: str, fine: bool) -> None:
        nonlocal failed
        failed |= not fine
        print(f"{'ok  ' if fine else 'FAIL'} {what}")

    numbers = [n for n, item in enumerate(items) if "choices" in item]
    theirs, results = multiple_choice([items[n] for n in numbers], lm)
    pairs = [(ours[f"log_likelihood_{k}"][n], value) for n, row in zip(numbers, theirs) for k, value in enumerate(row)]
    worst = max(abs(a - b) for a, b in pairs)
    check(f"{len(pairs)} log-likelihoods differ by {worst:.2e} nats at most", worst <= args.tol)
    plain = sum(ours["correct"][n] for n in numbers) / len(numbers)
    check(f"acc of {len(numbers)} choices: {plain:.6f}, lm-eval {results['acc,none']:.6f}", plain == results["acc,none"])
    norm = figures["accuracy.all.acc_norm"]
    check(f"acc_norm: {norm:.6f}, lm-eval's acc_bytes {results['acc_bytes,none']:.6f}, "
          f"its acc_norm {results['acc_norm,none']:.6f}", norm == results["acc_bytes,none"])

    numbers = [n for n, item in enumerate(items) if "choices" not in item]
    texts = written([items[n] for n in numbers], lm)
    answers = [json.loads(line)["answer"] for line in open(args.run / "artifacts" / "accuracy-0.answers.jsonl")]
    same = sum(answers[n] == text for n, text in zip(numbers, texts))
    check(f"{same} of {len(numbers)} written answers are the same", same == len(numbers))
    right = [judged(items[n], text) for n, text in zip(numbers, texts)]
    check(f"{sum(right)} of them right", right == [ours["correct"][n] == 1.0 for n in numbers])
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
