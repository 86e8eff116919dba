"""An engine that takes its time over token 1, and gives up when told to. By hand, since it has to
read while it computes."""

import json
import select
import sys

SHAPE = dict.fromkeys(
    ("layers", "hidden", "feed_forward", "heads", "kv_heads", "head_dim", "parameters"), 1
) | {"architecture": "toy", "vocab": 2, "context": 64}
NUMERICS = dict.fromkeys(("weights", "activations", "kv"), "f32")
length = 0


def answer(request):
    global length
    op = request["op"]
    if op == "hello":
        return {"protocol": 1, "engine": {"id": "cancels"}, "capabilities": ["full_logits", "cancel"]}
    if op == "open":
        return {"config": SHAPE, "numerics": NUMERICS}
    if op == "extend":
        if request["tokens"] == [1]:
            select.select([sys.stdin], [], [], 3600)
            cancel = json.loads(sys.stdin.readline())
            assert cancel == {"id": request["id"], "op": "cancel", "target": request["id"]}, cancel
            return {"error": {"kind": "cancelled", "message": "as told"}}
        length += len(request["tokens"])
        return {"len": length, "logits": "AACAPwAAgD8="}
    return {"session": 1}


for line in iter(sys.stdin.readline, ""):
    request = json.loads(line)
    if request["op"] == "shutdown":
        break
    print(json.dumps({"id": request["id"], **answer(request)}), flush=True)
