"""The few English verb forms that turning questions into statements needs; see `verbs.yaml`."""

from __future__ import annotations

import re
from functools import cache, cached_property

from steper.records import Record
from steper.store import package_yaml


class Verbs(Record):
    """The verbs of `verbs.yaml`: `irregular` past tenses by base form, other bases, participles."""

    irregular: dict[str, str]
    regular: frozenset[str]
    participles: frozenset[str]

    @cached_property
    def bases(self) -> dict[str, str]:
        """Base forms by irregular past tense."""
        return {past: base for base, past in self.irregular.items()}


@cache
def known() -> Verbs:
    """What `verbs.yaml` says."""
    return Verbs.model_validate(package_yaml(__package__, "verbs.yaml"))


def is_base(word: str) -> bool:
    """Whether a word is a known verb's base form."""
    return word.lower() in known().regular or word.lower() in known().irregular


def is_past(word: str) -> bool:
    """Whether a word is a past tense form: irregular, or a known verb's -ed form."""
    word = word.lower()
    return word in known().bases or (
        word.endswith("ed") and any(b in known().regular for b in _stems(word))
    )


def is_past_only(word: str) -> bool:
    """Whether a word is a past tense that is no participle too: `became`, `wrote`."""
    word = word.lower()
    return word in known().bases and word != known().bases[word] and word not in known().participles


def is_participle(word: str) -> bool:
    """Whether a word looks like a past participle."""
    word = word.lower()
    return word in known().participles or (
        word.endswith("ed") and any(is_base(b) for b in _stems(word))
    )


def is_finite(word: str) -> bool:
    """Whether a word may be the verb of a clause whose subject is third person singular."""
    word = word.lower()
    if word in ("is", "was", "are", "were", "has", "had", "can", "could", "will", "would", "does"):
        return True
    return is_past(word) or (word.endswith("s") and any(is_base(b) for b in _unthird(word)))


def past(base: str) -> str:
    """Simple past: `write` → `wrote`, `die` → `died`. A past form stays as it is."""
    word = base.lower()
    if word in known().irregular:
        return known().irregular[word]
    if is_past(word):
        return word
    if word.endswith("e"):
        return f"{word}d"
    if re.search(r"[^aeiou]y$", word):
        return f"{word[:-1]}ied"
    if word in ("stop", "drop", "plan", "ban", "refer", "prefer", "admit", "permit", "star"):
        return f"{word}{word[-1]}ed"
    return f"{word}ed"


def base_of(past_form: str) -> str:
    """The base form of an irregular past, other words as they are: `became` → `become`."""
    return known().bases.get(past_form, past_form)


def third(base: str) -> str:
    """Third person singular present: `occur` → `occurs`, `have` → `has`."""
    word = base.lower()
    if word in ("have", "be"):
        return {"have": "has", "be": "is"}[word]
    if re.search(r"[^aeiou]y$", word):
        return f"{word[:-1]}ies"
    return f"{word}es" if re.search(r"(s|x|z|ch|sh|o)$", word) else f"{word}s"


def _stems(word: str) -> tuple[str, ...]:
    stem = word[:-2]
    doubled = (stem[:-1],) if stem[-2:-1] == stem[-1:] else ()
    return (stem, word[:-1], *doubled, f"{stem[:-1]}y" if stem.endswith("i") else stem)


def _unthird(word: str) -> tuple[str, ...]:
    if word == "has":
        return ("have",)
    return (word[:-1], word[:-2], f"{word[:-3]}y")
