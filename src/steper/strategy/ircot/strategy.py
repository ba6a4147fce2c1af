"""IRCoT: interleaved retrieval and chain of thought (Trivedi et al., ACL 2023).

Each step searches with the last sentence of the reasoning, then writes the next sentence. Details
follow the authors' code (StonyBrookNLP/ircot); each is a setting.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

import regex
from pydantic import Field, field_validator

from steper.gold.gold_plan import GoldPlan
from steper.lm.base import Request
from steper.records import StopReason
from steper.strategy.actions import Actions
from steper.strategy.base import ReadingSettings, StepEnd, Strategy
from steper.strategy.ircot.gold import next_sentence
from steper.strategy.ircot.queries import is_reasoning, without_wh_words
from steper.strategy.ircot.words import WORDS
from steper.strategy.loop import Loop
from steper.strategy.readers import READERS, chain_reader
from steper.strategy.reading import (
    plain,
    sentences_by_line,
    with_whole_titles,
    without_preamble,
)
from steper.strategy.stated_answer import ANSWER_PATTERN, is_heading, stated_answer
from steper.strategy.trace import Ending, Trace
from steper.text import bare, normalise_space, sentences

_BEGINS_A_NAME = re.compile(r"\d{1,2}|Mr|Mrs|Ms|Dr|St|Mt|Ft|Lt|Capt|Prof|Gen|Col|Sgt|Rev|Vol")
_NO = re.compile(r"\bno\.(?=\s+[^\W\d])", re.IGNORECASE)


class IRCoTSettings(ReadingSettings):
    """Settings of IRCoT; the defaults are StepER's (S = 5, K = 4).

    `keep` differs from IRCoT's `first_sentence` by default: chat models that saw demonstrations,
    and Vanilla-KD's students, begin the chain anew at each step. Their first sentence is then the
    one of step 1, and the loop would end at step 2 on a repeated query. With `first_new_sentence`
    they go on; a text that says nothing new still ends the loop. Where the first sentence is new
    the two are the same. A run and a student record their own `keep`, so earlier ones are replayed
    and asked as they were.
    """

    max_steps: int = Field(5, ge=1, description="steps at most (S)")
    query_sentences: Literal["last", "all"] = Field(
        "last", description="the reasoning that makes the next query"
    )
    keep: Literal["first_new_sentence", "first_sentence", "all"] = Field(
        "first_new_sentence",
        description="what is kept of a step's text: its first sentence that was not kept before, "
        "its first (IRCoT's), or all",
    )
    conclusions: Literal["skip", "previous"] = Field(
        "skip",
        description="after a sentence that only concludes (thus, so, …): no search, or once more "
        "with the sentence before (IRCoT's)",
    )
    answer_pattern: str = Field(
        ANSWER_PATTERN,
        description="regular expression that ends the loop; its group is the answer. The default, "
        "IRCoT's, is read with what chat models write (Answer: X, boxed answers); any other as is",
    )
    drop_wh_words: bool = Field(True, description="take who, what, when, … out of later queries")
    reader: Literal["none", "direct", "cot", "chain"] = Field(
        "none",
        description="none: the loop's answer (StepER); else a separate reader answers over all "
        "passages; chain: in the loop's own words, the whole chain anew (as Vanilla-KD trains)",
    )
    repeated_query: Literal["answer", "stop", "continue"] = Field(
        "answer", description="when a query comes again: answer now, give up, or go on without it"
    )
    force_answer: bool = Field(
        True, description="when a guard ends the loop, ask once more for the answer alone"
    )

    @field_validator("answer_pattern")
    @classmethod
    def _has_a_group(cls, value: str) -> str:
        try:
            groups = regex.compile(value).groups
        except regex.error as error:
            raise ValueError(f"not a regular expression ({error})") from None
        if groups != 1:
            raise ValueError(f"one group was expected, there are {groups}")
        return value


class IRCoT(Strategy[IRCoTSettings]):
    """One sentence of reasoning a step, each one the query of the next search."""

    name = "ircot"
    settings_type = IRCoTSettings
    words = WORDS

    def run(self, trace: Trace) -> Actions:
        """The loop; see `steper.strategy.base.Strategy`."""
        loop = self.loop(trace)
        ending = yield from self._reason(loop)
        if ending.reason is StopReason.CONTEXT_BUDGET:
            return ending
        if self.settings.reader != "none":
            return (yield from self._read(loop, ending))
        if self.settings.force_answer and self._may_force(ending.reason, loop):
            return (yield from loop.forced_answer(self.final_cue, ending.reason))
        return ending

    @property
    def step_end(self) -> StepEnd:
        """The student where all that it writes is kept."""
        return "model" if self.settings.keep == "all" else "cut"

    def gold_text(self, plan: GoldPlan, request: Request, look_ahead: bool) -> str:
        """A sentence a hop; see `gold`."""
        if request.role == "read":
            return super().gold_text(plan, request, look_ahead)
        return next_sentence(plan, request, look_ahead, self.final_cue)

    def _read(self, loop: Loop, ending: Ending) -> Actions:
        """A separate reader over all passages answers (IRCoT §4; its authors' QA step)."""
        name = self.settings.reader
        reader = chain_reader(self.words) if name == "chain" else READERS[name]
        limit = self.settings.reader_max_tokens
        completion = yield from loop.read(loop.trace.question, reader, max_tokens=limit)
        if completion is None:
            return Ending("", StopReason.CONTEXT_BUDGET)
        step = loop.keep(completion, completion.text)
        return reader.answer(step.rationale, ending.reason)

    def _may_force(self, reason: StopReason, loop: Loop) -> bool:
        if reason is StopReason.REPEATED_QUERY:
            return self.settings.repeated_query == "answer"
        return reason is StopReason.STEP_CAP or loop.left_blank(reason)

    def _reason(self, loop: Loop) -> Actions:
        query: str | None = loop.trace.question
        asked: set[str] = set()
        # One sentence is kept; a model that continues text would go on to the next question.
        stop = ("\n",) if self.form == "plain" else ("\n\n",)
        for _ in range(self.settings.max_steps):
            asked.add(normalise_space(query or ""))
            completion = yield from loop.step(query, stop)
            if completion is None:
                return Ending("", StopReason.CONTEXT_BUDGET)
            titles = [passage.title for passage in loop.gathered.all]
            sentence = self._kept(completion.text, loop.rationales, titles)
            told = sentence in loop.rationales or loop.said_again(completion, sentence)
            loop.keep(completion, sentence)
            if not sentence and not told:
                return Ending("", StopReason.EMPTY_GENERATION)
            answer = stated_answer(sentence, self.settings.answer_pattern)
            if answer is not None:
                reason = StopReason.ANSWERED if answer else StopReason.EMPTY_GENERATION
                return Ending(answer, reason)
            query = self._next_query(loop.rationales)
            new = query is None or is_reasoning(sentence) or normalise_space(query) not in asked
            if told or not new:
                query = None
                if self.settings.repeated_query != "continue":
                    return Ending("", StopReason.REPEATED_QUERY)
        return Ending("", StopReason.STEP_CAP)

    def _kept(self, text: str, rationales: list[str], titles: list[str]) -> str:
        """The step's part of a text; "" where all of what is written anew was said before."""
        keep, pattern = self.settings.keep, self.settings.answer_pattern
        if self.prompt.written_anew:
            text = new_sentences(text, rationales, pattern)
        if keep == "all" or not text:
            return text.strip()
        told = rationales if keep == "first_new_sentence" else ()
        return kept_sentence(text, pattern, told, titles)

    def _next_query(self, rationales: list[str]) -> str | None:
        """The next query, or None where there is nothing to search for.

        After a sentence that only concludes IRCoT searches again with the one before. That search
        was made already, so by default there is none.
        """
        said = [text for text in rationales if text]
        if self.settings.keep == "all":
            said = [sentence for text in said for sentence in sentences(text)]
        facts = [sentence for sentence in said if _is_fact(sentence)]
        if not facts or (not _is_fact(said[-1]) and self.settings.conclusions == "skip"):
            return None
        query = " ".join(facts) if self.settings.query_sentences == "all" else facts[-1]
        return (without_wh_words(query) if self.settings.drop_wh_words else query) or None


def _is_fact(sentence: str) -> bool:
    """Whether a sentence names something to search for; "Here is the next step:" does not."""
    return bool(without_preamble(sentence)) and not is_reasoning(sentence)


def new_sentences(text: str, told: Sequence[str], answer_pattern: str = ANSWER_PATTERN) -> str:
    """`text` without the sentences that stand in `told`; as it is where it repeats none."""
    own_pattern = answer_pattern if answer_pattern != ANSWER_PATTERN else ""
    before = {
        bare(sentence)
        for earlier in told
        for line in sentences_by_line(earlier, own_pattern)
        for sentence in line
    }
    lines = list(sentences_by_line(text, own_pattern))
    new = [[sentence for sentence in line if bare(sentence) not in before] for line in lines]
    if new == lines:
        return text
    return "\n".join(" ".join(line) for line in new if line)


def kept_sentence(
    text: str,
    answer_pattern: str = ANSWER_PATTERN,
    told: Sequence[str] = (),
    titles: Sequence[str] = (),
) -> str:
    """The first sentence of what a model wrote that is not among those `told`.

    List marks, bold marks and preambles ("Here is the next step:") are left out of it. Where all
    sentences were told it is the first one; where there is only a preamble, that. A line ends a
    sentence; "!" and "?" within one of the `titles` do not. One that states the answer goes on to
    the next full stop, for other titles hold them, too; where the answer begins on the next line,
    that line belongs to it.
    """
    own_pattern = answer_pattern if answer_pattern != ANSWER_PATTERN else ""
    lines = sentences_by_line(text, own_pattern)
    by_line = (with_whole_titles(line, titles) for line in lines)
    before = {bare(sentence) for sentence in told}
    first = ""
    for line in by_line:
        for at, sentence in enumerate(line):
            if bare(sentence) in before:
                first = first or sentence
                continue
            if is_heading(sentence) and not own_pattern and (below := next(by_line, [])):
                return " ".join((f"{sentence}:", *below))
            answer = stated_answer(sentence, answer_pattern)
            if answer is not None:
                rest = line[at + 1 :] or (next(by_line, []) if not answer else [])
                return _statement(sentence, rest, answer)
            return sentence
    return first or plain(text).partition("\n")[0].strip()


def _statement(sentence: str, rest: Sequence[str], answer: str) -> str:
    """The sentence that states the answer, with those of the `rest` that belong to it."""
    if answer.lower() == "no" and (found := _NO.search(sentence)):
        # The sentence splitter takes "No." for the abbreviation of number.
        return sentence[: found.end()]
    said = [sentence]
    # "2. Bundesliga", "Dr. No": the splitter takes what is short of a name for a sentence.
    goes_on = bool(_BEGINS_A_NAME.fullmatch(answer)) and len(rest[0].split() if rest else ()) < 3
    for more in rest:
        if answer and said[-1].endswith((".", "。")) and not (goes_on and len(said) == 1):
            break
        said.append(more)
        answer = answer or more
    return " ".join(said)
