"""AdamW, LAMB, gradient clipping and learning-rate schedules, on dicts of arrays, in place.

An optimizer is a frozen set of numbers. What it remembers between updates is a plain dict of arrays, which a checkpoint
stores as it is:

    state = optimizer.start(parameters)
    for step in range(steps):
        loss, gradients = model.value_and_grad(**batch)
        norm = clip_gradients(gradients, 1.0)
        optimizer.update(model.parameters_to_change(), gradients, state, schedule(step))

Everything is elementwise except the norms, and those are summed in one fixed order. So an update gives the same bits with any
number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from albert_np.files import listed
from albert_np.ops import Array

# Biases, and the gains and biases of every LayerNorm: google-research/albert's list for both of its optimizers. A name is
# excluded that holds one of these words anywhere. The third is not the second in other letters: it is
# full_layer_layer_norm, the layer's last LayerNorm, which a list of "bias" and "LayerNorm.weight" forgets.
EXCLUDED = ("bias", "LayerNorm", "layer_norm")

FIRST, SECOND, STEP = "exp_avg.", "exp_avg_sq.", "step"  # names in the state: torch's, before the parameter's own

# Updates go through an array in pieces, 128 KB each in float32, which stay in a core's cache with their temporaries: one
# pass over memory instead of ten. What is elementwise has the same bits for any size.
PIECE = 32768


def excluded(name: str, words: tuple[str, ...] = EXCLUDED) -> bool:
    return any(word in name for word in words)


@dataclass(frozen=True)
class AdamW:
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019, algorithm 2), in torch.optim.AdamW's order of operations.

    bias_correction=False with epsilon=1e-6 gives google-research/albert's AdamWeightDecayOptimizer, with which ALBERT was
    fine-tuned: p −= lr·(m/(√v + ε) + wd·p), the same up to rounding.
    """

    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    weight_decay: float = 0.01
    no_decay: tuple[str, ...] = EXCLUDED
    bias_correction: bool = True

    def __post_init__(self) -> None:
        _check_numbers(self.betas, self.epsilon, self.weight_decay)

    def start(self, parameters: Mapping[str, Array]) -> dict[str, Array]:
        """The state before the first update: two arrays of zeros a parameter, and the number of updates made."""
        return _start(parameters)

    def update(
        self,
        parameters: Mapping[str, Array],
        gradients: Mapping[str, Array],
        state: dict[str, Array],
        learning_rate: float,
    ) -> None:
        """Changes parameters and state in place. A parameter without a gradient stays as it is, as torch's do.

        Raises ValueError, before anything is changed, where names, shapes or dtypes do not fit one another.
        """
        t = _next_step(parameters, gradients, state)
        beta1, beta2 = map(float, self.betas)
        correction1 = 1 - beta1**t if self.bias_correction else 1.0
        root2 = math.sqrt(1 - beta2**t) if self.bias_correction else 1.0
        rate = float(learning_rate)
        step_size = rate / correction1
        for name, gradient in gradients.items():
            shrink = 1.0 if excluded(name, self.no_decay) else 1 - rate * self.weight_decay
            for p, g, m, v in _pieces(parameters[name], gradient, state[FIRST + name], state[SECOND + name]):
                p *= shrink
                m += (1 - beta1) * (g - m)
                v *= beta2
                v += (1 - beta2) * g * g
                p -= step_size * m / (np.sqrt(v) / root2 + self.epsilon)
        state[STEP][...] = t


