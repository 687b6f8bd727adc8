"""One forward with products of bfloat16: forward.py's layer, with a rounded twin beside what a residual needs in float32.

    qkv      = round(x'·[Wq Wk Wv] + b)        a prime is what the product reads: rounded by who wrote it, in no pass
    context  = round(attention(qkv))
    y        = context·Wo + b + x
    attended, attended' = LayerNorm(y)
    wide     = round(gelu(attended'·W1 + b))
    y        = wide·W2 + b + attended
    x, x'    = LayerNorm(y)

kernels/cpu/bfloat16/operand.py says what is rounded and how sums are ordered.
"""

from __future__ import annotations

from albert_np.backends.cpu.forward import Forward
from albert_np.backends.cpu.ops import activation_code
from albert_np.encoder import step
from albert_np.kernels.cpu.bfloat16.steps import (
    add_attention16,
    add_gemm16,
    add_round_rows,
    operand_rows,
    values_of,
)
from albert_np.ops import Array
from albert_np.run import Weights


class Forward16(Forward):
    """forward.Forward on programs of bfloat16."""

    kind = "bfloat16"

    def take_buffers(self) -> None:
        H = self.config.hidden_size
        self.x, self.y, self.attended = (self.buffers.rows(name, self.R, H) for name in ("x", "y", "attended"))
        widths = {"x": H, "context": H, "attended": H, "wide": self.config.intermediate_size}
        # one product gives all three, where a part may begin in the middle of a row: operands are stored in fours
        widths |= {"qkv": 3 * H} if H % 4 == 0 else {"query": H, "key": H, "value": H}
        self.rounded = {name: operand_rows(self.buffers, f"{name}16", self.R, width) for name, width in widths.items()}

    def embeddings(self, w: Weights) -> None:  # -> (R,H)
        """In float32, the projection too: it is a thousandth of the work, and would be a fifth of the error."""
        super().embeddings(w)
        add_round_rows(self.program, self.x, self.rounded["x"], self.R, self.config.hidden_size)

    def layer(self, w: Weights, application: int, probs: Array | None) -> None:  # (R,H) -> (R,H)
        config, H, a, rounded = self.config, self.config.hidden_size, w.attention, self.rounded
        at = step(application, "attention")
        if "qkv" in rounded:
            self.product(rounded["x"], (a.query, a.key, a.value), narrow=rounded["qkv"])
            qkv = rounded["qkv"], rounded["qkv"][:, H:], rounded["qkv"][:, 2 * H :]
        else:
            qkv = rounded["query"], rounded["key"], rounded["value"]
            for one, to in zip((a.query, a.key, a.value), qkv, strict=True):
                self.product(rounded["x"], (one,), narrow=to)
        for part, rows in zip(("query", "key", "value"), qkv, strict=True):
            self.tap_rounded(f"{at}.{part}", rows, H)
        self.attend(add_attention16, qkv, rounded["context"], application, probs, self.ops.distances16_of(a, config))
        if self.taps is not None:
            self.taps.trace[f"{at}.probs"] = self.taps.attentions[application]
        self.tap_rounded(f"{at}.context", rounded["context"], H)
        self.product(rounded["context"], (a.dense,), out=self.y, residual=self.x)
        self.tap(f"{at}.sum", self.y[:, :H])
        self.layer_norm(self.y, a.LayerNorm, self.attended, rounded["attended"])
        self.tap(f"{at}.LayerNorm", self.attended[:, :H])
        self.product(
            rounded["attended"], (w.ffn,), narrow=rounded["wide"], activation=activation_code(config.hidden_act)
        )
        self.tap_rounded(step(application, "activation"), rounded["wide"], config.intermediate_size)
        self.product(rounded["wide"], (w.ffn_output,), out=self.y, residual=self.attended)
        self.tap(step(application, "sum"), self.y[:, :H])
        self.layer_norm(self.y, w.full_layer_layer_norm, self.x, rounded["x"])
        self.tap(step(application, "full_layer_layer_norm"), self.x[:, :H])

    def product(
        self,
        x: Array,
        layers: tuple[Weights, ...],
        *,
        out: Array | None = None,
        narrow: Array | None = None,
        activation: int = 0,
        residual: Array | None = None,
    ) -> None:  # (R,in) operand -> (R,out), (R,out) operand
        packed, bias = self.ops.packed16(tuple(one.weight for one in layers), tuple(one.bias for one in layers))
        add_gemm16(
            self.program,
            self.buffers,
            x,
            packed,
            self.R,
            bias=bias,
            out=out,
            narrow=narrow,
            activation=activation,
            residual=residual,
        )

    def tap_rounded(self, name: str, rows: Array, columns: int) -> None:  # (R,C) operand
        """If a trace is wanted: keeps what a product reads, as it is stored: rounded."""
        if self.taps is not None:
            self.run_so_far()
            self.tap(name, values_of(rows, columns))
