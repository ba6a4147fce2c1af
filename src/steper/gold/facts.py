"""HotpotQA's supporting sentences as the steps of a rationale.

HotpotQA says which sentences support an answer, not how the question decomposes. What can be told
honestly is these sentences: one step a gold passage, the passage with the answer last. Where no
supporting sentence holds the answer (and it is not yes, no or one of the question's own names) the
sentences do not lead to it, and nothing is told; nor where a "sentence" is a mere fragment.
"""

from __future__ import annotations

import re
from html import unescape

from steper.gold.alignment import fold_to_words, without_qualifier
from steper.gold.hops import GoldHop, stem
from steper.gold.names import quoted, sentence
from steper.records import Passage, Question
from steper.text import sentences

_PRONOUN = re.compile(
    r"(He|She|It|They|His|Her|Its|Their|The|This|These|In|At|A|An|As|Both|During|After|Before)\b"
)


_ABOUT = re.compile(r"(He|She|It|They|His|Her|Its|Their|This|These)\b")


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
    if any(len(hop.statement.split()) < 4 for hop in hops):
        return ()
    answer = fold_to_words(question.answers[0]) if question.answers else ""
    if not _leads_to(answer, question, hops):
        return ()
    if question.type != "comparison":
        asked = fold_to_words(question.text)
        hops.sort(key=lambda hop: _rank(hop, answer, asked))
    return tuple(hops)


def _leads_to(answer: str, question: Question, hops: list[GoldHop]) -> bool:
    known = (
        f"{fold_to_words(question.text)} {' '.join(fold_to_words(hop.statement) for hop in hops)}"
    )
    return bool(answer) and (answer in ("yes", "no") or f" {answer} " in f" {known} ")


def _rank(hop: GoldHop, answer: str, asked: str) -> tuple[bool, bool]:
    """Passages with the answer last, those that the question names first."""
    title = fold_to_words(without_qualifier(hop.passage.title)) if hop.passage else ""
    return f" {answer} " in f" {fold_to_words(hop.statement)} ", title not in asked


def _hop(passage: Passage, facts: list[str]) -> GoldHop:
    title = quoted(without_qualifier(unescape(passage.title)))
    parts = [part for fact in facts for part in sentences(_name(clean(fact), title))]
    text = parts[0]
    for part in parts[1:]:
        # A title with its own mark, "Pick Me Up! is …", would end the sentence later too.
        text = (
            f"{text.rstrip('!?')} {part}"
            if part[:1].islower()
            else f"{stem(text)}; {_lowered(part)}"
        )
    named = fold_to_words(title) in fold_to_words(text) or _long_words(title) & _long_words(text)
    if _ABOUT.match(text) or not named:
        text = f"About {title}: {_lowered(text)}"
    return GoldHop(statement=sentence(text), question="", answer="", passage=passage)


def _name(text: str, title: str) -> str:
    """`text` with the title in the quotation marks that it needs."""
    return (
        text.replace(title.strip('"'), title)
        if title.startswith('"') and title not in text
        else text
    )


def _long_words(text: str) -> set[str]:
    return {word for word in fold_to_words(text).split() if len(word) > 3 or word.isdigit()}


def _lowered(text: str) -> str:
    return text[:1].lower() + text[1:] if _PRONOUN.match(text) else text


def clean(fact: str) -> str:
    """A Wikipedia sentence without the debris of its markup: `( ; born 1970)` → `(born 1970)`."""
    fact = unescape(fact)
    fact = re.sub(r"\{'1':.*?\}\s*", "", fact)
    fact = re.sub(r"\(\s*[\]\[;,:\s]+", "(", fact)
    fact = re.sub(r"\(\s*\)\s*", "", fact)
    fact = re.sub(r'"(\w)\."', r'"\1"', fact)
    return re.sub(r"\s+", " ", fact).strip()
