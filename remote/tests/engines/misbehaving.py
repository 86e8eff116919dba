"""An engine with one fault, named on the command line: what the harness must survive and name.

Sound until the first `extend` unless said otherwise. Standard library alone.
"""

import array
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[3] / "scripts" / "engines"))
import harness_engine  # noqa: E402

FAULT, ARGUMENTS = sys.argv[1], sys.argv[2:]
VOCAB = 16


class Toy(harness_engine.Engine):
    id, version = "misbehaving", "1"
    capabilities = ["full_logits", "all_logits", "concurrent_sessions", "kv_usage", "taps"]

    def open(self, path, options):
        config = dict.fromkeys(
            ("layers", "hidden", "feed_forward", "heads", "kv_heads", "head_dim", "parameters"), 1
        )
        numerics = dict.fromkeys(("weights", "activations", "kv"), "f32")
        if FAULT == "absurd_vocab":
            return config | {"architecture": "toy", "vocab": 1 << 40, "context": 64}, numerics
        return config | {"architecture": "toy", "vocab": VOCAB, "context": 1 << 17}, numerics

    def new_context(self):
        return None

    def extend(self, context, tokens, rows, tap):
        rows = tokens[len(tokens) - rows:]
        return array.array("f", [t * i % 7 for t in rows for i in range(VOCAB)])

    def truncate(self, context, length):
        pass


class Server(harness_engine.Server):
    def raw(self, data):
        self.output.write(data)
        self.output.flush()

    def send(self, message):
        if "logits" in message and isinstance(message["logits"], list):
            message["logits"] = harness_engine.floats(message["logits"])
        super().send(message)

    def op_extend(self, request):
        act = getattr(self, "fault_" + FAULT, None)
        changed = act(request) if act else None
        if changed is not None:
            return changed
        reply = super().op_extend(request)
        after = getattr(self, "after_" + FAULT, None)
        if after:
            after(reply, request)
        return reply

    # Shapes and figures.
    def after_wrong_shape(self, reply, request):
        reply["logits"] = harness_engine.floats([1.0] * (VOCAB - 1))

    def after_wrong_length(self, reply, request):
        reply["len"] += 1

    def after_nan(self, reply, request):
        reply["logits"] = harness_engine.floats([float("nan")] * VOCAB)

    def after_no_base64(self, reply, request):
        reply["logits"] = "*" * 88

    def after_no_logits(self, reply, request):
        reply.pop("logits", None)

    def after_impossible_time(self, reply, request):
        reply["compute_ns"] = 10**15

    def after_unknown_error(self, reply, request):
        reply["error"] = {"kind": "bad_mood", "message": "no"}

    # Capabilities.
    def after_lies_full_logits(self, reply, request):
        reply.pop("logits", None)
        reply["top"] = [{"tokens": [1], "logits": [0.0], "logsumexp": 0.1}]

    def after_lies_all_logits(self, reply, request):
        reply["logits"] = harness_engine.floats([1.0] * VOCAB)

    # Time.
    def fault_late(self, request):
        time.sleep(3600)

    def fault_half_line(self, request):
        self.raw(b'{"id":%d,"len":1,' % request["id"])
        time.sleep(3600)

    def fault_trickle(self, request):
        while True:
            self.raw(b" ")
            time.sleep(0.05)

    def fault_floods_stderr(self, request):
        noise = b"x" * 65535 + b"\n"
        for _ in range(1024):  # 64 MiB
            os.write(2, noise)

    def fault_floods_stderr_for_ever(self, request):
        while True:
            os.write(2, b"noise " * 10000 + b"\n")

    # Lines.
    def fault_huge_line(self, request):
        piece = b"x" * (1 << 20)
        self.raw(b'{"id":%d,"logits":"' % request["id"])
        for _ in range(2048):  # 2 GiB
            self.raw(piece)

    def fault_invalid_utf8(self, request):
        self.raw(b'{"id":%d,"len":1,"logits":"\xff\xfe"}\n' % request["id"])

    def fault_no_json(self, request):
        self.raw(b"loading model ... 100%\n")

    def fault_small_pieces(self, request):
        reply = {"id": request["id"], **super().op_extend(request)}
        line = harness_engine.json.dumps(reply).encode() + b"\n"
        for at in range(0, len(line), 3):
            self.raw(line[at:at + 3])
            time.sleep(0.001)
        return {}

    def fault_out_of_order(self, request):
        request = dict(request)
        self.send({"id": request["id"] + 1, "len": 2, "logits": [1.0] * VOCAB})

    def fault_answers_twice(self, request):
        self.send({"id": request["id"], "len": 1, "logits": [1.0] * VOCAB})

    def fault_untold_taps(self, request):
        line = {"layer": None, "point": "embedding", "position": 0, "width": 1, "values": "AACAPw=="}
        self.send({"id": request["id"], "tap": line})

    def fault_taps_without_end(self, request):
        line = {"layer": 0, "point": "residual", "position": 0, "width": 1, "values": "AACAPw=="}
        while True:
            self.send({"id": request["id"], "tap": line})

    # Ends.
    def fault_closes_early(self, request):
        print("no more of this", file=sys.stderr, flush=True)
        os._exit(0)

    def fault_segv(self, request):
        os.kill(os.getpid(), signal.SIGSEGV)

    def fault_half_line_and_end(self, request):
        self.raw(b'{"id":%d,"len":1,' % request["id"])
        os._exit(3)

    def fault_closes_pipes(self, request):
        self.output.close()
        time.sleep(3600)

    def fault_forks_and_dies(self, request):
        self.fork()
        os._exit(1)

    def fork(self):
        # It holds the pipes too, and does not mind SIGTERM.
        stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(3600)"
        child = subprocess.Popen([sys.executable, "-c", stubborn], stdout=self.output)
        Path(ARGUMENTS[0]).write_text(f"{os.getpid()} {child.pid}")

    def fault_forks_and_hangs(self, request):
        self.fork()
        time.sleep(3600)

    def fault_forks(self, request):
        self.fork()

    def op_truncate(self, request):
        if FAULT == "deaf":
            time.sleep(3600)
        return super().op_truncate(request)


if FAULT == "silent":
    time.sleep(3600)
if FAULT == "chatty":
    print("Welcome!", flush=True)
if FAULT == "dies_at_once":
    sys.exit("ModuleNotFoundError: No module named 'torch'")
if FAULT == "old":
    harness_engine.PROTOCOL = 0
if FAULT == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
harness_engine.Server = Server
harness_engine.serve(Toy())
if FAULT == "stubborn":
    Path(ARGUMENTS[0]).write_text(f"{os.getpid()}")
    time.sleep(3600)
