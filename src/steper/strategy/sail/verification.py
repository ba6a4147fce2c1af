"""SAIL's verification of search results, in its five forms (in our own words)."""

from __future__ import annotations

from collections.abc import Sequence

END = "my own knowledge."
"""What every verification ends on."""


def verification(informative: Sequence[bool]) -> str:
    """What is said of search results (1), (2), … that are informative or not; "" of none.

    verification([True, False]) is "Search result (1) is informative, and (2) is distracting. I will
    use (1) and my own knowledge."
    """
    count, good = len(informative), sum(informative)
    if not count:
        return ""
    one = count == 1
    whole = "The search result is" if one else "All search results are"
    if not good:
        return f"{whole} distracting. I will ignore {'it' if one else 'them'} and use only {END}"
    if good == count:
        return f"{whole} informative. I will use {'it' if one else 'them'} and {END}"
    said = [
        f"({n}) is {'informative' if informs else 'distracting'}"
        for n, informs in enumerate(informative, start=1)
    ]
    used = ", ".join(f"({n})" for n, informs in enumerate(informative, start=1) if informs)
    return f"Search result {', '.join(said[:-1])}, and {said[-1]}. I will use {used} and {END}"


def without_verification(text: str) -> str:
    """What follows the verification in a text."""
    return text.partition(END)[2].strip() or text
