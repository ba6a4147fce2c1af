"""Self-RAG's fifteen tokens, and how a segment is scored by what is written with them (§3.3).

A segment is `[Retrieval]<paragraph>…</paragraph>[Relevant] statement[Fully supported]`, or
`[Continue to Use Evidence] statement`. The last one ends on `[Utility:5]`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from itertools import takewhile

from steper.lm.base import Completion, TokenLogprob
from steper.records import Passage
from steper.text import limit_words

RETRIEVE, NO_RETRIEVAL, CONTINUE = "[Retrieval]", "[No Retrieval]", "[Continue to Use Evidence]"
RELEVANT, IRRELEVANT = "[Relevant]", "[Irrelevant]"
FULL, PARTIAL, NONE = "[Fully supported]", "[Partially supported]", "[No support / Contradictory]"
UTILITY = tuple(f"[Utility:{n}]" for n in range(1, 6))
OPEN, CLOSE = "<paragraph>", "</paragraph>"

DECISIONS = (RETRIEVE, NO_RETRIEVAL, CONTINUE)
JUDGEMENTS = (RELEVANT, IRRELEVANT, FULL, PARTIAL, NONE, *UTILITY)
TOKENS = (*DECISIONS, *JUDGEMENTS, OPEN, CLOSE)
"""All that a student's tokenizer gets beside its own."""

_SUPPORT_WORTH = {FULL: 1.0, PARTIAL: 0.5, NONE: 0.0}
_UTILITY_WORTH = dict(zip(UTILITY, (-1.0, -0.5, 0.0, 0.5, 1.0), strict=True))
_TOKEN = re.compile("|".join(map(re.escape, TOKENS)))


def with_paragraph(passage: Passage, words: int) -> tuple[str, str, str]:
    """The pieces that retrieve a passage: decision and tag, its title and text, the closing tag."""
    return RETRIEVE + OPEN, f"{passage.title}\n{limit_words(passage.text, words)[0]}", CLOSE


def statement_of(text: str) -> str:
    """A segment's text without tokens."""
    return _TOKEN.sub(" ", text).strip()


def ends(text: str) -> bool:
    """Whether a text says how useful the whole is, which ends it."""
    return any(token in text for token in UTILITY)


def decided(completion: Completion, begun: bool) -> tuple[float, str]:
    """(P(retrieve), how to go on without) at a text's first token.

    At the first segment P(retrieve) = P(R) / (P(R) + P(No)), the authors' quotient (their script
    divides log-probabilities). Once a text has begun, P(R) / (P(R) + P(No) + P(Continue)): the
    authors have no threshold there. Where a model tells no probabilities, its text decides.
    """
    ways = (CONTINUE, NO_RETRIEVAL) if begun else (NO_RETRIEVAL,)
    p = _probabilities(completion.token_logprobs[:1], (RETRIEVE, *ways))
    total = sum(p.values())
    if not total:
        return float(completion.text.startswith(RETRIEVE)), ways[0]
    return p[RETRIEVE] / total, max(ways, key=lambda token: p[token])


def relevance(tokens: Sequence[TokenLogprob]) -> float:
    """s_rel = P(relevant) / (P(relevant) + P(irrelevant)) at the first token."""
    return _expected(tokens[:1], {RELEVANT: 1.0, IRRELEVANT: 0.0})


def support(tokens: Sequence[TokenLogprob]) -> float:
    """s_sup = (P(full) + ½ P(partial)) / Σ of the three, where the first of them was written."""
    return _expected(_first(tokens, _SUPPORT_WORTH), _SUPPORT_WORTH)


def utility(tokens: Sequence[TokenLogprob]) -> float:
    """s_use = Σ w_i P(i) / Σ P(i), w from −1 to 1, where the first of the five was written."""
    return _expected(_first(tokens, _UTILITY_WORTH), _UTILITY_WORTH)


def likelihood(tokens: Sequence[TokenLogprob]) -> float:
    """exp of the mean log-probability of a segment's tokens, up to the next decision."""
    own = [t.logprob for t in takewhile(lambda token: token.text not in DECISIONS, tokens)]
    return math.exp(sum(own) / len(own)) if own else 0.0


def _first(tokens: Sequence[TokenLogprob], names: Mapping[str, float]) -> list[TokenLogprob]:
    return [token for token in tokens if token.text in names][:1]


def _expected(tokens: Sequence[TokenLogprob], worth: Mapping[str, float]) -> float:
    """The expected worth under the probabilities of the named tokens there; 0 where unknown."""
    p = _probabilities(tokens, tuple(worth))
    total = sum(p.values())
    return sum(worth[name] * p[name] for name in worth) / total if total else 0.0


def _probabilities(tokens: Sequence[TokenLogprob], names: Sequence[str]) -> dict[str, float]:
    of = tokens[0].of if tokens else {}
    return {name: math.exp(of[name]) if name in of else 0.0 for name in names}
