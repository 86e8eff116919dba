"""The stdio protocol, so that an engine has to bring a model only. Standard library alone.

Subclass `Engine`, then `serve(YourEngine())`. What the protocol refuses (foreign tokens, contexts
that overflow, …) is refused here; sessions are numbered, replies are timed and encoded here.
Standard output belongs to the protocol: whatever else a library prints goes to standard error.
docs/src/your-engine.md shows a whole engine, docs/src/stdio-protocol.md is the specification.
"""

import array
import base64
import json
import os
import sys
import time

PROTOCOL = 1


class Refused(Exception):
    """What a request is refused with; `kind` is one of the protocol's."""

    def __init__(self, kind, message):
        super().__init__(message)
        self.kind = kind


class Engine:
    """What an engine brings. Contexts are whatever `new_context` returns."""

    id, version, device = "engine", "0", "cpu"
    # Of full_logits, all_logits, concurrent_sessions, kv_usage, taps, embeddings.
    capabilities = ["full_logits", "all_logits"]
    # Key: (default, help). `open` is given a value for each.
    options = {}

    def open(self, path, options):
        """Load the model; return (config, numerics) as the protocol wants them."""
        raise NotImplementedError

    def new_context(self):
        raise NotImplementedError

    def extend(self, context, tokens, rows, tap):
        """Append `tokens` and return the logits of the last `rows` of them: float32 values
        (NumPy or array.array), or a list of {tokens, logits, logsumexp} for engines without
        full logits. `tap`, if not None, takes (layer, point, values) with values [tokens, width]."""
        raise NotImplementedError

    def truncate(self, context, length):
        """Forget all but the first `length` tokens."""
        raise NotImplementedError

    def kv(self, context, length):
        """[{reserved_bytes, used_bytes}] of every layer."""
        raise Refused("unsupported", "no KV usage")

    def embed(self, texts, pooling):
        """(width, float32 values), one row a text."""
        raise Refused("unsupported", "no embeddings")


def floats(values):
    """Little-endian float32 in base64."""
    if not hasattr(values, "tobytes"):
        values = array.array("f", values)
    if sys.byteorder == "big":
        values = array.array("f", values.tobytes())
        values.byteswap()
    return base64.b64encode(values.tobytes()).decode("ascii")


class Server:
    def __init__(self, engine, output):
        self.engine, self.output = engine, output
        self.config, self.sessions, self.last_session = None, {}, 0

    def send(self, message):
        self.output.write(json.dumps(message, separators=(",", ":")).encode() + b"\n")
        self.output.flush()

    def reply(self, request):
        op = getattr(self, "op_" + str(request.get("op")), None)
        if op is None:
            raise Refused("unsupported", f"no request {request.get('op')!r}")
        if request["op"] not in ("hello", "open") and self.config is None:
            raise Refused("invalid_input", "no model is open")
        return op(request)

    def op_hello(self, request):
        engine = self.engine
        return {
            "protocol": min(PROTOCOL, request["protocol"]),
            "engine": {"id": engine.id, "version": engine.version, "device": engine.device},
            "capabilities": engine.capabilities,
            "options": [
                {"key": key, "default": default, "help": text}
                for key, (default, text) in engine.options.items()
            ],
        }

    def op_open(self, request):
        values = {key: default for key, (default, _) in self.engine.options.items()}
        values.update(request["options"])
        self.config, numerics = self.engine.open(request["model"]["path"], values)
        return {"config": self.config, "numerics": numerics}

    def op_session(self, _):
        self.last_session += 1
        self.sessions[self.last_session] = [self.engine.new_context(), 0]
        return {"session": self.last_session}

    def session(self, request):
        try:
            return self.sessions[request["session"]]
        except KeyError:
            raise Refused("invalid_input", f"no session {request['session']}") from None

    def check(self, tokens, length):
        vocab, room = self.config["vocab"], self.config["context"] - length
        if not tokens:
            raise Refused("invalid_input", "no tokens")
        if len(tokens) > room:
            raise Refused("invalid_input", f"{len(tokens)} tokens, but there is room for {room}")
        if max(tokens) >= vocab:
            raise Refused("invalid_input", f"token {max(tokens)} of a vocabulary of {vocab}")

    def op_extend(self, request):
        session, tokens = self.session(request), request["tokens"]
        context, length = session
        self.check(tokens, length)
        rows = {"none": 0, "last": 1, "all": len(tokens)}[request["want"]]
        taps = []
        tap = (lambda *line: taps.append(line)) if request.get("taps") else None
        begun = time.monotonic_ns()
        try:
            logits = self.engine.extend(context, tokens, rows, tap)
        except Exception:
            self.engine.truncate(context, length)  # All or nothing.
            raise
        reply = {"compute_ns": time.monotonic_ns() - begun}
        session[1] = reply["len"] = length + len(tokens)
        for layer, point, values in taps:
            width = values.shape[-1]
            line = {"layer": layer, "point": point, "position": length, "width": width}
            self.send({"id": request["id"], "tap": line | {"values": floats(values)}})
        if rows and isinstance(logits[0], dict):
            reply["top"] = logits
        elif rows:
            reply["logits"] = floats(logits)
        return reply

    def op_truncate(self, request):
        session, length = self.session(request), request["len"]
        if length > session[1]:
            raise Refused("invalid_input", f"{length} tokens of a context of {session[1]}")
        if length < session[1]:
            self.engine.truncate(session[0], length)
        session[1] = length
        return {"len": length}

    def op_kv(self, request):
        return {"layers": self.engine.kv(*self.session(request))}

    def op_embed(self, request):
        for text in request["texts"]:
            self.check(text, 0)
        begun = time.monotonic_ns()
        width, values = self.engine.embed(request["texts"], request["pooling"])
        spent = time.monotonic_ns() - begun
        return {"width": width, "embeddings": floats(values), "compute_ns": spent}

    def op_close(self, request):
        self.session(request)
        del self.sessions[request["session"]]
        return {}


def serve(engine):
    """Answer requests until there are no more."""
    # Whoever prints to standard output from now on prints to standard error.
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    server = Server(engine, output)
    for line in sys.stdin.buffer:
        request = {}
        try:
            request = json.loads(line)
            if request["op"] == "shutdown":
                break
            if request["op"] == "cancel":  # Never seen in time by a loop that computes.
                continue
            reply = server.reply(request)
        except Refused as refused:
            reply = {"error": {"kind": refused.kind, "message": str(refused)}}
        except MemoryError as error:
            reply = {"error": {"kind": "out_of_memory", "message": str(error)}}
        except (ValueError, KeyError, TypeError, OSError, NotImplementedError, RuntimeError) as error:
            kind = "load" if request.get("op") == "open" else "device"
            reply = {"error": {"kind": kind, "message": f"{type(error).__name__}: {error}"}}
        server.send({"id": request.get("id"), **reply})
