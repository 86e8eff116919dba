#!/usr/bin/env python3
"""llama.cpp as an engine, through the bindings of llama-cpp-python.

    harness run --suite parity --engine reference \\
        --engine 'stdio:command=python3 scripts/engines/llama_cpp.py'

Needs `pip install llama-cpp-python`, which compiles llama.cpp.
"""

import ctypes
import sys
from pathlib import Path

# The file has the name of what it imports.
sys.path = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]
import llama_cpp as lib  # noqa: E402
import numpy as np  # noqa: E402

sys.path.append(str(Path(__file__).resolve().parent))
from harness_engine import Engine, Refused, serve  # noqa: E402

BATCH = 512  # Tokens of one llama_decode.
FORMATS = {"f32": (0, 4), "f16": (1, 2)}  # ggml_type, bytes.
# What llama.cpp rounds activations to before a product, by the file's general.file_type.
ACTIVATIONS = {"0": "f32", "1": "f16", "32": "bf16"}


@lib.llama_log_callback
def log(level, text, _):
    if level in (3, 4):  # Warnings and errors; the rest would bury an engine's last words.
        sys.stderr.write(text.decode(errors="replace"))


class LlamaCpp(Engine):
    id, version = "llama.cpp", f"llama-cpp-python {lib.__version__}"
    capabilities = ["full_logits", "all_logits", "concurrent_sessions", "kv_usage"]
    options = {
        "threads": ("2", "threads"),
        "kv": ("f16", "format of the KV cache: f16 or f32"),
        "context": ("0", "longest context; 0 means the model's"),
    }

    def open(self, path, options):
        if options["kv"] not in FORMATS:
            raise Refused("invalid_input", f"kv={options['kv']}: f16 or f32")
        lib.llama_log_set(log, None)
        lib.llama_backend_init()
        parameters = lib.llama_model_default_params()
        parameters.n_gpu_layers = 0
        self.model = lib.llama_model_load_from_file(path.encode(), parameters)
        if not self.model:
            raise Refused("load", f"llama.cpp cannot read {path}")
        self.threads, self.kv_format = int(options["threads"]), options["kv"]
        self.layers = lib.llama_model_n_layer(self.model)
        self.vocab = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(self.model))
        architecture = self.meta("general.architecture", "unknown")
        heads = lib.llama_model_n_head(self.model)
        kv_heads = lib.llama_model_n_head_kv(self.model)
        hidden = lib.llama_model_n_embd(self.model)
        head_dim = int(self.meta(f"{architecture}.attention.key_length", hidden // heads))
        trained = lib.llama_model_n_ctx_train(self.model)
        self.context = min(int(options["context"]) or trained, trained)
        self.token_bytes = 2 * kv_heads * head_dim * FORMATS[self.kv_format][1]
        config = {
            "architecture": architecture,
            "layers": self.layers,
            "hidden": hidden,
            "feed_forward": int(self.meta(f"{architecture}.feed_forward_length", 0)),
            "heads": heads,
            "kv_heads": kv_heads,
            "head_dim": head_dim,
            "vocab": self.vocab,
            "context": self.context,
            "parameters": lib.llama_model_n_params(self.model),
        }
        # The weights are the file's own, whatever their format: that is "f32", no rounding added.
        activations = ACTIVATIONS.get(self.meta("general.file_type", "0"), "q8_0")
        return config, {"weights": "f32", "activations": activations, "kv": self.kv_format}

    def meta(self, key, default):
        text = ctypes.create_string_buffer(256)
        length = lib.llama_model_meta_val_str(self.model, key.encode(), text, len(text))
        return text.value.decode() if length >= 0 else default

    def new_context(self):
        return Context(self)

    def extend(self, context, tokens, rows, tap):
        return context.extend(tokens, rows)

    def truncate(self, context, length):
        context.truncate(length)

    def kv(self, context, length):
        reserved = lib.llama_n_ctx(context.pointer) * self.token_bytes
        return [{"reserved_bytes": reserved, "used_bytes": length * self.token_bytes}] * self.layers


class Context:
    """A llama_context; its memory is given back with it."""

    def __init__(self, engine):
        parameters = lib.llama_context_default_params()
        parameters.n_ctx = engine.context
        parameters.n_batch = parameters.n_ubatch = BATCH
        parameters.n_threads = parameters.n_threads_batch = engine.threads
        parameters.type_k = parameters.type_v = FORMATS[engine.kv_format][0]
        self.engine, self.length, self.pointer = engine, 0, None
        self.pointer = lib.llama_init_from_model(engine.model, parameters)
        if not self.pointer:
            raise Refused("out_of_memory", "llama.cpp makes no context")

    def __del__(self):
        if self.pointer:
            lib.llama_free(self.pointer)

    def truncate(self, length):
        memory = lib.llama_get_memory(self.pointer)
        if not lib.llama_memory_seq_rm(memory, 0, length, -1):
            raise Refused("unsupported", "this model's memory cannot be truncated")
        self.length = length

    def extend(self, tokens, rows):
        before, all_rows = self.length, []
        for begin in range(0, len(tokens), BATCH):
            piece = tokens[begin : begin + BATCH]
            wanted = [begin + at >= len(tokens) - rows for at in range(len(piece))]
            code = self.decode(piece, wanted)
            if code != 0:
                self.truncate(before)
                raise Refused("device", f"llama_decode failed with {code}")
            for at in (at for at, is_wanted in enumerate(wanted) if is_wanted):
                row = lib.llama_get_logits_ith(self.pointer, at)
                all_rows.append(np.ctypeslib.as_array(row, (self.engine.vocab,)).copy())
        return np.stack(all_rows) if all_rows else []

    def decode(self, tokens, wanted):
        batch = lib.llama_batch_init(len(tokens), 0, 1)
        try:
            batch.n_tokens = len(tokens)
            for at, token in enumerate(tokens):
                batch.token[at], batch.pos[at] = token, self.length + at
                batch.n_seq_id[at], batch.seq_id[at][0] = 1, 0
                batch.logits[at] = wanted[at]
            code = lib.llama_decode(self.pointer, batch)
        finally:
            lib.llama_batch_free(batch)
        self.length += len(tokens)
        return code


serve(LlamaCpp())
