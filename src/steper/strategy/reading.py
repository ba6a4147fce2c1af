r"""What models write around what they mean: list marks, bold marks, "Sure! Here is …:", `\boxed{}`.

In: a text as a model wrote it, or what follows "the answer is:" in it. Out: the same without what
only wraps it. Pure functions, each linear in the length of the text: patterns hold no run without
a bound, or begin at a fixed place.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

import regex

from steper.errors import ModelError
from steper.text import sentences, strip_full_stop

PATTERN_SECONDS = 1.0
"""How long a user's regular expression may search one text, in which ours take milliseconds."""

# "1. FC Köln" and its like are names; "1.Ann Lee was" has a mark, "1.FC" has none.
_MARK = re.compile(
    r"(?:\d{1,2}[.)](?:\s(?!(?:F?FC|FSV)\b)|(?=[A-Z][a-z])|\Z)"
    r"|\(\d{1,2}\)(?:\s|(?=[A-Z]))|\d{1,2}[．、]|[a-h]\)\s|"
    r"[-*•–—]\s|#{1,6}\s|>+)\s*"
)

# Titles begin with "Here is" and "Let's", too: hence a word like "step", and verbs in lower case.
_PREAMBLE = re.compile(
    r"(?:"
    r"(?i:sure|certainly|of course|okay|ok|alright|absolutely|understood|got it)"
    r"(?i: thing)?(?:[!.]|,(?=\s{1,3}(?i:here|let|I\b|we\b|based)))(?=\s|$)"
    r"|(?i:(?:based on|according to|using) [^\n:.,]{1,80},\s{1,3}(?=here))"
    r"|(?i:here(?:'s|’s| is| are) [^\n:：.]{0,80}?\b(?:step|sentence|fact|answer|reasoning|question"
    r"|information|response|follow-up|thought|continuation|solution|explanation|statement)s?\b"
    r"[^\n:：.]{0,60}(?:[:：]|\.(?=\s|$)))"
    r"|(?i:(?:step|sentence|fact|thought)\s\d{1,2}\s?[:：.)](?=\s|$))"
    r"|(?i:(?:(?:the )?(?:next|new|first)\s)?(?:step|sentence|fact)(?: is| would be)?\s?[:：])"
    r"|(?i:(?:reasoning|thought|rationale|assistant|response|A)\s?[:：])"
    r"|[Ll]et(?:'s|’s| us| me) (?:think|see|begin|start|look|analy[sz]e|find|continue|reason|figure"
    r"|consider|check|solve|proceed|break|work|take|go)\b[^\n.!:]{0,120}[.!:](?=\s|$)"
    r")\s*"
)

_LATEX = re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf|mbox)\{(.*)\}\Z", re.DOTALL)
_BRACE = re.compile(r"[{}]")
_ESCAPED = re.compile(r"\\([&%$#_])")

# Lower case on purpose: "Unknown" and "Not Without My Daughter" are titles.
_NO_ANSWER = re.compile(
    r"(?:(?:I['’]m |I am )?[Ss]orry,? (?:but )?|[Uu]nfortunately,? )?"
    r"(?:(?:[Ss]o,? )?[Tt]he (?:\w{1,20} )?answer (?:to (?:this|the) question )?(?:is )?)?"
    r"(?:[Ii]t['’]s |(?:[Ii]t|[Tt]his|(?:[Tt]he |[Tt]his )?[Ii]nformation) (?:is )?)?"
    r"(?:(?:still|currently|therefore) )?"
    r"(?:(?:[Ii]nformation )?[Nn]ot (?:yet )?(?:(?:explicitly|directly|clearly|specifically) )?"
    r"(?:available|known|stated|given|provided|mentioned|found|specified|clear|certain|determined"
    r"|applicable|possible|present|included|contained|listed|enough|sufficient|answerable"
    r"|in (?:any of )?(?:the|these) (?:given |provided )?(?:passages?|texts?|context|documents?))\b"
    r"|(?:[Cc]annot|[Cc]an not|[Cc]an't|[Cc]ould not) be \w"
    r"|(?:[Cc]annot|[Cc]an't) (?:determine|answer|say|tell|know|find)\b"
    r"|(?:[Ii]mpossible|[Uu]nable) to [a-z]"
    r"|none\W*\Z|[Nn]o one knows\b"
    r"|(?:unknown|unclear|unavailable|undetermined|uncertain)"
    r"(?=\W*\Z|[.,;]|\s(?:from|in the|based|as|because|since|to|without|given|due)\b)"
    r"|[Nn]/[Aa]\W*\Z"
    r"|[Nn]o (?:information|mention|evidence|answer|passage)\b"
    r"|[Ii]nsufficient (?:information|evidence)\b"
    r"|[Nn]one of the (?:given |provided )?(?:passages|documents|texts)\b"
    r"|[Tt]here (?:is|was) (?:no|not|insufficient) (?:enough |sufficient )?"
    r"(?:information|mention|evidence)\b"
    r"|[Tt]he (?:given |provided )?(?:passages?|context|text|information|documents?)"
    r" (?:do(?:es)? not|don['’]t|doesn['’]t|is not|are not|cannot)\b"
    r"|(?:I|[Ww]e)(?: do not| don['’]t| cannot| can['’]t| could not| couldn['’]t| am not| am unable"
    r"|['’]m not|['’]m unable)\b"
    r"|(?i:follow[- ]?up(?: question)?(?: \d{1,2})?\s?[:：]))"
)