@dataclass(frozen=True)
class LAMB:
    """Layer-wise adaptive moments (You et al. 2020, algorithm 2), as google-research/albert's lamb_optimizer.py trains ALBERT.

    Each array moves by learning_rate times its own norm: p −= lr · (‖p‖/‖u‖) · u, with u = m/(√v + ε) + wd·p. The word for
    ‖p‖/‖u‖ is trust ratio. In ALBERT a "layer" is an array that all layers share, so it has one ratio for all of them.

    Where the code that trained the published models differs from the paper, this follows the code:
    - no bias correction (bias_correction=True is the paper's). The first u is then (1 − β₁)/√(1 − β₂) = 3.2 times
      sign(g). Dividing by ‖u‖ cancels that, but only where there is a trust ratio: LayerNorms and biases feel it;
    - names without decay have no trust ratio either (the paper adapts every layer), also where weight_decay is 0.
      Without this a bias, which starts at zero, would have nothing to be scaled by;
    - the ratio is 1 where either norm is 0, and is never clamped (the paper's φ(z) = z).
    """

    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-6
    weight_decay: float = 0.01
    no_decay: tuple[str, ...] = EXCLUDED
    no_adaptation: tuple[str, ...] | None = None  # None: as no_decay
    bias_correction: bool = False

    def __post_init__(self) -> None:
        _check_numbers(self.betas, self.epsilon, self.weight_decay)

    def start(self, parameters: Mapping[str, Array]) -> dict[str, Array]:
        """The state before the first update: two arrays of zeros a parameter, and the number of updates made."""
        return _start(parameters)

    def update(
        self,
        parameters: Mapping[str, Array],
        gradients: Mapping[str, Array],
        state: dict[str, Array],
        learning_rate: float,
    ) -> None:
        """Changes parameters and state in place. A parameter without a gradient stays as it is.

        Raises ValueError, before anything is changed, where names, shapes or dtypes do not fit one another.
        """
        t = _next_step(parameters, gradients, state)
        beta1, beta2 = map(float, self.betas)
        correction1 = 1 - beta1**t if self.bias_correction else 1.0
        root2 = math.sqrt(1 - beta2**t) if self.bias_correction else 1.0
        unadapted = self.no_decay if self.no_adaptation is None else self.no_adaptation
        for name, gradient in gradients.items():
            parameter, decay = parameters[name], 0.0 if excluded(name, self.no_decay) else self.weight_decay
            whole = np.empty_like(parameter)  # the ratio wants ‖u‖ before the first p moves
            moments = state[FIRST + name], state[SECOND + name]
            for p, g, m, v, u in _pieces(parameter, gradient, *moments, whole):
                m *= beta1
                m += (1 - beta1) * g
                v *= beta2
                v += (1 - beta2) * (g * g)
                u[...] = m / correction1 / (np.sqrt(v) / root2 + self.epsilon)
                if decay:
                    u += decay * p
            ratio = 1.0 if excluded(name, unadapted) else trust_ratio(parameter, whole)
            for p, u in _pieces(parameter, whole):
                p -= ratio * float(learning_rate) * u
        state[STEP][...] = t


def trust_ratio(parameter: Array, update: Array) -> float:
    """‖p‖/‖u‖, or 1 where either is 0 (google-research/albert, lamb_optimizer.py)."""
    p, u = norm(parameter), norm(update)
    return p / u if p > 0 and u > 0 else 1.0


# --- gradients -----------------------------------------------------------------------------------------------------------


def norm(x: Array) -> float:
    """The Euclidean norm. Squares are added in float64, and in one fixed order, which BLAS does not promise."""
    squares = [float(np.sum(np.square(piece, dtype=np.float64))) for (piece,) in _pieces(np.ascontiguousarray(x))]
    return math.sqrt(sum(squares))


def global_norm(gradients: Mapping[str, Array]) -> float:
    """The norm of all gradients, taken as one long vector."""
    return math.sqrt(sum(norm(gradient) ** 2 for gradient in gradients.values()))


def clip_gradients(gradients: Mapping[str, Array], max_norm: float) -> float:
    """Scales all gradients, in place, so that their global norm is at most max_norm. Returns the norm that they had.

    The factor is min(1, max_norm/(norm + 1e-6)), as in torch.nn.utils.clip_grad_norm_. There and here, a norm of NaN makes all
    gradients NaN. google-research/albert clips at 1.0 (without the 1e-6). Raises ValueError if max_norm is not positive.
    """
    if not max_norm > 0:
        raise ValueError(f"max_norm must be more than 0; got {max_norm}")
    total = global_norm(gradients)
    factor = float(max_norm) / (total + 1e-6)
    if not factor >= 1:  # NaN too
        with np.errstate(invalid="ignore"):  # ∞ · 0: the norm that is returned says it
            for gradient in gradients.values():
                gradient *= factor
    return total


