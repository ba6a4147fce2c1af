"""HotpotQA's supporting sentences as the steps of a rationale.

HotpotQA says which sentences support an answer, not how the question decomposes. What can be told
honestly is these sentences: one step a gold passage, the passage with the answer last. Where no
supporting sentence holds the answer (and it is not yes, no or one of the question's own names) the
sentences do not lead to it, and nothing is told.
"""

from __future__ import annotations

import re

from steper.data.annotations.alignment import fold, without_qualifier
from steper.data.annotations.hops import GoldHop, stem
from steper.data.annotations.names import sentence
from steper.records import Passage, Question

_PRONOUN = re.compile(
    r"(He|She|It|They|His|Her|Its|Their|The|This|These|In|At|A|An|As|Both|During|After|Before)\b"
)


def fact_hops(question: Question) -> tuple[GoldHop, ...]:
    """One hop a gold passage, of its supporting sentences; none where they lack the answer."""
    facts = question.decomposition
    if not facts or not all(hop.fact and hop.passage_id for hop in facts):
        return ()
    passages = {p.id: p for p in question.gold}
    grouped: dict[str, list[str]] = {}
    for hop in facts:
        sentences = grouped.setdefault(hop.passage_id or "", [])
        if hop.fact and hop.fact not in sentences:
            sentences.append(hop.fact)
    hops = [_hop(passages[own], sentences) for own, sentences in grouped.items()]
    answer = fold(question.answers[0]) if question.answers else ""
    if not _leads_to(answer, question, hops):
        return ()
    if question.type != "comparison":
        asked = fold(question.text)
        hops.sort(key=lambda hop: _rank(hop, answer, asked))
    return tuple(hops)


def _leads_to(answer: str, question: Question, hops: list[GoldHop]) -> bool:
    known = f"{fold(question.text)} {' '.join(fold(hop.statement) for hop in hops)}"
    return bool(answer) and (answer in ("yes", "no") or f" {answer} " in f" {known} ")


def _rank(hop: GoldHop, answer: str, asked: str) -> tuple[bool, bool]:
    """Passages with the answer last, those that the question names first."""
    title = fold(without_qualifier(hop.passage.title)) if hop.passage else ""
    return f" {answer} " in f" {fold(hop.statement)} ", title not in asked


def _hop(passage: Passage, facts: list[str]) -> GoldHop:
    parts = [clean(fact) for fact in facts]
    text = parts[0]
    for part in parts[1:]:
        text = f"{text} {part}" if part[:1].islower() else f"{stem(text)}; {_lowered(part)}"
    title = without_qualifier(passage.title)
    if not set(fold(title).split()) & set(fold(text).split()):
        text = f"About {title}: {_lowered(text)}"
    return GoldHop(statement=sentence(text), question="", answer="", passage=passage)


def _lowered(text: str) -> str:
    return text[:1].lower() + text[1:] if _PRONOUN.match(text) else text


def clean(fact: str) -> str:
    """A Wikipedia sentence without the debris of its markup: `( ; born 1970)` → `(born 1970)`."""
    fact = re.sub(r"\{'1':.*?\}\s*", "", fact)
    fact = re.sub(r"\(\s*[\]\[;,:\s]+", "(", fact)
    fact = re.sub(r"\(\s*\)\s*", "", fact)
    return re.sub(r"\s+", " ", fact).strip()
