"""How an error of one op in one application grows to the end: what small errors cost, before anything is built.

The shared layer is applied L times, so a slightly wrong op is wrong L times, and what it does early goes through the layer
again and again. To first order an error d at one place moves an output by J·d. If the elements of d are independent with
standard deviations δ, the output's mean square is ‖J·diag(δ)‖²/n, in the Frobenius norm. With u random (E uuᵀ = 1) that is
E ‖δ ⊙ Jᵀu‖²/n (Hutchinson 1990), and Jᵀu comes for every place of the graph from one way back. The same sum forwards
would need a way of its own for every place.

Two sums over the applications of an op: *independent* errors, whose squares add; and *repeated* ones, where the same pattern
of errors comes in each application, so that Jᵀu is summed before it is squared.

What this cannot say: J is the derivative at the exact values. Errors that are not small change it, and errors that saturate
(no error is larger than the values themselves) grow no further. `predict` sees that its own answer is too large to
trust, and runs the noise itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from albert_np.calling import AlbertPreTrainedModel
from albert_np.config import AlbertConfig
from albert_np.files import shown
from albert_np.golden.amplifier.injection import LAYER, check_unit, deviation, noisy, sites
from albert_np.golden.amplifier.tangents import pull
from albert_np.golden.arithmetic import Exact
from albert_np.golden.graph import Step, graph, outputs, run
from albert_np.golden.recorder import in_float64
from albert_np.golden.recording import batch_of
from albert_np.ops import Array

SMALL = 0.2  # the largest error, as a share of the values that it is in, for which the derivative is trusted
ELEMENTS = 1 << 24  # of probes that one way back carries at once
DOUBLINGS = 30  # of an error that does no harm, until it is called harmless
CLOSE = 0.02  # of the measured number of units: the logarithm of what is wanted and what is found
HIDDEN = "last_hidden_state"


@dataclass(frozen=True)
class Gain:
    """One place where an error can enter: what one unit of error there makes of the outputs."""

    key: str  # the step, or step:function
    part: str  # the same without the application
    op: str
    function: str  # "tanh", "exp" or "rsqrt", computed inside of the op; "" for its result
    application: int | None
    share: float  # one unit, as a share of the values that are off, both in the root mean square
    rms: dict[str, float]  # output -> root mean square of its error
    spread: dict[str, float]  # how much the mean square of one run differs from that: its relative variance, 2 at most


@dataclass(frozen=True)
class Prediction:
    """The error of one output, predicted or measured."""

    output: str
    rms: float  # root mean square of the error
    relative: float  # the same, as a share of the output's standard deviation
    pcc: float
    cosine: float
    snr: float  # dB
    measured: bool  # by running the noise, and not from the derivatives
    why: str = ""  # why the derivatives were not trusted


class Amplification:
    """What `amplification` found. gains: a Gain for each place, in the order of the graph. unit: of the errors."""

    def __init__(
        self,
        config: AlbertConfig,
        steps: list[Step],
        architecture: str,
        batch: Mapping[str, Array],
        weights: Mapping[str, Array],
        *,
        unit: str,
        probes: int,
        seed: int,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self.config, self.weights = config, weights
        self._progress = progress
        self.unit, self.seed, self.probes = unit, seed, probes
        self.values = {**batch, **run(steps, batch, weights, Exact())}
        self.way = [one for one in steps if not one.beside]
        self._from = outputs(steps, architecture)
        self.outputs = tuple(dict.fromkeys([*self._from, HIDDEN]))  # the first one is meant if none is named
        self._from.setdefault(HIDDEN, [one.name for one in steps if one.name.endswith(".full_layer_layer_norm")][-1])
        for name in self.outputs:
            if not np.all(np.isfinite(self.of(self.values, name))):
                raise ValueError(
                    f"amplification differentiates at finite values; {name} of this model has NaN or infinity"
                )
        # output -> its standard deviation and its root mean square
        self._scales = {
            name: (float(np.std(x)), _rms(x)) for name in self.outputs for x in [self.of(self.values, name)]
        }
        self.gains, self._repeated = self._measure_gains()

    def of(self, values: Mapping[str, Array], output: str) -> Array:
        """An output, out of the values of the steps."""
        x, i = values[self._from[output]], self._column(output)
        return x if i is None else x[..., i]

    def _column(self, output: str) -> int | None:
        """The two outputs of question answering are columns of one step."""
        return {"start_logits": 0, "end_logits": 1}.get(output)

    # --- the way back -------------------------------------------------------------------------------------------------

    def _measure_gains(self) -> tuple[list[Gain], dict[str, dict[str, float]]]:
        squares: dict[str, dict[str, list[float]]] = {}
        repeated: dict[str, dict[str, list[float]]] = {}
        counts = {name: min(self.of(self.values, name).size, self.probes) for name in self.outputs}
        done = 0
        for number, output in enumerate(self.outputs):
            rng = np.random.default_rng([self.seed, number])
            for probes in self._probes(output, rng):
                self._way_back(output, probes, squares, repeated)
                done += len(probes)
                if self._progress is not None:
                    self._progress(done, sum(counts.values()))
        gains = []
        for one in self.way:
            for site in sites(one, self.values, self.weights):
                off = deviation(site.value, self.unit)
                of = squares[site.key]
                rms = {name: math.sqrt(sum(of[name])) for name in of}
                share = _rms(off) / (_rms(site.value) or math.inf)
                spread = {name: self._spread(name, np.array(of[name])) for name in of}
                gains.append(Gain(site.key, site.part, one.op, site.function, one.application, share, rms, spread))
        return gains, {part: {name: math.sqrt(sum(of[name])) for name in of} for part, of in repeated.items()}

    def _spread(self, output: str, squares: Array) -> float:
        """The matrices J·diag(δ²)·Jᵀ and diag(δ)·JᵀJ·diag(δ) have the same eigenvalues, and so probes of the output differ
        among each other as runs with noise do. Of few elements each is a probe, which says nothing of that."""
        if self.of(self.values, output).size <= self.probes or len(squares) < 2:
            return 2.0
        return min(2.0, float(np.var(squares, ddof=1) / (np.mean(squares) ** 2 or 1.0)))

    def _probes(self, output: str, rng: np.random.Generator) -> Iterable[Array]:
        """Cotangents of an output's step, (P,...), in pieces: random signs; every element by itself if there are few."""
        size, shape = self.of(self.values, output).size, self.of(self.values, output).shape
        layer = sum(self.values[one.name].size for one in self.way if one.application == 0)
        step = max(1, ELEMENTS // max(size, layer, 1))
        few = size <= self.probes
        count = size if few else self.probes
        for start in range(0, count, step):
            n = min(step, count - start)
            if few:
                u = np.eye(count)[start : start + n].reshape(n, *shape)
            else:
                u = rng.choice([-1.0, 1.0], (n, *shape)) / math.sqrt(count)
            u = u / math.sqrt(size)
            i = self._column(output)
            if i is not None:
                whole = np.zeros((n, *self.values[self._from[output]].shape))
                whole[..., i] = u
                u = whole
            yield u

    def _way_back(
        self,
        output: str,
        u: Array,
        squares: dict[str, dict[str, list[float]]],
        repeated: dict[str, dict[str, list[float]]],
    ) -> None:
        """Notes the squares, by key and by part, that each of these probes gives."""
        cotangents = {self._from[output]: u}
        together: dict[str, Array] = {}
        for one in reversed(self.way):
            c = cotangents.pop(one.name, None)
            for site in sites(one, self.values, self.weights):
                of = squares.setdefault(site.key, {}).setdefault(output, [])
                repeated.setdefault(site.part, {}).setdefault(output, [])
                if c is None:
                    continue
                scaled = deviation(site.value, self.unit) * site.collect(c)
                of += [_square(x) for x in scaled]
                together[site.part] = together[site.part] + scaled if site.part in together else scaled
            if c is not None:
                for name, x in pull(one, self.values, c, self.weights).items():
                    cotangents[name] = cotangents[name] + x if name in cotangents else x
        for part, total in together.items():
            repeated[part][output] += [_square(x) for x in total]

    # --- what it says -------------------------------------------------------------------------------------------------

    def matching(self, name: str) -> list[Gain]:
        """The places that a name means.

        "all"; an op ("layer_norm", "linear", …); a function inside of ops ("tanh", "exp", "rsqrt"); a part, in every
        application ("encoder.layer.*.attention.query", "encoder.layer.*.activation:tanh"); or a step. "all" and ops mean
        the results alone, and not the functions inside; "tanh" is the function, wherever it is computed. Raises ValueError
        for what is none of them.
        """
        found = [
            gain
            for gain in self.gains
            if name in (gain.key, gain.part, gain.function)
            or (not gain.function and (name == "all" or (name == gain.op and name != "tanh")))
        ]
        if not found:
            known = ", ".join(dict.fromkeys(["all", *(gain.function or gain.op for gain in self.gains)]))
            raise ValueError(
                f"an error is of one of {known}, of a part such as {LAYER}ffn, or of a step; got {shown(name, 80)!r}"
            )
        return found

    def predict(
        self,
        errors: Mapping[str, float],
        *,
        output: str | None = None,
        repeated: bool = False,
        measure: bool = True,
    ) -> Prediction:
        """The error of an output if ops are off.

        errors: name -> standard deviation of the error, in the unit of this amplification (ULPs); what a name means is in
        `matching`. repeated: an op is off in the same way in each application, and not independently. measure: if the
        errors are too large for the derivatives, run the noise (`measure`); else the answer of the derivatives is given,
        and says why it is not to be trusted.
        """
        output = self._known(output)
        sizes = self.sizes(errors)
        rms = {name: math.sqrt(self._variance(sizes, name, repeated)) for name in {output, HIDDEN}}
        why = self._too_large(sizes, rms)
        if why and measure:
            return self.measure(errors, output=output, repeated=repeated, why=why)
        return self._prediction(output, rms[output], why)

    def measure(
        self,
        errors: Mapping[str, float],
        *,
        output: str | None = None,
        repeated: bool = False,
        draws: int = 4,
        why: str = "",
    ) -> Prediction:
        """The same, by running the graph with noise: means over some draws."""
        output = self._known(output)
        sizes, exact = self.sizes(errors), self.of(self.values, output)
        found = [self.of(self.draw(sizes, i, repeated=repeated), output) for i in range(draws)]
        rms = math.sqrt(sum(_square(x - exact) for x in found) / (draws * exact.size))
        plain = self._prediction(output, rms, why)
        pcc = float(np.mean([_similarity(x - x.mean(), exact - exact.mean()) for x in found]))
        cosine = float(np.mean([_similarity(x, exact) for x in found]))
        return Prediction(output, rms, plain.relative, pcc, cosine, plain.snr, True, why)

    def draw(self, sizes: Mapping[str, float], number: int = 0, *, repeated: bool = False) -> dict[str, Array]:
        """The values of all steps in one run with noise. sizes: keys of gains -> standard deviation."""
        arguments = (self.way, self.values, self.weights, sizes)
        return noisy(*arguments, unit=self.unit, seed=(self.seed, number), repeated=repeated)

    def inverse(
        self, name: str, pcc: float = 0.99, *, output: str | None = None, repeated: bool = False
    ) -> tuple[float, str]:
        """How many units the op may be off for that final PCC by the derivatives alone, and why they are not to be trusted.

        The reason is "" where they are. Infinity units: the output does not change.
        """
        output = self._known(output)
        if not 0 < pcc < 1:
            raise ValueError(f"pcc must lie between 0 and 1; got {pcc}")
        one, spread = math.sqrt(self._variance(self.sizes({name: 1.0}), output, repeated)), self._scales[output][0]
        if not one or not spread:
            return math.inf, ""
        most = spread * _noise_of(pcc) / one
        return most, self.predict({name: most}, output=output, repeated=repeated, measure=False).why

    def allowed(self, name: str, pcc: float = 0.99, *, output: str | None = None, repeated: bool = False) -> float:
        """How many units the op may be off for that final PCC; infinity where it does not matter.

        Where the derivatives are not to be trusted, the noise is run with more and less of it, and the answer is good to 2 %.
        """
        start, why = self.inverse(name, pcc, output=output, repeated=repeated)
        if not why:
            return start
        # Both axes are logarithms. The line is straight, with a slope of 1, as far as the derivatives hold.
        x, stride = math.log(start), 0.0
        inside: tuple[float, float] | None = None
        outside: tuple[float, float] | None = None
        while x - math.log(start) < DOUBLINGS * math.log(2):
            found = self.measure({name: math.exp(x)}, output=output, repeated=repeated).pcc
            y = math.log(_noise_of(found) / _noise_of(pcc))
            if abs(y) <= CLOSE:
                return math.exp(x)
            inside, outside = ((x, y), outside) if y < 0 else (inside, (x, y))
            if inside is None or outside is None:
                stride = max(1.1 * abs(y), 2 * stride)
                x += stride if y < 0 else -stride
                continue
            if outside[0] - inside[0] <= CLOSE:
                return math.exp(inside[0])
            along = -inside[1] / (outside[1] - inside[1])
            x = inside[0] + min(max(along, 0.1), 0.9) * (outside[0] - inside[0])
        return math.inf

    def _known(self, output: str | None) -> str:
        if output is None:
            return self.outputs[0]
        if output not in self.outputs:
            raise ValueError(f"output must be one of {', '.join(self.outputs)}; got {shown(output, 80)!r}")
        return output

    def sizes(self, errors: Mapping[str, float]) -> dict[str, float]:
        """Key of a place -> the standard deviation of the error there."""
        sizes: dict[str, float] = {}
        for name, size in errors.items():
            if not 0 <= size < math.inf:
                raise ValueError(f"an error is a finite number ≥ 0; got {name} {size}")
            for gain in self.matching(name):
                sizes[gain.key] = math.hypot(sizes.get(gain.key, 0.0), size)
        return sizes

    def _variance(self, sizes: Mapping[str, float], output: str, repeated: bool) -> float:
        parts: dict[str, list[tuple[float, float]]] = {}
        for gain in self.gains:
            parts.setdefault(gain.part, []).append((sizes.get(gain.key, 0.0), gain.rms[output]))
        total = 0.0
        for part, of in parts.items():
            same = len({size for size, _ in of}) == 1
            if repeated and same:
                total += (of[0][0] * self._repeated[part][output]) ** 2
            elif repeated and sum(size > 0 for size, _ in of) > 1:
                raise ValueError(f"repeated errors of {part} must be in one of its applications, or equal in all")
            else:
                total += sum((size * rms) ** 2 for size, rms in of)
        return total

    def _too_large(self, sizes: Mapping[str, float], rms: Mapping[str, float]) -> str:
        for gain in self.gains:
            if not sizes.get(gain.key, 0.0) * gain.share <= SMALL:
                return f"the error of {gain.key} itself is {sizes[gain.key] * gain.share:.0%} of the values"
        for name, error in rms.items():
            share = self._prediction(name, error).relative
            if error and not share <= SMALL:
                return f"the predicted error of {name} is {share:.0%} of its standard deviation"
        return ""

    def _prediction(self, output: str, rms: float, why: str = "") -> Prediction:
        """An error that has nothing to do with the values: PCC = σ/√(σ² + e²), and the cosine alike without the mean."""
        spread, size = self._scales[output]
        pcc, cosine = (0.0 if not s else s / math.hypot(s, rms) for s in (spread, size))
        snr = 20 * math.log10(size / rms) if size and rms else (math.inf if size else -math.inf)
        return Prediction(output, rms, rms / spread if spread else math.inf, pcc, cosine, snr, False, why)


def amplification(
    model: AlbertPreTrainedModel[Any],
    inputs: Mapping[str, Any],
    *,
    precision: str = "bfloat16",
    probes: int = 16,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Amplification:
    """How an error of each op in each application grows to the end, for one model and one batch of inputs.

    model: one of the seven classes, in any dtype; float64 is computed with. inputs: the arrays of a call, by name.
    precision: the unit of errors: the ULP of "float32", "tf32", "float16", "bfloat16" or "float64" at each element;
    "relative", to each element; "absolute". probes: the mean squares of gains are off by √(2/probes) at the most, where
    one direction has the whole error, and much less where many have. progress: called with probes that are done, and all.
    Memory: all steps of one forward, in float64.
    Raises ValueError for inputs that the model refuses, and where an output is not finite.
    """
    if not isinstance(model, AlbertPreTrainedModel):
        raise ValueError(f"amplification takes one of the model classes; got {type(model).__name__}")
    if not isinstance(inputs, Mapping):
        raise ValueError(f"inputs are arrays by name, such as input_ids; got {type(inputs).__name__}")
    if probes < 1:
        raise ValueError(f"probes must be 1 or more; got {probes}")
    unit, model, architecture = check_unit(precision), in_float64(model), type(model).__name__
    call = {name: np.asarray(x) for name, x in inputs.items() if name not in model.labels}
    embeds, head_mask = "inputs_embeds" in call, "head_mask" in call
    steps = graph(model.config, architecture, embeds=embeds, head_mask=head_mask, pooler="pooler" in model.parts)
    batch = batch_of(model.config, architecture, call)
    return Amplification(
        model.config, steps, architecture, batch, model._tensors, unit=unit, probes=probes, seed=seed, progress=progress
    )


def _noise_of(pcc: float) -> float:
    """The standard deviation of the noise that leaves this PCC, as a share of the values'."""
    pcc = min(max(pcc, 1e-9), 1 - 1e-15)
    return math.sqrt(1 / pcc**2 - 1)


def _rms(x: Array) -> float:
    return math.sqrt(np.mean(np.square(x)))


def _square(x: Array) -> float:
    return float(np.vdot(x, x))


def _similarity(a: Array, b: Array) -> float:
    """The cosine; 0 if one has no length."""
    lengths = math.sqrt(_square(a) * _square(b))
    return float(np.vdot(a, b)) / lengths if lengths else 0.0
