#!/usr/bin/env python3
"""The least that is an engine: the stdio protocol by hand, over a model that knows one thing, that
the token after `t` is drawn by row `t` of a table. Standard library alone.

    harness conformance --engine 'stdio:command=python3 scripts/engines/minimal.py'

Options: vocab and context. A real engine had better use harness_engine.py.
"""
import array
import base64
import json
import sys
import time

NUMERICS = {"weights": "f32", "activations": "f32", "kv": "f32"}
SHAPE = {"architecture": "bigram", "layers": 1, "hidden": 1, "feed_forward": 1, "heads": 1,
         "kv_heads": 1, "head_dim": 1, "parameters": 0}
sessions, config, table = {}, {}, array.array("f")


def answer(request):
    op = request["op"]
    if op == "hello":
        return {"protocol": 1, "engine": {"id": "minimal", "version": "1", "device": "cpu"},
                "capabilities": ["full_logits", "all_logits", "concurrent_sessions"],
                "options": [{"key": "vocab", "default": "4096"}, {"key": "context", "default": "1024"}]}
    if op == "open":
        options = {"vocab": 4096, "context": 1024, **request["options"]}
        config.update(SHAPE, vocab=int(options["vocab"]), context=int(options["context"]))
        table.extend(i * 2654435761 % 65521 / 8192 for i in range(2 * config["vocab"]))
        return {"config": config, "numerics": NUMERICS}
    if op == "session":
        number = max(sessions, default=0) + 1
        sessions[number] = []
        return {"session": number}
    context = sessions[request["session"]]
    if op == "extend":
        begun, tokens, vocab = time.monotonic_ns(), request["tokens"], config["vocab"]
        if not tokens or max(tokens) >= vocab or len(context) + len(tokens) > config["context"]:
            return {"error": {"kind": "invalid_input", "message": "no such tokens, or no room"}}
        context.extend(tokens)
        rows = {"none": [], "last": tokens[-1:], "all": tokens}[request["want"]]
        logits = b"".join(table[t:t + vocab].tobytes() for t in rows)
        return {"len": len(context), "compute_ns": time.monotonic_ns() - begun,
                "logits": base64.b64encode(logits).decode()}
    if op == "truncate":
        if request["len"] > len(context):
            return {"error": {"kind": "invalid_input", "message": "longer than the context"}}
        del context[request["len"]:]
        return {"len": len(context)}
    del sessions[request["session"]]  # op == "close"; what is not declared is not asked for
    return {}


for line in sys.stdin:
    request = json.loads(line)
    if request["op"] == "shutdown":
        break
    print(json.dumps({"id": request["id"], **answer(request)}), flush=True)
