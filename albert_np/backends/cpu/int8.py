"""One forward with products of 8-bit integers: forward.py's layer, where the weights are QuantizedWeight.

The rows that such a product reads are rounded by a step of their own, each row with its own scale and zero point
(kernels/cpu/int8/rows.py). Everything else is float32: attention, LayerNorm, residuals, the embeddings and their projection.
"""

from __future__ import annotations

from albert_np.backends.cpu.forward import Forward
from albert_np.kernels.cpu.int8.steps import add_gemm8, add_quantise, quantised_rows
from albert_np.ops import Array
from albert_np.quantized import QuantizedWeight
from albert_np.run import Weights


class Forward8(Forward):
    """forward.Forward on programs of int8."""

    kind = "int8"

    def linear(
        self, x: Array, layers: tuple[Weights, ...], out: Array, *, activation: int = 0, residual: Array | None = None
    ) -> None:  # (R,in) -> (R,out)
        if not isinstance(layers[0].weight, QuantizedWeight):
            super().linear(x, layers, out, activation=activation, residual=residual)
            return
        packed, bias = self.ops.packed8(tuple(one.weight for one in layers), tuple(one.bias for one in layers))
        assert bias is not None
        codes = quantised_rows(self.buffers, f"int8 of {packed.K}", self.R, packed.K, packed.passes)
        add_quantise(self.program, x, self.R, packed.K, codes)
        add_gemm8(
            self.program,
            self.buffers,
            codes,
            packed,
            self.R,
            bias=bias,
            out=out,
            activation=activation,
            residual=residual,
        )
