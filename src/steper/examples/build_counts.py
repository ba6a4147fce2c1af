"""What is counted while examples are made of a run's trajectories."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any

from steper.recipes.labels import UNREADABLE

MANY = 100
"""Trajectories whose verdicts cannot be read, and none that can: more would be paid for nothing."""

ALL_UNREADABLE = (
    f"the verdicts on the first {MANY} trajectories are none of what was asked for, so no more is "
    "asked; use a larger judge, or more --max-tokens (max_tokens) for one that thinks"
)


@dataclass
class BuildCounts:
    """What came in and what of it became examples.

    `kept` trajectories have at least one example. `dropped` counts trajectories and `dropped_steps`
    single steps of kept ones, by their first reason (`filters.REASONS`). `unchecked`
    counts the kept ones that a filter could not judge, by the filter's name. `diverged` counts the
    kept ones in which the student's strategy asks for something else than was recorded, by reason.
    `labels` counts the kept ones by where the labels of their passages come from.
    `judge` is what its verdicts took: calls, tokens, dollars.
    `per_question`, of a run with several samples: how many questions have so many kept ones.
    """

    trajectories: int = 0
    kept: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    dropped_steps: dict[str, int] = field(default_factory=dict)
    unchecked: dict[str, int] = field(default_factory=dict)
    diverged: dict[str, int] = field(default_factory=dict)
    examples: int = 0
    kinds: dict[str, int] = field(default_factory=lambda: {"init": 0, "exp": 0, "agg": 0})
    labels: dict[str, int] = field(default_factory=dict)
    per_question: dict[str, int] = field(default_factory=dict)
    judge: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """All counts as JSON values; those of labels, samples and a judge where there are any."""
        values = asdict(self)
        for later in ("labels", "per_question", "judge"):
            if not values[later]:
                del values[later]
        return values

    def drop(self, reason: str) -> None:
        """Count a dropped trajectory."""
        self.dropped[reason] = self.dropped.get(reason, 0) + 1

    def drop_step(self, reason: str) -> None:
        """Count a dropped step of a trajectory that stays."""
        self.dropped_steps[reason] = self.dropped_steps.get(reason, 0) + 1

    def add(self, part: BuildCounts) -> None:
        """Count what was counted of a part of the trajectories, too; it has no judge's cost."""
        for each in fields(self):
            ours, theirs = getattr(self, each.name), getattr(part, each.name)
            if isinstance(ours, int):
                setattr(self, each.name, ours + theirs)
            else:
                ours.update({name: ours.get(name, 0) + n for name, n in theirs.items()})

    def all_unreadable(self) -> bool:
        """Whether a hundred trajectories and no other were judged, and no verdict could be read."""
        judged = self.kept + sum(
            reasons.get(reason, 0)
            for reasons in (self.dropped, self.dropped_steps)
            for reason in ("judged_wrong", "judged_unsupported")
        )
        return not judged and self.dropped.get(UNREADABLE, 0) >= MANY
