"""What a pipeline's configuration says of one method, and how rounds of on-policy data unfold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from steper.lm.model_settings import Settings

ROUNDS = "rounds"
"""A key of a method that stands for several: see `with_rounds`."""


class MethodSettings(Settings):
    """One way to distil: a recipe, and what differs from the common sections for it."""

    recipe: str | None = Field(
        None, description="the recipe's name, or package.module:NAME (none: the method's own name)"
    )
    more_filters: tuple[str, ...] = Field(
        (), description="further filters by name or package.module:NAME"
    )
    judge: str | None = Field(
        None, description="model that a recipe asks for judgements, as in section teacher"
    )
    examples: dict[str, Any] = Field(default_factory=dict, description="over section examples")
    filters: dict[str, Any] = Field(default_factory=dict, description="over section filters")
    train: dict[str, Any] = Field(default_factory=dict, description="over section train")
    tokens_of: str | None = Field(
        None,
        description="train on as many tokens as this other method of the file, not by epochs: "
        "methods differ in the tokens that a pass computes",
    )
    seconds_of: str | None = Field(
        None,
        description="train as long as this other method of the file did: on as many tokens as fit "
        "into its seconds, at the rate of the file's method of the same recipe that trains by "
        "epochs. Seconds say nothing where trainings disturb each other: leave each its cores",
    )
    student_of: str | None = Field(
        None,
        description="take the students of this other method of the file, which learn the same "
        "text, and ask them as this one's recipe says: nothing is trained",
    )
    states_of: str | None = Field(
        None,
        description="on-policy: students of this other method of the file answer training "
        "questions, the teacher writes the step at each of their states, and these are learnt "
        "beside all that the other method learns; preference pairs (steper_dpo) and students' own "
        "steps (steper_gkd) are learnt alone, by those students",
    )
    teacher_share: float = Field(
        0.5,
        ge=0,
        lt=1,
        description="the share of training questions that the teacher alone answers: the students "
        "of states_of are asked the others; with rounds, its power by the round's number",
    )

    @property
    def by_itself(self) -> bool:
        """Whether it is trained, and its length is that of no other method."""
        return self.tokens_of is None and self.seconds_of is None and self.student_of is None


def with_rounds(methods: Mapping[str, Any]) -> dict[str, Any]:
    """The methods with each that has `rounds: N` as N, the last of which has its name.

    Round 1 takes the states of the method that `states_of` names, each later one those of the round
    before; `teacher_share` β becomes β, β², … (DAgger's βᵢ = βⁱ). ValueError for what is no number
    of rounds, or lacks `states_of`.
    """
    out: dict[str, Any] = {}
    for name, given in methods.items():
        if not isinstance(given, dict) or ROUNDS not in given:
            out[name] = given
            continue
        rounds, before = given[ROUNDS], given.get("states_of")
        if not isinstance(rounds, int) or isinstance(rounds, bool) or rounds < 1:
            raise ValueError(f"{name}.rounds is {rounds!r}; a number from 1 on was expected")
        if before is None:
            raise ValueError(
                f"{name}.rounds needs states_of: the method whose students begin, such as steper"
            )
        share = given.get("teacher_share", MethodSettings.model_fields["teacher_share"].default)
        own = {key: value for key, value in given.items() if key != ROUNDS}
        for number in range(1, rounds + 1):
            called = name if number == rounds else f"{name}.{number}"
            if called != name and called in methods:
                raise ValueError(f"{called} is round {number} of {name}; give it another name")
            decayed = share**number if isinstance(share, (int, float)) else share
            method = {**own, "states_of": before, "teacher_share": decayed}
            out[called] = {"recipe": name, **method}
            before = called
    return out


def check_methods(methods: Mapping[str, MethodSettings]) -> None:
    """ValueError where methods cannot stand on the others as they say: whose states, students."""
    _check_states(methods)
    _check_students(methods)


def _check_students(methods: Mapping[str, MethodSettings]) -> None:
    """ValueError where `student_of` names no trained method, or stands beside a training's."""
    trained = [name for name, method in methods.items() if method.student_of is None]
    for name, method in methods.items():
        if method.student_of is None:
            continue
        if method.student_of not in trained:
            raise ValueError(
                f"recipes.{name}.student_of is {method.student_of!r}; expected another method of "
                f"this file that is trained itself: {', '.join(trained) or 'there is none'}"
            )
        given = sorted({"train", "tokens_of", "seconds_of", "states_of"} & method.model_fields_set)
        if given:
            raise ValueError(
                f"recipes.{name}: student_of and {given[0]} exclude each other: nothing is trained"
            )


def _check_states(methods: Mapping[str, MethodSettings]) -> None:
    """ValueError where `states_of` names no other method, or leads back to its own."""
    for name in methods:
        seen, at = [name], methods[name].states_of
        while at is not None:
            if at not in methods or at in seen:
                others = ", ".join(other for other in methods if other not in seen)
                raise ValueError(
                    f"recipes.{seen[-1]}.states_of is {at!r}; expected another method of this "
                    f"file, whose students come first: {others or 'there is none'}"
                )
            seen.append(at)
            at = methods[at].states_of
