"""A question's gold annotation as hops that can be told: statement, sub-question, passage.

Two kinds of annotation are read: MuSiQue's decompositions (questions with `#1` references, or
`subject >> relation`) and 2Wiki's triples. References are resolved to the answers of earlier hops.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from rapidfuzz import fuzz

from steper.gold.alignment import fold_to_words, without_qualifier
from steper.gold.casing import restore_case, typed_in_lower_case
from steper.gold.comparison import country_clause, date_clause
from steper.gold.names import balanced, bare, definite, sentence
from steper.gold.relations import relations
from steper.gold.statements import STRANDED, WH, mended, statement
from steper.gold.triples import triple_question, triple_statement
from steper.records import Hop, Passage, Question

_REFERENCE = re.compile(r"(?P<before>.?\s?)#(?P<hop>\d+)")


@dataclass(frozen=True, slots=True)
class GoldHop:
    """One hop in words.

    `needs` are the positions of the hops whose answers it speaks of; `conclusion` is what its
    sentence ends on when it is the last to be told of a comparison.
    """

    statement: str
    question: str
    answer: str
    passage: Passage | None
    needs: frozenset[int] = field(default_factory=frozenset)
    conclusion: str = ""

    def sentence(self, *, last: bool) -> str:
        """The statement, with the conclusion when it is the last."""
        if not last or not self.conclusion:
            return self.statement
        return sentence(f"{stem(self.statement)}{self.conclusion}")


def stem(text: str) -> str:
    """A sentence without its full stop; that of an abbreviation (`U.S.`) stays."""
    return text if re.search(r"\b\w\.\w\.$|\b(Jr|Sr|Inc|Ltd|Co)\.$", text) else text.rstrip(".")


def gold_hops(question: Question) -> tuple[GoldHop, ...]:
    """The hops of a question, in the annotation's order; none where it has no such annotation."""
    hops = question.decomposition
    if not hops or any(not hop.answer for hop in hops):
        return ()
    if all(hop.subject is not None and hop.relation is not None for hop in hops):
        return _triple_hops(question)
    if all(hop.question is not None or hop.relation is not None for hop in hops):
        return _question_hops(question)
    return ()


def _passage(question: Question, hop: Hop) -> Passage | None:
    return next((p for p in question.gold if p.id == hop.passage_id), None)


def _triple_hops(question: Question) -> tuple[GoldHop, ...]:
    """2Wiki: a hop needs an earlier one whose answer is its subject."""
    hops = question.decomposition
    parents = [_parent(hops, position, question) for position in range(len(hops))]
    subjects = [
        _subject(question, hop, None if parent is None else hops[parent].answer)
        for hop, parent in zip(hops, parents, strict=True)
    ]
    return tuple(
        GoldHop(
            statement=triple_statement(
                subject, hop.relation or "", hop.answer, _relation(hops, parent)
            ),
            question=triple_question(
                subject, hop.relation or "", _relation(hops, parent), hop.answer
            ),
            answer=hop.answer,
            passage=_passage(question, hop),
            needs=frozenset(() if parent is None else (parent,)),
            conclusion=_conclusion(question, position, subjects),
        )
        for position, (hop, parent, subject) in enumerate(zip(hops, parents, subjects, strict=True))
    )


def _relation(hops: Sequence[Hop], position: int | None) -> str:
    return "" if position is None else hops[position].relation or ""


def _parent(hops: Sequence[Hop], position: int, question: Question) -> int | None:
    """The earlier hop that this one builds on: its answer is the subject here, or nearly so."""
    own = fold_to_words(without_qualifier(hops[position].subject or ""))
    likeness = [
        fuzz.token_set_ratio(own, fold_to_words(without_qualifier(hop.answer)))
        for hop in hops[:position]
    ]
    if likeness and max(likeness) >= 80:
        return likeness.index(max(likeness))
    if question.type in ("compositional", "inference") and position:
        return position - 1
    if question.type == "bridge_comparison" and position >= 2:
        return position - 2
    return None


