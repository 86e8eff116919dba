"""A toy engine that tells the three likeliest tokens only."""

import math
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[3] / "scripts" / "engines"))
from harness_engine import Engine, serve  # noqa: E402

VOCAB = 16


class Top(Engine):
    id, version = "top", "1"
    capabilities = ["concurrent_sessions", "embeddings"]

    def open(self, path, options):
        config = dict.fromkeys(("layers", "heads", "kv_heads", "head_dim", "parameters"), 1)
        config |= {"architecture": "toy", "hidden": 2, "feed_forward": 1, "vocab": VOCAB, "context": 64}
        return config, dict.fromkeys(("weights", "activations", "kv"), "f32")

    def new_context(self):
        return []

    def extend(self, context, tokens, rows, tap):
        context.extend(tokens)
        all_logits = [[(t * 5 + i * 3) % VOCAB / 4 for i in range(VOCAB)] for t in tokens]
        return [self.top(row) for row in all_logits[len(tokens) - rows:]]

    def top(self, row):
        best = sorted(range(VOCAB), key=lambda i: -row[i])[:3]
        total = math.log(sum(map(math.exp, row)))
        return {"tokens": best, "logits": [row[i] for i in best], "logsumexp": total}

    def truncate(self, context, length):
        del context[length:]

    def embed(self, texts, pooling):
        return 2, [float(x) for text in texts for x in (sum(text) + 1, len(text))]


serve(Top())
