"""A decoder as MIL operations.

Every layer's keys and values are states of shape [kv_heads, 1, context, head_dim]. A call appends
`tokens` at `position`: it reads a layer's state once, writes the new rows into it, and goes on with
the updated value that the write returns. (Reading the state a second time would be a trap:
coremltools takes two reads for one and drops what was written between them.)
"""

import coremltools as ct
import numpy as np
from coremltools.converters.mil import Builder as mb
from coremltools.converters.mil.mil import Function, Program, get_new_symbol, types
from coremltools.converters.mil.mil.types.symbolic import is_symbolic

from .source import Refused, Shape, Source, to_f16

# Masks a score without being infinite; exp of it underflows to 0 in every precision.
MASKED = np.float16(-30000.0)
# Widest head that the Neural Engine takes as one convolution.
HEAD_ROWS = 16384


class Decoder:
    """Builds functions of one model."""

    def __init__(self, source: Source, shape: Shape, compressor, layout, defect=None):
        self.source, self.shape, self.compressor = source, shape, compressor
        self.ane = layout == "ane"
        # Axis of the features: [1, tokens, hidden], or the Neural Engine's [1, hidden, 1, tokens].
        self.axis = 1 if self.ane else 2
        self.defect = defect

    def program(self, length, stateful=True):
        """A MIL program for prompts of `length` tokens (None: flexible). Without states it starts
        at position 0 and answers final hidden states instead of logits."""
        inputs = {"tokens": mb.placeholder((1, length or get_new_symbol()), dtype=types.int32)}
        if stateful:
            inputs["position"] = mb.placeholder((1,), dtype=types.int32)
            for name, shape in self.states().items():
                inputs[name] = mb.state_tensor_placeholder(shape, dtype=types.fp16)
        program = Program()
        with Function(inputs, opset_version=ct.target.iOS18) as function:
            function.set_outputs([self.run(function.inputs)])
        program.add_function("main", function)
        if stateful:
            self.source.refuse_unasked()
        return program

    def states(self):
        c = self.shape
        if self.defect == "reread-state":
            return {"kv_cache": (2 * c.layers_count * c.kv_heads, 1, c.context, c.head_dim)}
        shape = (c.kv_heads, 1, c.context, c.head_dim)
        return {f"{kind}_cache_{i}": shape for i in range(c.layers_count) for kind in ("k", "v")}

    def run(self, inputs):
        c, s = self.shape, self.source
        tokens = inputs["tokens"]
        self.inputs = inputs
        self.stateful = "position" in inputs
        # Known lengths must stay constants: without them nothing has a fixed shape.
        count = tokens.shape[1]
        self.count = (mb.slice_by_index(x=mb.shape(x=tokens), begin=[1], end=[2])
                      if is_symbolic(count) else mb.const(val=np.array([count], np.int32)))
        self.begin = inputs["position"] if self.stateful else mb.const(val=np.array([0], np.int32))
        self.end = mb.add(x=self.begin, y=self.count)
        self.tables, self.masks = {}, {}

        table = self.compressor.matrix("token_embd.weight",
                                       s.tensor("token_embd.weight", (c.vocab, c.hidden)))
        x = mb.gather(x=table, indices=tokens, axis=0, validate_indices=False, name="embedding")
        if c.embedding_scale != 1.0:
            x = mb.mul(x=x, y=np.float16(c.embedding_scale))
        if c.learned_positions:
            values = s.tensor("position_embd.weight", (None, c.hidden))
            if len(values) < c.context:
                raise Refused(f"`position_embd.weight` has {len(values)} rows for a context of "
                              f"{c.context}")
            learned = self.compressor.matrix("position_embd.weight", values)
            at = self.slice_here(np.arange(c.context, dtype=np.int32))
            x = mb.add(x=x, y=mb.gather(x=learned, indices=at, axis=0, validate_indices=False))
        if self.ane:
            x = mb.expand_dims(x=mb.transpose(x=x, perm=[0, 2, 1]), axes=[2])
        for index in range(c.layers_count):
            x = self.block(index, x)
        x = self.norm("output_norm", x, c.hidden)
        if not self.stateful:
            return mb.identity(x=self.rows(x), name="hidden_states")
        return self.head(x)

    def rows(self, x):
        """Features last, whatever the layout."""
        return mb.transpose(x=mb.squeeze(x=x, axes=[2]), perm=[0, 2, 1]) if self.ane else x

    def head(self, x):
        c, s = self.shape, self.source
        name = "output.weight" if s.has("output.weight") else "token_embd.weight"
        values = s.tensor(name, (c.vocab, c.hidden))
        bias = s.tensor("output.bias", (c.vocab,)) if s.has("output.bias") else None
        logits = self.rows(self.product(name, x, values, bias, "head"))
        if c.logit_cap:
            logits = self.cap(logits, c.logit_cap)
        return mb.identity(x=logits, name="logits")

    def cap(self, x, cap):
        return mb.mul(x=mb.tanh(x=mb.mul(x=x, y=np.float16(1 / cap))), y=np.float16(cap))

    # Products and norms

    def product(self, name, x, weight, bias, label):
        bias = None if bias is None else to_f16(name, bias)
        if not self.ane:
            weight = self.compressor.matrix(name, weight)
            return mb.linear(x=x, weight=weight, bias=bias, name=label) if bias is not None else \
                mb.linear(x=x, weight=weight, name=label)
        parts = []
        for start in range(0, len(weight), HEAD_ROWS):
            rows = slice(start, start + HEAD_ROWS)
            piece = name if len(weight) <= HEAD_ROWS else f"{name}.{start}"
            matrix = self.compressor.matrix(piece, weight[rows], convolution=True)
            extra = {} if bias is None else {"bias": bias[rows]}
            parts.append(mb.conv(x=x, weight=matrix, pad_type="valid", **extra))
        return parts[0] if len(parts) == 1 else mb.concat(values=parts, axis=1, name=label)

    def linear(self, name, x, outputs, inputs):
        s = self.source
        weight = s.tensor(f"{name}.weight", (outputs, inputs))
        bias = s.tensor(f"{name}.bias", (outputs,)) if s.has(f"{name}.bias") else None
        return self.product(f"{name}.weight", x, weight, bias, name.replace(".", "_"))

    def fused(self, name, x, outputs, inputs):
        """Several products whose matrices the file has one above the other."""
        s, total, results, start = self.source, sum(outputs), [], 0
        weight = s.tensor(f"{name}.weight", (total, inputs))
        bias = s.tensor(f"{name}.bias", (total,)) if s.has(f"{name}.bias") else None
        for part, rows in enumerate(outputs):
            these = slice(start, start + rows)
            label = f"{name.replace('.', '_')}_{part}"
            results.append(self.product(f"{name}.weight.{part}", x, weight[these],
                                        None if bias is None else bias[these], label))
            start += rows
        return results

    def norm(self, name, x, width, axis=None):
        axis = self.axis if axis is None else axis
        s = self.source
        gamma = s.tensor(f"{name}.weight", (width,))
        label, epsilon = name.replace(".", "_"), np.float16(self.shape.epsilon)
        if self.shape.layer_norm:
            beta = s.tensor(f"{name}.bias", (width,)) if s.has(f"{name}.bias") else 0 * gamma
            return mb.layer_norm(x=x, axes=[axis], gamma=to_f16(name, gamma),
                                 beta=to_f16(name, beta), epsilon=epsilon, name=label)
        # Of [x, -x] the mean is 0 and the variance is the mean of squares, which as an operation
        # of its own would overflow FP16 from |x| = 256 on.
        both = mb.concat(values=[x, mb.mul(x=x, y=np.float16(-1))], axis=axis)
        gamma = to_f16(name, np.concatenate([gamma, gamma]))
        normed = mb.layer_norm(x=both, axes=[axis], gamma=gamma, epsilon=epsilon)
        rank = len(x.shape)
        mask = [True] * rank
        ends = [0] * rank
        mask[axis], ends[axis] = False, width
        return mb.slice_by_index(x=normed, begin=[0] * rank, end=ends, begin_mask=[True] * rank,
                                 end_mask=mask, name=label)

    # Attention

    def block(self, index, x):
        c, s = self.shape, self.source
        name = f"blk.{index}"
        normed = self.norm(f"{name}.attn_norm", x, c.hidden)
        attended = self.attention(index, normed)
        if c.post_norms:
            attended = self.norm(f"{name}.post_attention_norm", attended, c.hidden)
        if c.parallel:
            return mb.add(x=mb.add(x=x, y=attended), y=self.feed_forward(name, normed))
        x = mb.add(x=x, y=attended)
        inner = self.feed_forward(name, self.norm(f"{name}.ffn_norm", x, c.hidden))
        if c.post_norms:
            inner = self.norm(f"{name}.post_ffw_norm", inner, c.hidden)
        return mb.add(x=x, y=inner)

    def feed_forward(self, name, x):
        c = self.shape
        act = {"silu": lambda v: mb.silu(x=v),
               "gelu": lambda v: mb.gelu(x=v, mode="TANH_APPROXIMATION")}[c.activation]
        up = self.linear(f"{name}.ffn_up", x, c.feed_forward, c.hidden)
        if c.gated:
            gate = self.linear(f"{name}.ffn_gate", x, c.feed_forward, c.hidden)
            up = mb.mul(x=act(gate), y=up)
        else:
            up = act(up)
        return self.linear(f"{name}.ffn_down", up, c.hidden, c.feed_forward)

    def split_heads(self, x, groups):
        """[kv_heads, groups, tokens, head_dim]."""
        c = self.shape
        if self.ane:
            x = mb.reshape(x=x, shape=[c.kv_heads, groups, c.head_dim, -1])
            return mb.transpose(x=x, perm=[0, 1, 3, 2])
        x = mb.reshape(x=x, shape=[-1, c.kv_heads, groups, c.head_dim])
        return mb.transpose(x=x, perm=[1, 2, 0, 3])

    def attention(self, index, x):
        c, name = self.shape, f"blk.{index}"
        layer, groups = c.layers[index], c.heads // c.kv_heads
        q_dim, kv_dim = c.heads * c.head_dim, c.kv_heads * c.head_dim
        if self.source.has(f"{name}.attn_qkv.weight"):
            q, k, v = self.fused(f"{name}.attn_qkv", x, [q_dim, kv_dim, kv_dim], c.hidden)
        else:
            q = self.linear(f"{name}.attn_q", x, q_dim, c.hidden)
            k = self.linear(f"{name}.attn_k", x, kv_dim, c.hidden)
            v = self.linear(f"{name}.attn_v", x, kv_dim, c.hidden)
        q, k, v = self.split_heads(q, groups), self.split_heads(k, 1), self.split_heads(v, 1)
        if c.qk_norm:
            q = self.norm(f"{name}.attn_q_norm", q, c.head_dim, axis=3)
            k = self.norm(f"{name}.attn_k_norm", k, c.head_dim, axis=3)
        if layer.rope is not None:
            q, k = self.rotate(layer.rope, q), self.rotate(layer.rope, k)
        q = mb.mul(x=q, y=np.float16(c.attention_scale))
        keys, values = self.remember(index, "k", k), self.remember(index, "v", v)
        scores = mb.matmul(x=q, y=keys, transpose_y=True)
        if c.attention_cap:
            scores = self.cap(scores, c.attention_cap)
        weights = mb.softmax(x=mb.add(x=scores, y=self.mask(layer.window)), axis=-1)
        mixed = mb.matmul(x=weights, y=values)
        if self.ane:
            mixed = mb.transpose(x=mixed, perm=[0, 1, 3, 2])
            mixed = mb.reshape(x=mixed, shape=[1, q_dim, 1, -1])
        else:
            mixed = mb.reshape(x=mb.transpose(x=mixed, perm=[2, 0, 1, 3]), shape=[1, -1, q_dim])
        return self.linear(f"{name}.attn_output", mixed, c.hidden, q_dim)

    def remember(self, index, kind, rows):
        """Appends rows to a layer's cache and returns all of it."""
        c = self.shape
        if not self.stateful:
            return rows
        first = mb.const(val=np.array([0, 0], np.int32))
        zero, last = mb.const(val=np.array([0], np.int32)), np.array([c.head_dim], np.int32)
        top = 0
        if self.defect == "reread-state":
            state, top = self.inputs["kv_cache"], (2 * index + (kind == "v")) * c.kv_heads
            first = mb.const(val=np.array([top, 0], np.int32))
        else:
            state = self.inputs[f"{kind}_cache_{index}"]
        bottom = np.array([top + c.kv_heads, 1], np.int32)
        begin = mb.concat(values=[first, self.begin, zero], axis=0)
        end = mb.concat(values=[bottom, self.end, last], axis=0)
        updated = mb.slice_update(x=mb.read_state(input=state), update=rows, begin=begin, end=end)
        whole = mb.coreml_update_state(state=state, value=updated)
        if self.defect == "reread-state":
            whole = mb.slice_by_index(x=mb.read_state(input=state), begin=[top, 0, 0, 0],
                                      end=[top + c.kv_heads, 1, c.context, c.head_dim])
        return whole

    def rotate(self, rope, x):
        if id(rope) not in self.tables:
            self.tables[id(rope)] = (self.slice_here(rope.cos), self.slice_here(rope.sin))
        cos, sin = self.tables[id(rope)]
        # One entry a column: the product only moves numbers and turns signs.
        turned = mb.matmul(x=x, y=rope.turn)
        return mb.add(x=mb.mul(x=x, y=cos), y=mb.mul(x=turned, y=sin))

    def slice_here(self, table):
        """The rows of a constant that belong to the tokens at hand."""
        rest = table.shape[1:]
        if not rest:
            return mb.slice_by_size(x=table, begin=self.begin, size=self.count)
        begin = mb.concat(values=[self.begin, np.zeros(len(rest), np.int32)], axis=0)
        size = mb.concat(values=[self.count, np.array(rest, np.int32)], axis=0)
        return mb.slice_by_size(x=table, begin=begin, size=size)

    def mask(self, window):
        """0 where a token may look and MASKED elsewhere, [tokens, context]."""
        if window not in self.masks:
            places = np.arange(self.shape.context, dtype=np.int32)
            here = mb.expand_dims(x=self.slice_here(places), axes=[1])
            there = mb.const(val=places[None]) if self.stateful else mb.transpose(x=here, perm=[1, 0])
            seen = mb.less_equal(x=there, y=here)
            if window is not None and window < self.shape.context:
                near = mb.greater(x=there, y=mb.sub(x=here, y=np.int32(window)))
                seen = mb.logical_and(x=seen, y=near)
            # Not `select`: of two scalars coremltools takes the result for a scalar too.
            hidden = mb.sub(x=np.float16(1), y=mb.cast(x=seen, dtype="fp16"))
            self.masks[window] = mb.mul(x=hidden, y=MASKED)
        return self.masks[window]
