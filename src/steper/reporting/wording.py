"""Numbers in words, as the template's filters."""

from __future__ import annotations

from steper.evaluation.statistics import Estimate
from steper.text import percent


def interval(estimate: Estimate) -> str:
    """An interval of percentages: `[56.8, 65.2]`."""
    return f"[{percent(estimate.low)}, {percent(estimate.high)}]"


def signed(fraction: float) -> str:
    """A percentage with its sign, minus as a minus sign, 0.0 without one."""
    text = f"{100 * fraction:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", "−")


def signed_interval(estimate: Estimate) -> str:
    """An interval of signed percentages."""
    return f"[{signed(estimate.low)}, {signed(estimate.high)}]"


def amount(value: float) -> str:
    """A number a reader takes in: three figures or whole, thousands apart."""
    if value and abs(value) < 10:
        return f"{value:.2f}" if abs(value) >= 0.1 else f"{value:#.2g}"
    return f"{value:,.1f}" if abs(value) < 100 else f"{value:,.0f}"


def amount_interval(estimate: Estimate) -> str:
    """An interval of amounts."""
    return f"[{amount(estimate.low)}, {amount(estimate.high)}]"


def dollars(value: float) -> str:
    """Dollars, with as many decimals as small sums take."""
    return f"${value:,.2f}" if value >= 1 or not value else f"${value:#.2g}"


def p_value(p: float) -> str:
    """A p-value with four decimals, and never a bare 0."""
    return f"{p:.4f}" if p >= 0.0001 else "< 0.0001"


def readable(name: str) -> str:
    """A name in words: `bridge_comparison` becomes `bridge comparison`."""
    return name.replace("_", " ")


FILTERS = {
    "percent": percent,
    "interval": interval,
    "signed": signed,
    "signed_interval": signed_interval,
    "amount": amount,
    "amount_interval": amount_interval,
    "dollars": dollars,
    "p_value": p_value,
    "readable": readable,
}