# --- schedules -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Schedule:
    """Step -> learning rate: a line from 0 up to the peak, then down to 0 at total_steps, or constant if that is None.

    The step is the number of updates already made, so the first update of a warm-up has the rate 0, as in transformers'
    get_polynomial_decay_schedule_with_warmup (with lr_end=0; power=1 is get_linear_schedule_with_warmup) and in
    google-research/albert. The latter's decay counts from step 0, not from the end of the warm-up, so there the rate jumps
    down at that point; here it does not. After total_steps it stays 0.
    """

    peak: float
    warmup_steps: int = 0
    total_steps: int | None = None
    power: float = 1.0  # of the decay: 1 is a line

    def __post_init__(self) -> None:
        if not (math.isfinite(self.peak) and self.peak >= 0):
            raise ValueError(f"the learning rate must be a finite number, 0 or more; got {self.peak}")
        if self.warmup_steps < 0:
            raise ValueError(f"warmup_steps must be 0 or more; got {self.warmup_steps}")
        if self.total_steps is not None and self.total_steps < self.warmup_steps:
            raise ValueError(f"a warm-up of {self.warmup_steps} steps does not fit into {self.total_steps} steps")
        if not self.power > 0:
            raise ValueError(f"power must be more than 0; got {self.power}")

    def __call__(self, step: int) -> float:
        if step < self.warmup_steps:
            return self.peak * step / self.warmup_steps
        if self.total_steps is None:
            return self.peak
        if step >= self.total_steps:
            return 0.0
        return self.peak * ((self.total_steps - step) / (self.total_steps - self.warmup_steps)) ** self.power


# --- what both optimizers do ---------------------------------------------------------------------------------------------


def _start(parameters: Mapping[str, Array]) -> dict[str, Array]:
    state = {STEP: np.zeros((), np.int64)}
    for name, parameter in parameters.items():
        state[FIRST + name], state[SECOND + name] = np.zeros_like(parameter), np.zeros_like(parameter)
    return state


def _next_step(parameters: Mapping[str, Array], gradients: Mapping[str, Array], state: Mapping[str, Array]) -> int:
    """The number of this update, counted from 1, once everything has been found to fit."""
    check_fit(parameters, gradients, state, (FIRST, SECOND))
    return int(state[STEP]) + 1


def check_fit(
    parameters: Mapping[str, Array], gradients: Mapping[str, Array], state: Mapping[str, Array], kept: tuple[str, ...]
) -> None:
    """Raises ValueError where gradients, or the moments that are `kept`, do not fit the parameters."""
    unknown = [name for name in gradients if name not in parameters]
    if unknown:
        raise ValueError(f"there are gradients of {listed(unknown)}, and no such parameters")
    for name, gradient in gradients.items():
        parameter = parameters[name]
        if parameter.dtype not in (np.float32, np.float64):
            raise ValueError(f"parameter {name} is {parameter.dtype}; float32 and float64 are trained")
        moments = [state[key + name] for key in kept if key + name in state]
        if len(moments) != len(kept) or any((x.shape, x.dtype) != (parameter.shape, parameter.dtype) for x in moments):
            raise ValueError(f"the state was not started with parameter {name}, {parameter.dtype} {parameter.shape}")
        if (gradient.shape, gradient.dtype) != (parameter.shape, parameter.dtype):
            raise ValueError(
                f"parameter {name} is {parameter.dtype} {parameter.shape}, its gradient {gradient.dtype} {gradient.shape}"
            )
        if not all(x.flags.c_contiguous and x.flags.writeable for x in (parameter, *moments)):
            raise ValueError(f"parameter {name} and its state must be contiguous arrays that may be written to")


def _pieces(*arrays: Array) -> Iterator[tuple[Array, ...]]:
    """The same stretch of each array in turn, flat. Views, wherever an array is contiguous."""
    flat = [np.ascontiguousarray(x).reshape(-1) for x in arrays]
    for start in range(0, flat[0].size, PIECE):
        yield tuple(x[start : start + PIECE] for x in flat)


def _check_numbers(betas: tuple[float, float], epsilon: float, weight_decay: float) -> None:
    if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
        raise ValueError(f"betas must be two numbers from 0 up to, and without, 1; got {betas}")
    if not epsilon >= 0:
        raise ValueError(f"epsilon must be 0 or more; got {epsilon}")
    if not weight_decay >= 0:
        raise ValueError(f"weight_decay must be 0 or more; got {weight_decay}")
