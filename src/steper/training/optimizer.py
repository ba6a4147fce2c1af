"""Muon for a student's matrices and AdamW for everything else, as one optimizer.

Muon (Jordan et al., 2024) orthogonalises the update of each matrix inside the layers; embeddings,
head, norms and biases stay with torch's AdamW. Both run at the same learning rate: Muon's is
rescaled to updates of AdamW's size (Liu et al., 2025, arXiv 2502.16982). docs/log.md compares them.
"""

from __future__ import annotations

import math
from typing import Any

import torch

MATRIX = 2
"""Dimensions of a parameter that Muon can take."""

MOMENTUM = 0.95
NEWTON_SCHULZ = 3.4445, -4.7750, 2.0315
"""Coefficients of the quintic whose slope at 0 is steepest (Jordan et al., 2024)."""
NEWTON_SCHULZ_STEPS = 5
ADAMW_RMS = 0.2
"""Root mean square of a typical update of AdamW, in learning rates (Liu et al., 2025, 2.2)."""


class Muon(torch.optim.Optimizer):  # type: ignore[misc]
    """Nesterov momentum, orthogonalised, and decoupled weight decay; for matrices alone.

    Differs from `torch.optim.Muon(adjust_lr_fn="match_rms_adamw")` in one thing, the dtype of
    `orthogonalized`. The state is alike, so either goes on from the other's checkpoint.
    """

    def __init__(self, matrices: list[Any], lr: float, weight_decay: float) -> None:
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay})

    def step(self, closure: Any = None) -> None:
        """One step of every matrix that has a gradient."""
        if closure is not None:
            raise NotImplementedError("Muon takes no closure")
        with torch.no_grad():
            for group in self.param_groups:
                for matrix in group["params"]:
                    if matrix.grad is not None:
                        self._step(matrix, group["lr"], group["weight_decay"])

    def _step(self, matrix: Any, lr: float, weight_decay: float) -> None:
        state = self.state[matrix]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(matrix.grad)
        momentum = state["momentum_buffer"].lerp_(matrix.grad, 1 - MOMENTUM)
        update = orthogonalized(matrix.grad.lerp(momentum, MOMENTUM))
        matrix.mul_(1 - lr * weight_decay)
        matrix.add_(update, alpha=-lr * ADAMW_RMS * math.sqrt(max(matrix.shape)))


def orthogonalized(matrix: torch.Tensor) -> torch.Tensor:
    """About U Vᵀ of the matrix U S Vᵀ: singular values near 1, by Newton and Schulz's iteration.

    Computed in bfloat16 on a GPU, in float32 elsewhere: few CPUs multiply bfloat16 fast, and
    those gain nothing by it at the sizes that are trained there (docs/log.md).
    """
    a, b, c = NEWTON_SCHULZ
    tall = matrix.size(0) > matrix.size(1)
    x = matrix.to(torch.bfloat16 if matrix.is_cuda else torch.float32)
    x = x.mT if tall else x
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.mT
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


class MuonWithAdamW(torch.optim.Optimizer):  # type: ignore[misc]
    """Two optimizers in the place of one, which is what a Trainer takes.

    Differs from `torch.optim.Optimizer`: hooks and `add_param_group` are not supported, and nothing
    else of its constructor is used.
    """

    def __init__(
        self, matrices: list[Any], rest: list[Any], lr: float, weight_decay: float
    ) -> None:
        muon = Muon(matrices, lr, weight_decay)
        decayed = {"params": [p for p in rest if p.ndim >= MATRIX], "weight_decay": weight_decay}
        kept = {"params": [p for p in rest if p.ndim < MATRIX], "weight_decay": 0.0}
        groups = [group for group in (decayed, kept) if group["params"]]
        self.parts: list[torch.optim.Optimizer] = [muon, torch.optim.AdamW(groups, lr=lr)]
        self.defaults: dict[str, Any] = {}

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of both; learning-rate schedules change them in place."""
        return [group for part in self.parts for group in part.param_groups]

    @property
    def state(self) -> dict[Any, Any]:
        """The state of every parameter."""
        return {key: value for part in self.parts for key, value in part.state.items()}

    def step(self, closure: Any = None) -> None:
        """One step of both."""
        if closure is not None:
            raise NotImplementedError("MuonWithAdamW takes no closure")
        for part in self.parts:
            part.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Let go of all gradients."""
        for part in self.parts:
            part.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        """Both states."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up what `state_dict` gave."""
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)


def muon_with_adamw(model: torch.nn.Module, lr: float, weight_decay: float) -> MuonWithAdamW:
    """The optimizer of `model`: matrices of its layers with Muon, what is left with AdamW."""
    outside = {id(p) for p in _embeddings(model)}
    trained = [p for p in model.parameters() if p.requires_grad]
    matrices = [p for p in trained if p.ndim == MATRIX and id(p) not in outside]
    rest = [p for p in trained if p.ndim != MATRIX or id(p) in outside]
    return MuonWithAdamW(matrices, rest, lr, weight_decay)


def _embeddings(model: Any) -> list[torch.nn.Parameter]:
    """The matrices with a row for each token or position, on the way in and on the way out."""
    modules = [m for m in model.modules() if isinstance(m, torch.nn.Embedding)]
    modules += [m for m in (model.get_output_embeddings(),) if m is not None]
    return [parameter for module in modules for parameter in module.parameters()]
