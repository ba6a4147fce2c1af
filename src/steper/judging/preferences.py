"""What a judge's verdicts come to: wins and ties, how far it can be trusted, agreement with gold.

In: two methods as evaluated, and a verdict for each question, ability and order. Out:
`Preferences`, with a line for each ability.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from steper.evaluation.methods import Method
from steper.evaluation.statistics import (
    Bootstrap,
    Estimate,
    Kappa,
    cohen_kappa,
    compare_paired,
    holm,
)
from steper.evaluation.tables import p_value, signed
from steper.judging.pairs import Ability
from steper.notebook import box, html_table
from steper.records import Record
from steper.text import percent

Key = tuple[str, Ability, bool]
"""Question, ability, and whether b stands first."""

Verdicts = Mapping[Key, str]
"""`first`, `second`, `tie`, or "" where no verdict could be read; what failed is not there."""


class Preference(Record):
    """What a judge thinks of two runs in one ability, over `n` questions judged in both orders.

    `wins` of a, `losses`, and `ties`: a win is a win in both orders, or in one beside a tie. In
    `alike` of the ties both show the same, so that none was asked; they count in `n` and in the
    difference, in nothing else.
    `difference` is (wins - losses) / n with the bootstrap's interval, `p_value` the sign-flip
    test's, `p_holm` corrected for the abilities. `same`: the share of questions with the same
    verdict in both orders; `first`: of the verdicts that are no tie, those for what stands first
    (one half, of a judge without a favourite place). `unreadable` verdicts (of `asked`) and
    `failed` ones leave their question out. `gold`: agreement with the ability by gold facts, over
    the questions that have it of both runs; None where there is none.
    """

    ability: Ability
    n: int
    wins: int
    losses: int
    ties: int
    alike: int = 0
    difference: Estimate | None
    p_value: float | None
    p_holm: float | None = None
    same: float | None
    first: float | None
    asked: int
    unreadable: int
    failed: int
    gold: Kappa | None


class Preferences(Record):
    """A judge's preference between the runs `a` and `b`, ability by ability."""

    version: int = 1
    a: str
    b: str
    abilities: tuple[Preference, ...]
    bootstrap: Bootstrap

    def _brief(self) -> Iterable[str]:
        yield f"{self.a} − {self.b}"
        yield ", ".join(f"{one.ability} {signed(one.difference)}" for one in self.abilities)

    def _repr_html_(self) -> str:
        """For notebooks: what the command prints."""
        return box(*(html_table(title, rows) for title, rows in preference_tables(self)))


def count_preferences(
    a: Method,
    b: Method,
    asked: Mapping[Ability, int],
    verdicts: Verdicts,
    settings: Bootstrap,
    alike: Mapping[Ability, int] | None = None,
) -> Preferences:
    """All abilities' lines, with how many verdicts were asked; Holm's correction is over them.

    `alike`: for each ability, the questions in which both show the same.
    """
    alike = alike or {}
    lines = [
        _count(a, b, ability, number, alike.get(ability, 0), verdicts, settings)
        for ability, number in asked.items()
    ]
    known = [i for i, line in enumerate(lines) if line.p_value is not None]
    if len(known) > 1:
        adjusted = holm([lines[i].p_value or 0.0 for i in known])
        for i, p in zip(known, adjusted, strict=True):
            lines[i] = lines[i].model_copy(update={"p_holm": p})
    return Preferences(a=a.name, b=b.name, abilities=tuple(lines), bootstrap=settings)


def _count(
    a: Method,
    b: Method,
    ability: Ability,
    asked: int,
    alike: int,
    verdicts: Verdicts,
    settings: Bootstrap,
) -> Preference:
    """One ability's line."""
    said = {key: verdict for key, verdict in verdicts.items() if key[1] == ability}
    ids = dict.fromkeys(key[0] for key in said)
    scores, same = dict[str, float](), []
    for i in ids:
        both = [said.get((i, ability, swapped), "") for swapped in (False, True)]
        if all(both):
            own, other = _for_a(both[0], False), _for_a(both[1], True)
            scores[i] = float(np.sign(own + other))
            same.append(own == other)
    values = np.array([*scores.values(), *[0.0] * alike])
    paired = compare_paired(values, np.zeros(len(values)), settings) if len(values) else None
    placed = [verdict for verdict in said.values() if verdict in ("first", "second")]
    return Preference(
        ability=ability,
        n=len(values),
        wins=int((values > 0).sum()),
        losses=int((values < 0).sum()),
        ties=int((values == 0).sum()),
        alike=alike,
        difference=paired.difference if paired else None,
        p_value=paired.p_value if paired else None,
        same=float(np.mean(same)) if same else None,
        first=placed.count("first") / len(placed) if placed else None,
        asked=asked,
        unreadable=sum(not verdict for verdict in said.values()),
        failed=asked - len(said),
        gold=_agreement(a, b, ability, scores, settings),
    )


def _for_a(verdict: str, swapped: bool) -> int:
    """1 for a, -1 for b, 0 for a tie."""
    if verdict == "tie":
        return 0
    return 1 if (verdict == "first") != swapped else -1


def _agreement(
    a: Method, b: Method, ability: Ability, scores: Mapping[str, float], settings: Bootstrap
) -> Kappa | None:
    """The judge's preferences beside those of the gold facts."""
    by_gold, by_judge = [], []
    for i, score in scores.items():
        own, other = (_by_gold(method, i, ability) for method in (a, b))
        if own is not None and other is not None:
            by_gold.append(int(np.sign(own - other)))
            by_judge.append(int(score))
    return cohen_kappa(by_judge, by_gold, settings) if by_gold else None


def _by_gold(method: Method, question_id: str, ability: Ability) -> float | None:
    abilities = method.scores[0][question_id].abilities
    value: float | None = getattr(abilities, ability, None)
    return value


def preference_tables(found: Preferences) -> list[tuple[str, list[list[str]]]]:
    """(title, rows) of the two tables: what the judge prefers, and what that is worth."""
    a, b = found.a, found.b
    first = [["", "n", f"{a} better", "tie", f"{b} better", "difference", "p"]]
    second = [["", "same", "first", "unreadable", "κ with gold facts"]]
    for one in found.abilities:
        p = one.p_value if one.p_holm is None else one.p_holm
        gap = one.difference
        first.append(
            [
                one.ability,
                str(one.n),
                str(one.wins),
                str(one.ties),
                str(one.losses),
                signed(gap),
                "-" if p is None else p_value(p),
            ]
        )
        second.append(
            [
                one.ability,
                "-" if one.same is None else percent(one.same),
                "-" if one.first is None else percent(one.first),
                f"{one.unreadable} of {one.asked}",
                _kappa(one.gold),
            ]
        )
    level = f"{100 * found.bootstrap.confidence:g}"
    holm_said = ", p by Holm" if len(found.abilities) > 1 else ""
    titles = (
        f"The judge's preference, {a} against {b}; points with {level} % intervals{holm_said}",
        "What it is worth: same verdict in both orders, the first preferred, %",
    )
    return list(zip(titles, (first, second), strict=True))


def _kappa(gold: Kappa | None) -> str:
    if gold is None:
        return "-"
    if gold.kappa is None:
        return f"- of {gold.n}"
    value = f"{gold.kappa:.2f}"
    if gold.low is not None and gold.high is not None:
        value += f" [{gold.low:.2f}, {gold.high:.2f}]"
    return f"{value} of {gold.n}"