# "No, No, Nanette" and "Yes, the River Knows" are titles.
_YES_OR_NO = re.compile(
    r"(?i:yes|no)(?:[.!](?=\s+[^\W\d])|(?=;\s)"
    r"|(?=(?:,|\s[-–—])\s"
    r"(?:both|they|neither|because|since|(?:he|she|it) (?:is|was|has|did|does))\b))"
)


_TAGS = re.compile(r"</?(?:b|strong|i|em)>", re.IGNORECASE)
# What may stand between "the answer is" and the answer; titles begin with a capital.
_LEAD = re.compile(
    r"[,;:\s]{0,9}(?:(?:therefore|thus|hence|then|likely|most likely|very likely|probably|clearly"
    r"|indeed|simply|apparently)(?:,\s{1,3}|\s{1,3})){0,2}(?:\(?\d{1,2}\)\s{1,3})?"
)


def after_thoughts(text: str) -> str:
    """`text` after a closed `<think>` block, which runs of before `lm.thinking` have."""
    return text.rpartition("</think>")[2]


def plain(text: str) -> str:
    """`text` without white space around it, marks of emphasis and closed `<think>` blocks."""
    text = after_thoughts(text).replace("**", "").replace("__", "")
    return _TAGS.sub("", text).strip()


def says_something(text: str) -> bool:
    """Whether there is a letter or a digit."""
    return any(c.isalnum() for c in text)


def without_preamble(text: str, marks: bool = True) -> str:
    """`text` without what models write first: "Sure!", "Here is the next step:", "Step 2:".

    With `marks` also without list marks. "" where that is all there was.
    """
    at, text = 0, text.strip()
    while True:
        found = _PREAMBLE.match(text, at) or (_MARK.match(text, at) if marks else None)
        if found is None:
            break
        at = found.end()
    rest = text[at:]
    return rest if says_something(rest) else ""


def search_within(pattern: str, text: str) -> regex.Match[str] | None:
    """What a user's regular expression finds; ModelError where it takes longer than a second.

    Patterns such as `(a+)+:` take time exponential in the text, and all questions wait meanwhile.
    """
    try:
        return regex.search(pattern, text, timeout=PATTERN_SECONDS)
    except TimeoutError:
        raise ModelError(
            f"answer_pattern {pattern!r} searched {text[:40]!r}… ({len(text):,} characters) for "
            f"more than {PATTERN_SECONDS:g} s; nested repeats such as (a+)+ take that long"
        ) from None


def sentences_by_line(text: str, as_written: str = "") -> Iterator[list[str]]:
    """The sentences of each line that says something, without marks and preambles.

    Lines that the regular expression `as_written` finds are left as they are.
    """
    known: dict[str, list[str]] = {}
    for line in after_thoughts(text).splitlines():
        # A model that is stuck writes the same line hundreds of times.
        if line not in known:
            as_it_is = as_written and search_within(as_written, line)
            bare = line.strip() if as_it_is else without_preamble(plain(line))
            known[line] = sentences(bare)
        if known[line]:
            yield known[line]


