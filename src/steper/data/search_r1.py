"""Search-R1's rows (Jin et al. 2025): FlashRAG's questions with the data set that each is from.

As JSON lines `{"id", "question", "golden_answers", "data_source"}`, or as in its Parquet files,
where the answers (also) stand in `reward_model.ground_truth.target` beside the prompt that it
trains on. `data_source` becomes the question's type, so that scores are told by data set.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from steper.data.formats import QuestionFormat, given_answers
from steper.data.items import BenchmarkRow, Filled, Item
from steper.records import Question

NUMBERED = re.compile(r"[a-z]+_\d+")
"""An id that is a mere position, such as `train_0`."""


class GroundTruthRow(BenchmarkRow):
    """The accepted answers."""

    target: list[str] | str


class RewardModelRow(BenchmarkRow):
    """What the reward is computed of."""

    ground_truth: GroundTruthRow
    style: str | None = None


class SearchR1Row(BenchmarkRow):
    """One row; the fields from `prompt` on are not read."""

    id: str | int
    question: Filled
    data_source: str | None = None
    golden_answers: list[str] | str | None = None
    reward_model: RewardModelRow | None = None
    prompt: Any = None
    ability: Any = None
    extra_info: Any = None
    metadata: Any = None


def read_search_r1(item: Item, counts: Counter[str]) -> Question:
    """The question of one row."""
    row = item.parse(SearchR1Row, "search-r1")
    answers = row.golden_answers
    if answers is None and row.reward_model is not None:
        answers = row.reward_model.ground_truth.target
    if answers is None:
        raise item.error("neither golden_answers nor reward_model.ground_truth.target is there")
    own = str(row.id)
    if row.data_source and NUMBERED.fullmatch(own):
        # Its files hold several data sets, each numbered from 0.
        own = f"{row.data_source}-{own}"
    return Question(
        id=own,
        text=row.question.strip(),
        answers=given_answers(answers, counts),
        type=row.data_source,
    )


SEARCH_R1 = QuestionFormat(
    "search-r1",
    "id, question, golden_answers, data_source",
    read_search_r1,
    lambda fields: "reward_model" in fields or {"golden_answers", "data_source"} <= set(fields),
    order=4,
    open=True,
)