def _subject(question: Question, hop: Hop, parent_answer: str | None) -> str:
    """The subject as the reader knows it: from the hop before, or from the question's words.

    Wikidata's label may be another name ("Abuso di potere"), a fragment of a sentence, or shorter
    than the name told before ("Kanye").
    """
    subject = without_qualifier(hop.subject or "")
    passage = _passage(question, hop)
    title = without_qualifier(passage.title) if passage else subject
    if parent_answer is not None:
        parent = without_qualifier(parent_answer)
        if fold_to_words(parent) == fold_to_words(subject) or set(
            fold_to_words(subject).split()
        ) <= set(fold_to_words(parent).split()):
            return parent
        return f"{parent} ({subject})"
    asked = fold_to_words(question.text)
    if balanced(subject) and fold_to_words(subject) in asked:
        return subject
    return title if fold_to_words(title) in asked or not balanced(subject) else subject


def _conclusion(question: Question, position: int, subjects: Sequence[str]) -> str:
    """How this hop's sentence ends if it is the last one told of a comparison."""
    hops = question.decomposition
    if question.type not in ("comparison", "bridge_comparison") or len(hops) % 2:
        return ""
    half = len(hops) // 2 if question.type == "bridge_comparison" else 0
    group = range(half, len(hops))
    others = [i for i in group if i != position and hops[i].relation == hops[position].relation]
    if position < half or len(others) != 1:
        return ""
    other = others[0]
    relation = hops[position].relation or ""
    if relation in relations().dates:
        return date_clause(hops[position].answer, hops[other].answer, subjects[other])
    if relation.startswith("country"):
        answer = question.answers[0] if question.answers else ""
        return country_clause(answer, relation, bridge=half > 0)
    return ""


def _question_hops(question: Question) -> tuple[GoldHop, ...]:
    """MuSiQue (and generic): a hop needs those that its question refers to."""
    told: list[GoldHop] = []
    titles = [p.title for p in question.gold]
    texts = [question.text, *(f"{p.title}. {p.text}" for p in question.gold)]
    for hop in question.decomposition:
        text = hop.question or f"{hop.subject} >> {hop.relation}"
        needs = frozenset(int(m["hop"]) - 1 for m in _REFERENCE.finditer(text))
        if any(not 0 <= k < len(told) for k in needs):
            return ()
        passage = _passage(question, hop)
        relations = [_own_relation(question.decomposition[k]) for k in sorted(needs)]
        if " >> " not in text and typed_in_lower_case(text):
            text = restore_case(text, titles, texts)
        own, asked = _words(text, hop.answer, told, relations[0] if relations else "")
        told.append(GoldHop(own, asked, hop.answer, passage, needs))
    return tuple(told)


def _own_relation(hop: Hop) -> str:
    if hop.relation:
        return hop.relation
    return (hop.question or "").partition(" >> ")[2].strip()


def _words(text: str, answer: str, told: Sequence[GoldHop], previous: str) -> tuple[str, str]:
    """(statement, question) of one hop."""
    subject, arrow, relation = (part.strip() for part in text.partition(" >> "))
    if arrow:
        previous = previous if re.fullmatch(r"#\d+", subject) else ""
        subject, _ = resolve(subject, told)
        return (
            triple_statement(subject, relation, answer, previous),
            triple_question(subject, relation, previous, answer),
        )
    resolved, names = resolve(text, told)
    return statement(resolved, answer, names), _asked(resolved)


def resolve(text: str, told: Sequence[GoldHop]) -> tuple[str, list[str]]:
    """`text` with its references replaced by earlier answers, and these as they stand in it."""
    names: list[str] = []

    def name(found: re.Match[str]) -> str:
        answer = bare(told[int(found["hop"]) - 1].answer)
        # In a list of names (`Midway, #2, #1`) and in brackets an article would be odd.
        alone = found["before"][:1] in (",", "(") or (
            not found["before"] and not found.end() < len(text)
        )
        names.append(answer if alone else definite(answer))
        return f"{found['before']}{names[-1]}"

    text = re.sub(r"\s+\)", ")", _REFERENCE.sub(name, text))
    if re.match(r"The ", text) and any(text[4:].startswith(n) and definite(n) == n for n in names):
        text = text[4:]
    return text, names


def _asked(resolved: str) -> str:
    """The resolved question with a capital, its own spaces and one question mark."""
    text = resolved.strip().rstrip("?. ").strip()
    if not re.search(rf"\b{WH}\b", text, re.I) and STRANDED.match(text):
        text = f"{text} what"
    text = re.sub(r"^((?:what|which) \w+ is .+ located)$", r"\1 in", text, flags=re.I)
    return sentence(f"{mended(text)}?")
