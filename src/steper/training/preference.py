"""Preference pairs: two targets after one prompt in a tree, and the DPO loss over them.

With y⁺ and y⁻ the targets of a pair after the prompt x, π the student, π₀ the student as it was
before this training, and log π(y|x) the sum over the tokens of y, its end of turn included:

    m = β [log π(y⁺|x) − log π₀(y⁺|x)] − β [log π(y⁻|x) − log π₀(y⁻|x)]
    D_j = mean over the pairs of kind j of −log sigmoid(m)
    L_j = D_j + λ S_j

D_j is equation (7) of Rafailov et al., "Direct Preference Optimization" (NeurIPS 2023). S_j is
equation (1) of `objective` over the tokens of the y⁺, as in RPO (Pang et al., 2024), whose term is
a mean over texts, not over tokens; λ is `dpo_sft`, β is `dpo_beta`. The mean is over all pairs of
the whole optimizer step, whatever micro-batches and processes hold them.

π₀ is asked once, before the first step, and what it said is kept in the training's folder: a
training holds one model, and resumes with the same numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn.functional import softplus

from steper.errors import InputError
from steper.prompt.encode import KINDS, UNSUPERVISED, Encoded
from steper.store import read_json_lines, write_jsonl
from steper.training.objective import kind_sums
from steper.training.tree import ROOT, Sides, Tree, build_tree


class PreferencePair(NamedTuple):
    """A preference pair by its number, as tokens."""

    number: int
    chosen: Encoded
    rejected: Encoded


class _Side(NamedTuple):
    number: int
    rejected: bool
    encoded: Encoded


def pair_trees(pairs: Iterable[PreferencePair], together: bool) -> tuple[Tree, ...]:
    """The pairs of a trajectory as one tree, or as a chain for each target."""
    sides = [
        side
        for pair in pairs
        for side in (
            _Side(pair.number, False, pair.chosen),
            _Side(pair.number, True, pair.rejected),
        )
    ]
    return (_tree(sides),) if together else tuple(_tree([side]) for side in sides)


def _tree(sides: Sequence[_Side]) -> Tree:
    tree = build_tree([side.encoded for side in sides])
    place = {int(node): at for at, node in enumerate(tree.supervised)}
    below = {
        (int(above), int(token)): node
        for node, (above, token) in enumerate(zip(tree.parent, tree.ids, strict=True))
    }
    weights = np.zeros_like(tree.weights)
    nodes: list[int] = []
    of: list[int] = []
    for number, side in enumerate(sides):
        at = ROOT
        for token, kind, weight in _tokens(side.encoded):
            at = below[at, token]
            if kind == UNSUPERVISED:
                continue
            nodes.append(place[at])
            of.append(number)
            if not side.rejected:
                weights[place[at], kind] += weight
    kinds = [max(side.encoded.kinds) for side in sides]
    columns = ([s.number for s in sides], [s.rejected for s in sides], kinds, nodes, of)
    return replace(tree, weights=weights, sides=Sides(*(np.array(c, np.int32) for c in columns)))


def _tokens(encoded: Encoded) -> Iterable[tuple[int, int, float]]:
    return zip(encoded.ids, encoded.kinds, encoded.weights, strict=True)


def collate_pairs(trees: Sequence[Tree]) -> dict[str, Any]:
    """The P pairs of a batch of trees: pair (P,) their numbers, pair_kinds (P, 3) one-hot.

    scored (E,): places of tokens among the batch's supervised ones; side (E,): whose each is, 2 p
    for the better target of the p-th pair here, 2 p + 1 for the worse one.
    """
    numbers = np.unique(np.concatenate([np.zeros(0, np.int32), *(_of(t).pair for t in trees)]))
    kinds = np.zeros((len(numbers), len(KINDS)), np.float32)
    scored: list[Any] = [np.zeros(0, np.int64)]
    side: list[Any] = [np.zeros(0, np.int64)]
    offset = 0
    for tree in trees:
        own = _of(tree)
        here = np.searchsorted(numbers, own.pair)
        kinds[here, own.kind] = 1
        scored.append(own.node + offset)
        side.append((2 * here + own.rejected)[own.of])
        offset += len(tree.supervised)
    return {
        "pair": numbers.astype(np.int64),
        "pair_kinds": kinds,
        "scored": np.concatenate(scored).astype(np.int64),
        "side": np.concatenate(side).astype(np.int64),
    }


def _of(tree: Tree) -> Sides:
    assert tree.sides is not None
    return tree.sides


def log_probabilities(losses: torch.Tensor, batch: Any) -> torch.Tensor:
    """(M,) cross-entropies → (P, 2): log π of the better and of the worse target of each pair."""
    sums = torch.zeros(2 * len(batch["pair"]), dtype=losses.dtype, device=losses.device)
    return sums.index_add(0, batch["side"], -losses[batch["scored"]]).reshape(-1, 2)


class PreferenceLoss:
    """L_j = D_j + λ S_j, as a loss of `objective`; see there what rows are.

    Its rows: S, D, β log π/π₀ of the better and of the worse targets ("rewards"), and how many of
    the better ones have the higher. `reference` is log π₀ by the pairs' numbers, (N, 2).
    """

    rows = 5

    def __init__(self, beta: float, sft: float, reference: torch.Tensor | None = None) -> None:
        self._beta, self._sft = beta, sft
        self.reference = reference

    def sums(self, losses: Any, batch: Any) -> Any:
        """The numerators, (rows, 3)."""
        assert self.reference is not None
        now = log_probabilities(losses, batch)
        before = self.reference.to(now)[batch["pair"]]
        better, worse = (self._beta * (now - before)).unbind(1)
        told = (better.detach(), worse.detach(), (better > worse).to(now))
        each = (softplus(worse - better), *told)
        kinds = [kind_sums(values, batch["pair_kinds"]) for values in each]
        return torch.stack([kind_sums(losses, batch["weights"]), *kinds])

    def counts(self, batch: Any) -> Any:
        """The denominators, (rows, 3): tokens, then pairs."""
        pairs = batch["pair_kinds"].sum(0)
        return torch.stack([batch["weights"].sum(0), *[pairs] * (self.rows - 1)])

    def means(self, shares: Any) -> Any:
        """The L_j, (3,)."""
        return shares[1] + self._sft * shares[0]

    def logged(self, shares: Any, counts: Any) -> dict[str, float]:
        """D, rewards, their margin and how often it is above 0, over the pairs of a step."""
        pairs = counts[1:]
        dpo, better, worse, right = ((shares[1:] * pairs).sum(1) / pairs.sum(1)).tolist()
        return {
            "dpo_loss": dpo,
            "reward_chosen": better,
            "reward_rejected": worse,
            "reward_margin": better - worse,
            "reward_accuracy": round(right, 6),
        }


def ask_reference(trainer: Any, items: Sequence[Any], count: int) -> torch.Tensor:
    """log π of the better and the worse target of `count` pairs by the model as it is, (N, 2).

    Each process computes its share, before training wraps the model, and has all in the end.
    """
    processes, at = trainer.accelerator.num_processes, trainer.accelerator.process_index
    found = torch.zeros(count, 2, device=trainer.args.device)
    trainer.model.eval()
    for item in items[at::processes]:
        inputs = trainer._prepare_inputs(trainer.data_collator([item]))
        with torch.no_grad(), trainer.accelerator.autocast():
            losses = trainer.token_losses(trainer.model, inputs)
        found[inputs["pair"]] = log_probabilities(losses, inputs)
    trainer.model.train()
    whole: torch.Tensor = trainer.accelerator.reduce(found, "sum").cpu()
    return whole


def read_reference(path: Path, pairs: Sequence[str]) -> torch.Tensor | None:
    """The log-probabilities that are kept, (N, 2); None where there are none of these pairs yet.

    Raises InputError for a line that is not of its pair.
    """
    if not path.exists():
        return None
    rows = list(read_json_lines(path))
    if [row.get("id") for _, row in rows] != list(pairs):
        raise InputError(
            f"{path}: log-probabilities of other pairs than those of the examples; remove the "
            "file to compute them anew"
        )
    return torch.tensor([[row["chosen"], row["rejected"]] for _, row in rows]).reshape(-1, 2)


def write_reference(path: Path, pairs: Sequence[str], values: torch.Tensor) -> None:
    """Keep the log-probabilities, (N, 2): a line a pair, written whole or not at all."""
    rows = zip(pairs, values.tolist(), strict=True)
    write_jsonl(path, ({"id": pair, "chosen": a, "rejected": b} for pair, (a, b) in rows))
