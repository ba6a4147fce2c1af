"""A one-hop question and its answer as one statement.

"What is the name of the waterfall in Zimbabwe?" + "Victoria Falls" → "The name of the waterfall in
Zimbabwe is Victoria Falls." The questions are people's, so no grammar covers all of them: the rules
below are tried in order, and what none fits is told as `question: answer`, which always reads.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from steper.gold import verbs
from steper.gold.names import (
    bare,
    definite,
    lower_article,
    sentence,
    when,
    where,
    with_article,
)

BE = r"(?:is|was|are|were)"
WH = r"(?:who|whom|what|which|where|when|how)"
STRANDED = re.compile(
    r".*\b(in|of|from|for|by|to|on|with|at|near|into|as|about|under|after)$", re.I
)
_LOCAL = re.compile(
    r"(us |u\.s\. )?(state|city|town|country|county|region|area|place|village|district|province|"
    r"continent|location|territory|municipality|island)\b",
    re.I,
)
_INTRANSITIVE = re.compile(
    r"(live|die|premiere|start|begin|originate|play|perform|occur|happen|end|stop|reign|study|work|"
    r"settle|grow|emerge|appear|fall|arrive|debut|take place|reside|retire|train)$"
)
_TEMPORAL = re.compile(r"(year|month|day|date|century|decade|time)\b", re.I)

Rule = Callable[[str, str, Sequence[str]], "str | None"]


def statement(question: str, answer: str, names: Sequence[str] = ()) -> str:
    """One sentence that states the answer of a one-hop question.

    `names` are the strings in the question that are one name each: no rule cuts inside them.
    """
    text = re.sub(r"\s+('s\b|[?.,])", r"\1", question.strip()).rstrip("?. ").strip()
    answer = answer.strip()
    if re.match(r"[a-z]+ of ", text):
        text = f"the {text}"
    lead, text = _leading_clause(text)
    for rule in _RULES:
        told = rule(text, answer, names)
        if told is not None:
            return sentence(f"{lead}{told}")
    return sentence(f"{lead}{text}: {answer}")


def mended(question: str) -> str:
    """`When did X became Y` → `When did X become Y`."""
    found = re.match(rf"(.*\b{WH}\b.*?\bdid )(.+)$", question, re.I)
    parts = found and _split_verb(found[2], ())
    if not found or not parts or not verbs.is_past_only(parts[1]):
        return question
    subject, verb, rest = parts
    return f"{found[1]}{subject} {verbs.base_of(verb)} {rest}".rstrip()


def _leading_clause(text: str) -> tuple[str, str]:
    """`Besides Africa, where did …` → the clause with its comma, and the question."""
    found = re.match(rf"([^,]+(?:, [^,]+)*, )({WH} (?:{BE}|did|does|do)\b.+)$", text, re.I)
    if not found or re.match(rf"{WH}\b", text, re.I):
        return "", text
    return found[1], found[2]


def _inner(answer: str) -> str:
    """An answer in the middle or at the end of a sentence."""
    return definite(lower_article(answer))


def _trailing_wh(text: str, answer: str, _names: Sequence[str]) -> str | None:
    """`The director of Jump for Glory is who`, `X is the official sport of which US state`."""
    if re.match(rf"({WH}|(in|of|at|on|for) (what|which))\b", text, re.I):
        return None
    found = re.match(r"(.+) has (what|which) (\w+)$", text, re.I)
    if found:
        return f"{found[1]} has the {found[3]} {answer}"
    found = re.match(r"(.+?),? and which other(?: \w+)?$", text, re.I)
    if found:
        return f"{found[1]} and {answer}"
    found = re.match(r"(.+?) (?:(in|at|on) )?(?:which|what) \w+ of .+$", text, re.I)
    if found:
        carries = re.search(r"\b(in|at|on)\b", answer)
        return f"{found[1]} {answer if carries or not found[2] else f'{found[2]} {answer}'}"
    found = re.match(r"(.+?) (?:who|whom|where|(?:which|what)(?: [\w.]+){0,3})$", text, re.I)
    if found:
        return f"{found[1]} {_inner(answer)}"
    return f"{text} {_inner(answer)}" if STRANDED.match(text) else None


def _how_many(text: str, answer: str, names: Sequence[str]) -> str | None:
    found = re.match(r"how many (.+?) (?:are|were) (?:there )?(.+)$", text, re.I)
    if found:
        return f"there are {answer} {found[1]} {found[2]}"
    found = re.match(r"(?:how (?:many|much)|what amount of) (.+?) (did|does|do) (.+)$", text, re.I)
    if found:
        parts = _split_verb(found[3], names)
        amount = f"{answer} of {found[1]}" if "much" in text.lower() else f"{answer} {found[1]}"
        return parts and _clause(found[2], parts, f" {amount}", late=False)
    found = re.match(r"what (percentage|number|amount|share) (was|is|were|are) (.+)$", text, re.I)
    return found and f"the {found[1]} of {found[3]} {found[2]} {answer}"


def _would(text: str, answer: str, _names: Sequence[str]) -> str | None:
    """`Where in X would you find Y`."""
    found = re.match(r"where (?:w?in (.+?) )?(would|can|could) (\w+) (.+)$", text, re.I)
    if not found:
        return None
    lead = f"in {found[1]}, " if found[1] else ""
    return f"{lead}{found[3]} {found[2]} {found[4]} {where(answer)}"


def _last_time(text: str, answer: str, _names: Sequence[str]) -> str | None:
    found = re.match(rf"when ({BE}) (the (?:last|first|next) time .+)$", text, re.I)
    return found and f"{found[2]} {found[1]} {when(answer)}"


def _when_where_how(text: str, answer: str, names: Sequence[str]) -> str | None:
    """`When did X dissolve`, `Where is X located in Y`, `In what state did X die`."""
    found = re.match(
        rf"(?:(when|where|how)|(?:(in|at|on) )?(?:what|which) (\w+(?: \w+)?))"
        rf" ({BE}|did|does|do|will) (.+)$",
        text,
        re.I,
    )
    if not found:
        return None
    noun = found[3] or ""
    if not found[1] and not (_LOCAL.match(noun) or _TEMPORAL.match(noun) or found[2]):
        return None
    time = (found[1] or "").lower() == "when" or bool(_TEMPORAL.match(noun))
    place = where(answer) if (found[1] or "").lower() != "how" else answer
    tail = when(answer) if time else place
    auxiliary, rest = found[4].lower(), found[5]
    if STRANDED.match(rest) and not time:
        if auxiliary in ("is", "was", "are", "were"):
            return _stranded_be(auxiliary, rest, bare(answer))
        tail = _inner(bare(answer))
    if auxiliary in ("did", "does", "do"):
        return _did_where(
            auxiliary, rest, tail, names, free=bool(found[1] or found[2] or time), local=not time
        )
    if not found[1] and not found[2] and _subject_question(rest, names):
        return None
    if auxiliary == "will":
        found = re.match(r"(.+?) (be .+|\w+)$", rest)
        return found and f"{found[1]} will {found[2]} {tail}"
    return _be_clause(auxiliary, rest, tail, names)


def _did_where(
    auxiliary: str, rest: str, tail: str, names: Sequence[str], *, free: bool, local: bool
) -> str | None:
    """The clause of `where did X play in Y`; without `free`, X must not act on the place itself."""
    parts = _split_verb(rest, names)
    if parts is None or not (free or STRANDED.match(rest) or _INTRANSITIVE.match(parts[1])):
        return None
    subject, verb, after = parts
    if local and re.match(r"(in|on) ", after) and re.match(r"(in|on|at|near|off) ", tail):
        told = _clause(auxiliary, (subject, verb, ""), f" {tail}", late=True)
        return f"{after}, {told}"
    return _clause(auxiliary, parts, f" {_source(verb, tail)}", late=True)


def _source(verb: str, tail: str) -> str:
    """One gets something *from* a place."""
    return re.sub(r"^in ", "from ", tail) if verb.lower() == "get" else tail


def _stranded_be(be: str, rest: str, answer: str) -> str:
    found = re.match(
        r"(.+?) ((?:located|formed|born|based|found|held|set|part|from|in|\w+ed)\b.*)$", rest
    )
    if not found:
        return f"{rest} {be} {answer}"
    return f"{found[1]} {be} {found[2]} {with_article(answer)}"


def _be_clause(be: str, rest: str, tail: str, names: Sequence[str]) -> str | None:
    words = _words(rest, names)
    found = re.match(r"(.+?) (from) (.+)$", rest, re.I)
    if found and not any(verbs.is_participle(w) for w in words):
        return f"{found[1]} {be} from {re.sub('^in ', '', tail)} {found[3]}"
    at = next((i for i, w in enumerate(words) if i and verbs.is_participle(w)), None)
    if at is None:
        return f"{rest} {be} {tail}"
    subject, verb, rest = " ".join(words[:at]), words[at], " ".join(words[at + 1 :])
    if subject.endswith("ly") and (head := subject.rpartition(" ")[0]):
        subject, verb = head, f"{subject.rpartition(' ')[2]} {verb}"
    if verb in ("located", "found", "situated") and re.match(r"(in|on) ", rest):
        return f"{rest}, {subject} {be} {verb} {tail}"
    return f"{subject} {be} {verb} {rest} {tail}"


def _of_which(text: str, answer: str, _names: Sequence[str]) -> str | None:
    """`Of which country is X a citizen`, `In what institution do X have Y`."""
    found = re.match(
        rf"(of|from|for|by|to|in) (?:what|which) \w+ ({BE}) (.+?) (an? .+|part)$", text, re.I
    )
    if found:
        return f"{found[3]} {found[2]} {found[4]} {found[1].lower()} {with_article(answer)}"
    return None


def _who_is(text: str, answer: str, _names: Sequence[str]) -> str | None:
    found = re.match(rf"who ({BE}) (.+)$", text, re.I)
    if not found:
        return None
    if found[1].lower() in ("are", "were") and not re.search(r",| and ", answer):
        return f"{answer} {'is' if found[1].lower() == 'are' else 'was'} one of {found[2]}"
    return f"{answer} {found[1].lower()} {found[2]}"


def _what_is(text: str, answer: str, _names: Sequence[str]) -> str | None:
    found = re.match(rf"(?:what|which) ({BE}) (.+)$", text, re.I)
    return found and f"{found[2]} {found[1].lower()} {_inner(answer)}"


def _object_question(text: str, answer: str, names: Sequence[str]) -> str | None:
    """`What did X use as Y`, `What river does X turn into`, `Who did X play in Y`."""
    found = re.match(r"(?:who|whom|what|which)(?: (.+?))? (did|does|do) (.+)$", text, re.I)
    if found:
        parts = _split_verb(found[3], names)
        late = bool(STRANDED.match(found[3]))
        return parts and _clause(found[2], parts, f" {_inner(answer)}", late=late)
    found = re.match(rf"(?:what|which) (.+?) ({BE}) (.+)$", text, re.I)
    if found and not _subject_question(found[3], names):
        if STRANDED.match(found[3]):
            return _stranded_be(found[2].lower(), found[3], bare(answer))
        return _be_clause(found[2].lower(), found[3], _inner(answer), names)
    return None


def _subject_question(rest: str, names: Sequence[str]) -> bool:
    """Whether what follows `what NOUN is` is a predicate (`considered one of …`), no subject."""
    words = _words(rest, names)
    if not words or STRANDED.match(rest):
        return not words
    named = words[0][:1].isupper() or words[0].lower() in ("the", "a", "an") or words[0] in names
    return not (named and any(verbs.is_participle(w) for w in words[1:]))


def _subject(text: str, answer: str, names: Sequence[str]) -> str | None:
    """`Who wrote X`, `What company published X`, `What state is directly west of X`."""
    found = re.match(r"(who|what|which) (.+)$", text, re.I)
    if not found:
        return None
    words = _words(found[2], names)
    at = next((i for i, w in enumerate(words) if w not in names and verbs.is_finite(w)), None)
    if at is None:
        return f"{_inner(answer)} {found[2]}" if found[1].lower() == "who" else None
    noun, rest = " ".join(words[:at]), " ".join(words[at:])
    if re.match(r"(kind|type|sort)\b", noun):
        tense = "was" if verbs.is_past(words[at]) or words[at] in ("was", "were") else "is"
        return f"the {noun} that {rest} {tense} {_inner(answer)}"
    if re.match(r"(term|word|name|phrase)$", noun):
        return f"the {noun} {answer} {rest}"
    predicate = words[at + 1 :]
    noun_follows = predicate and not verbs.is_participle(predicate[0])
    if at == 1 and words[at] in ("is", "are") and noun_follows:
        return f"{answer} {words[at]} the {noun} {' '.join(predicate)}"
    return f"{_inner(answer)} {rest}"


def _words(text: str, names: Sequence[str]) -> list[str]:
    """The words of a text, each of `names` one word."""
    kept = sorted({n for n in names if n and n in text}, key=len, reverse=True)
    pattern = "|".join([*(re.escape(name) + r"(?:'s?)?" for name in kept), r"\S+"])
    return re.findall(pattern, text)


def _split_verb(rest: str, names: Sequence[str]) -> tuple[str, str, str] | None:
    """(subject, verb, remainder) of what follows did, does or do; None without a known verb."""
    words = _words(rest, names)
    for fits in (lambda w: verbs.is_base(w) or verbs.is_past_only(w), verbs.is_past):
        for at, word in enumerate(words):
            if at and word not in names and word.islower() and fits(word):
                return " ".join(words[:at]), word, " ".join(words[at + 1 :])
    return None


def _clause(auxiliary: str, parts: tuple[str, str, str], added: str, late: bool) -> str:
    """Subject, inflected verb, remainder, and the answer: at the end, or next to the verb.

    `late` answers come last, except before a clause (`when he died`).
    """
    subject, verb, rest = parts
    forms = {"did": verbs.past, "does": verbs.third, "do": str.lower}
    told = forms[auxiliary.lower()](verb)
    if auxiliary == "did" and verbs.is_past(verb):
        told = verb
    clause = re.match(r"(.*?)((?:\b(?:when|while|because|before|after)\b).*)$", rest)
    if late and clause:
        return f"{subject} {told} {clause[1]}{added.strip()} {clause[2]}"
    return (
        f"{subject} {told} {rest}{added}" if late or not rest else f"{subject} {told}{added} {rest}"
    )


_RULES: tuple[Rule, ...] = (
    _trailing_wh,
    _how_many,
    _last_time,
    _would,
    _of_which,
    _who_is,
    _what_is,
    _when_where_how,
    _object_question,
    _subject,
)