def with_whole_titles(said: Iterable[str], titles: Sequence[str]) -> list[str]:
    """Sentences, joined where a title ("Beware! The Blob") was taken for the end of one."""
    joined: list[str] = []
    for sentence in said:
        if joined and joined[-1].endswith(("!", "?")) and _in_title(joined[-1], sentence, titles):
            joined[-1] += f" {sentence}"
        else:
            joined.append(sentence)
    return joined


def without_question(sentence: str) -> str:
    """A sentence without the clause of it that asks ("X is Y; next, who is Z?")."""
    if not sentence.rstrip('"”').endswith("?"):
        return sentence
    return sentence.rpartition("; ")[0]


def _in_title(before: str, after: str, titles: Sequence[str]) -> bool:
    """Whether one of the titles begins in the first text and ends in the second."""
    names = [title.partition(" (")[0].lower() for title in titles]
    longest = max(map(len, names), default=0)
    # No title reaches further than its length, and all that was written may be one long line.
    before, after = before[-longest:].lower(), after[:longest].lower()
    text, end = f"{before} {after}", len(before)
    for name in names:
        start = text.rfind(name, max(0, end - len(name)), end + len(name))
        if 0 <= start < end < start + len(name):
            return True
    return False


def first_line(text: str) -> str:
    """The first line that is more than a preamble, without one; "" where there is none."""
    lines = (without_preamble(line, marks=False) for line in plain(text).splitlines())
    return next((line for line in lines if line), "")


def clean_answer(value: str) -> str:
    r"""An answer without marks, `\boxed{}`, `<answer>`, closing full stop and further sentences.

    "" where it says that there is no answer.
    """
    value = without_preamble(_unboxed(value), marks=False).removeprefix("- ").removeprefix("> ")
    value = _untagged(value)
    if (lead := _LEAD.match(value)) and says_something(value[lead.end() :]):
        value = value[lead.end() :]
    value = _first_sentence(value)
    # A mark may stand within the full stop or after it.
    value = _without_stop(_without_marks(_without_stop(value)))
    return "" if _NO_ANSWER.match(value) or not says_something(value) else value


def is_boxed(text: str) -> bool:
    r"""Whether a text holds a `\boxed{…}`."""
    return r"\boxed{" in text


def _unboxed(text: str) -> str:
    r"""What the last `\boxed{…}` holds; the text itself where there is none."""
    _, box, rest = text.rpartition(r"\boxed{")
    if not box:
        return text
    depth = 1
    for brace in _BRACE.finditer(rest):
        depth += 1 if brace.group() == "{" else -1
        if not depth:
            rest = rest[: brace.start()]
            break
    for _ in range(3):
        if found := _LATEX.match(rest.strip()):
            rest = found.group(1)
    return _ESCAPED.sub(r"\1", rest)


def _untagged(text: str) -> str:
    """Without `<answer>` tags, and without the brackets of `<Paris>`: the instruction has them."""
    text = text.strip().removeprefix("<answer>").partition("</answer>")[0].strip()
    inner = text.rstrip(".")
    if inner.startswith("<") and inner.endswith(">") and not set("<>") & set(inner[1:-1]):
        return inner[1:-1]
    return text


def _first_sentence(text: str) -> str:
    """Up to the first full stop after which another sentence begins; titles hold "?" and "!"."""
    if found := _YES_OR_NO.match(text):
        return text[: found.end()]
    said = sentences(text)
    for end, sentence in enumerate(said[:-1], start=1):
        # "D.C. United" is no second sentence, and "..." no first one: a song's title begins so.
        if (
            sentence.endswith((".", "。"))
            and len(said[end].split()) >= 3
            and says_something(said[0])
        ):
            return " ".join(said[:end])
    return text


def _without_marks(text: str) -> str:
    """Without emphasis around the whole; a single mark within stays ("M*A*S*H")."""
    text = text.strip("* ")
    for mark in ("`", "_", "“”", "$"):
        inner = text.removeprefix(mark[0]).removesuffix(mark[-1])
        if len(text) > 2 and len(inner) == len(text) - 2:
            text = inner.strip()
    return text


def _without_stop(text: str) -> str:
    text = strip_full_stop(text)
    return text[:-1].rstrip() if text.endswith(("。", "．")) else text
