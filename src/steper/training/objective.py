"""The loss of a training step, and σ.

With ℓ_t the cross-entropy of token t, w_t its weight, and the sums over *all* tokens of kind j in
the whole optimizer step, whatever sequences, micro-batches and processes hold them:

    L_j = Σ_t w_t ℓ_t / Σ_t w_t            j ∈ {init, exp, agg}                             (1)
    L   = Σ_j L_j / (2 σ_j²) + log σ_j      weights: learned (StepER's L_final)              (2)
    L   = 1/J Σ_j L_j                       weights: uniform, J kinds in the training set    (3)
    L   = Σ_j a_j L_j                       weights: fixed, a_j given                        (4)

Differs from the paper: its equation sums cross-entropies of *examples* (1/3n Σ_i …), which leaves
open how tokens are weighed; (1) does not change with batch layout, accumulation or processes.

A kind without a token in a step has no L_j there: it adds nothing to the loss, log σ_j included,
and its σ_j stays as it is.

At fixed L_j the optimum of (2) is σ_j² = L_j. The gradient of (2) with respect to σ needs nothing
but the L_j, so σ is no parameter of the model: it is updated from the reduced L_j, by the same
arithmetic in every process.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

from steper.errors import InputError
from steper.prompt.encode import KINDS
from steper.training.train_settings import TrainSettings, Weighting


class TokenLoss:
    """L_j as in equation (1): the cross-entropy of the examples' own tokens.

    A loss has `rows` of sums over tokens, or whatever is counted, and as many of counts, for each
    kind: (rows, 3). Quotients of both, summed over a whole optimizer step, are its shares.
    """

    rows = 1

    def sums(self, losses: Any, batch: Any) -> Any:
        """(M,) cross-entropies of a batch's supervised tokens → the numerators, (rows, 3)."""
        return kind_sums(losses, batch["weights"])[None]

    def counts(self, batch: Any) -> Any:
        """The denominators, (rows, 3)."""
        return batch["weights"].sum(0)[None]

    def means(self, shares: Any) -> Any:
        """The L_j, (3,), of the shares, (rows, 3)."""
        return shares[0]

    def logged(self, shares: Any, counts: Any) -> dict[str, float]:
        """What else a log tells of a step."""
        return {}


_BETAS, _EPSILON = (0.9, 0.999), 1e-8


class Objective:
    """Weights of the three losses; with `learned`, σ and its optimizer."""

    def __init__(
        self, weighting: Weighting, settings: TrainSettings, kinds: Sequence[str], steps: int
    ) -> None:
        """`kinds` are those that occur in the training set; `steps` is the training's length."""
        self.weighting = weighting
        self._fixed = settings.fixed_weights
        self._count = max(1, len(set(kinds)))
        self._optimizer: Literal["natural", "adam"] = settings.sigma_optimizer
        # At L_j → 0 the weight 1 / (2 σ_j²) would grow without bound.
        self._least = settings.sigma_floor**2
        self._lr = settings.sigma_lr or default_rate(self._optimizer, steps)
        self.log_variance = [2 * math.log(settings.sigma_start)] * len(KINDS)
        self._steps = [0] * len(KINDS)
        self._moments = [[0.0, 0.0] for _ in KINDS]

    @property
    def sigma(self) -> list[float]:
        """σ_init, σ_exp, σ_agg."""
        return [math.exp(s / 2) for s in self.log_variance]

    def coefficients(self) -> list[float]:
        """What each L_j is multiplied with."""
        if self.weighting == "learned":
            return [math.exp(-s) / 2 for s in self.log_variance]
        if self.weighting == "fixed":
            return list(self._fixed)
        return [1 / self._count] * len(KINDS)

    def constant(self, present: Sequence[bool]) -> float:
        """Σ log σ_j over the kinds that are present."""
        if self.weighting != "learned":
            return 0.0
        return sum(s / 2 for s, here in zip(self.log_variance, present, strict=True) if here)

    def total(self, means: Sequence[float | None]) -> float:
        """The loss of a step with these L_j (None: absent), equations (2) to (4)."""
        known = zip(self.coefficients(), means, strict=True)
        weighted = sum(c * mean for c, mean in known if mean is not None)
        return weighted + self.constant([mean is not None for mean in means])

    def update(self, means: Sequence[float | None]) -> None:
        """One step of σ's own optimizer on equation (2); without weight decay."""
        if self.weighting != "learned":
            return
        for kind, mean in enumerate(means):
            if mean is None or not math.isfinite(mean):
                continue
            self._steps[kind] += 1
            step = self._natural if self._optimizer == "natural" else self._adam
            moved = step(kind, mean)
            self.log_variance[kind] = max(moved, math.log(self._least))

    def _natural(self, kind: int, mean: float) -> float:
        """σ² ← σ² + η (L − σ²): natural-gradient descent on (2).

        The derivative by v = σ² is (v − L) / (2 v²), the Fisher information of v is 1 / (2 v²), and
        their quotient is v − L. With η = 1/t until 1/t falls below the learning rate, the start is
        forgotten at once.
        Differs from the paper: it does not say how σ is learnt. Adam moves log σ² by about its
        learning rate a step, whatever the distance, so short trainings end before σ arrives.
        """
        rate = max(self._lr, 1 / self._steps[kind])
        variance = math.exp(self.log_variance[kind])
        return math.log(max(variance + rate * (mean - variance), self._least))

    def _adam(self, kind: int, mean: float) -> float:
        """Adam on s = log σ²; the derivative of (2) is (1 − L exp(−s)) / 2."""
        s, step, moments = self.log_variance[kind], self._steps[kind], self._moments[kind]
        gradient = (1 - mean * math.exp(-s)) / 2
        (b1, b2) = _BETAS
        moments[0] = b1 * moments[0] + (1 - b1) * gradient
        moments[1] = b2 * moments[1] + (1 - b2) * gradient**2
        first, second = moments[0] / (1 - b1**step), moments[1] / (1 - b2**step)
        return s - self._lr * first / (math.sqrt(second) + _EPSILON)

    def state(self) -> dict[str, Any]:
        """All that a resumed training needs, as JSON values (float64 survives JSON exactly)."""
        return {
            "kinds": list(KINDS),
            "weighting": self.weighting,
            "optimizer": self._optimizer,
            "sigma": self.sigma,
            "log_variance": list(self.log_variance),
            "steps": list(self._steps),
            "moments": [list(pair) for pair in self._moments],
        }

    def load(self, state: dict[str, Any], place: str) -> None:
        """Take up `state`; InputError, naming `place`, if it is that of another objective."""
        if (state.get("weighting"), state.get("optimizer")) != (self.weighting, self._optimizer):
            raise InputError(f"{place}: the state of σ of another training (weights, optimizer)")
        self.log_variance = list(state["log_variance"])
        self._steps = list(state["steps"])
        self._moments = [list(pair) for pair in state["moments"]]


def default_rate(optimizer: str, steps: int) -> float:
    """σ's learning rate: natural remembers about ten steps, and a tenth of a shorter training."""
    return 0.05 if optimizer == "adam" else min(0.5, max(0.1, 10 / steps))


def kind_sums(losses: Any, weights: Any) -> Any:
    """(M,) losses and (M, 3) weights of tokens → (3,): the numerators of equation (1)."""
    return (losses[:, None] * weights).sum(0)
