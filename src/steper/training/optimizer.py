"""Muon for a student's matrices and AdamW for everything else, as one optimizer.

Muon (Jordan et al., 2024) orthogonalises the update of each matrix inside the layers; embeddings,
head, norms and biases stay with AdamW. Both are torch's own, at the same learning rate: Muon's is
rescaled to updates of AdamW's size (Liu et al., 2025, arXiv 2502.16982). docs/log.md compares them.
"""

from __future__ import annotations

from typing import Any

import torch

from steper.errors import SettingsError

MATRIX = 2
"""Dimensions of a parameter that Muon can take."""


class MuonWithAdamW(torch.optim.Optimizer):  # type: ignore[misc]
    """Two optimizers in the place of one, which is what a Trainer takes.

    Differs from `torch.optim.Optimizer`: hooks and `add_param_group` are not supported, and nothing
    else of its constructor is used.
    """

    def __init__(
        self, matrices: list[Any], rest: list[Any], lr: float, weight_decay: float
    ) -> None:
        muon = torch.optim.Muon(
            matrices, lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"
        )
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
    """The optimizer of `model`: matrices of its layers with Muon, what is left with AdamW.

    Raises SettingsError where torch has no Muon.
    """
    if not hasattr(torch.optim, "Muon"):
        raise SettingsError(
            f"optimizer muon needs torch 2.9 or newer, this is {torch.__version__}; "
            "use --optimizer adamw"
        )
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
