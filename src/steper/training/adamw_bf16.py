"""AdamW that keeps all it has in bfloat16: full fine-tuning in half of the memory.

Bytes a parameter, with gradients, and what an 8B student (8.03e9 parameters) takes before any
activation:

    adamw        float32: weight 4 + gradient 4 + two moments 8 = 16     128 GB
    adamw_bf16   bfloat16: weight 2 + gradient 2 + two moments 4 = 8      64 GB

bfloat16 has 8 significant bits. At a learning rate of 5e-6 an update is far below half a unit in
the last place of most weights, and rounding to the nearest leaves them as they were; the same
befalls the second moment, which changes by a thousandth a step. So each is computed in float32 and
rounded up or down at random, with the probability that makes it right on average (Gupta et al.
2015, arXiv 1502.02551; for bfloat16 training Zamirai et al. 2020, arXiv 2010.06192).

Differs from Kahan summation, which needs 2 more bytes a weight (80 GB for the same student) and
mends the weights alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch

CHUNK = 1 << 24
"""Numbers that are computed in float32 at a time: some 400 MB, whatever a matrix measures."""

_LOW_BITS = 16  # of a float32, which bfloat16 leaves off


class AdamWBF16(torch.optim.Optimizer):  # type: ignore[misc]
    """AdamW (Loshchilov and Hutter 2019, algorithm 2) on bfloat16 weights, rounded at random.

    The random numbers come from the parameter's place and its step alone: every process of a
    data-parallel training rounds alike, and so does one that goes on from a checkpoint.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(
            params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        )

    def step(self, closure: Any = None) -> None:
        """Update every parameter that has a gradient."""
        if closure is not None:
            raise NotImplementedError("AdamWBF16 takes no closure")
        place = 0
        for group in self.param_groups:
            for parameter in group["params"]:
                place += 1
                if parameter.grad is not None:
                    with torch.no_grad():
                        self._update(parameter, group, place)

    def _update(self, parameter: Any, group: dict[str, Any], place: int) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = 0
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        state["step"] += 1
        generator = torch.Generator(parameter.device).manual_seed(state["step"] << 24 | place)
        stored = (parameter, parameter.grad, state["exp_avg"], state["exp_avg_sq"])
        for chunk in zip(*(each.reshape(-1).split(CHUNK) for each in stored), strict=True):
            weight, gradient, mean, square = (each.float() for each in chunk)
            adamw(weight, gradient, mean, square, state["step"], group)
            for kept, value in zip((chunk[0], *chunk[2:]), (weight, mean, square), strict=True):
                kept.copy_(round_at_random(value, generator))


def adamw(
    weight: Any, gradient: Any, mean: Any, square: Any, step: int, group: dict[str, Any]
) -> None:
    """One step in place on float32 numbers; `step` counts from 1."""
    (first, second), rate = group["betas"], group["lr"]
    mean.lerp_(gradient, 1 - first)
    square.lerp_(gradient.square(), 1 - second)
    spread = square.sqrt().div_(math.sqrt(1 - second**step)).add_(group["eps"])
    weight.mul_(1 - rate * group["weight_decay"])
    weight.addcdiv_(mean, spread, value=-rate / (1 - first**step))


def round_at_random(value: Any, generator: torch.Generator) -> Any:
    """float32 numbers → the bfloat16 below or above each, the nearer one the likelier.

    A random number is added to the bits that bfloat16 leaves off; its carry is the rounding up.
    The mean is the number itself. Infinities stay.
    """
    noise = torch.randint(
        1 << _LOW_BITS, value.shape, generator=generator, device=value.device, dtype=torch.int32
    )
    bits = value.view(torch.int32).add(noise).bitwise_and_(-1 << _LOW_BITS)
    return bits.view(torch.float32).bfloat16()
