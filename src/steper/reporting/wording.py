"""Numbers in words, as the template's filters."""

from __future__ import annotations

from steper.evaluation.tables import least, p_value
from steper.text import percent


def signed(fraction: float) -> str:
    """A percentage with its sign, minus as a minus sign, 0.0 without one."""
    text = f"{100 * fraction:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", "−")


def amount(value: float) -> str:
    """A number a reader takes in: three figures or whole, thousands apart."""
    if value and abs(value) < 10:
        return f"{value:.2f}" if abs(value) >= 0.1 else f"{value:#.2g}"
    return f"{value:,.1f}" if abs(value) < 100 else f"{value:,.0f}"


def dollars(value: float) -> str:
    """Dollars, with as many decimals as small sums take."""
    return f"${value:,.2f}" if value >= 1 or not value else f"${value:#.2g}"


def readable(name: str) -> str:
    """A name in words: `bridge_comparison` becomes `bridge comparison`."""
    return name.replace("_", " ")


FILTERS = {f.__name__: f for f in (percent, signed, amount, dollars, p_value, least, readable)}
