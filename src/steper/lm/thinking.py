"""What a model thinks before it speaks, taken off before anything else reads its text.

`<think>…</think>` (Qwen3, DeepSeek-R1) and the like of other models (`BLOCKS`), and the channels
of gpt-oss, of which only `final` is said. In: all that a model wrote. Out: what it says, up to the
first stop string, and what it thought, which the record keeps. A stop string inside of thoughts is
none. A block without an end is a generation that was cut off: nothing was said.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from steper.lm.base import Completion, Request, TokenLogprob, leads_up, truncate_at_stop
from steper.records import Finish, Usage

log = logging.getLogger(__name__)

CHARACTERS_PER_TOKEN = 32
"""Texts of more characters a token are cut; English has about 4, few tokens have 16."""

BLOCKS = {
    "<think>": "</think>",
    "[THINK]": "[/THINK]",  # Magistral
    "<thinking>": "</thinking>",
    "<thought>": "</thought>",
    "<reasoning>": "</reasoning>",
    "<seed:think>": "</seed:think>",  # Seed-OSS
    "◁think▷": "◁/think▷",  # Kimi-VL
    "<|START_THINKING|>": "<|END_THINKING|>",  # Command A
}
"""How blocks of thoughts begin and end."""
OPENING, CLOSING = tuple(BLOCKS), tuple(BLOCKS.values())
CHANNEL = "<|channel|>"
CHANNEL_MARKS = (CHANNEL, "<|start|>", "<|message|>", "<|end|>", "<|constrain|>", "<|call|>")
"""Special tokens of gpt-oss ("harmony"): `<|channel|>analysis<|message|>…<|end|><|start|>assistant`
`<|channel|>final<|message|>…`."""

_OPEN = re.compile("|".join(map(re.escape, OPENING)))
_LEADING_OPEN = re.compile(rf"\s*(?:{_OPEN.pattern})")
_CLOSE = re.compile(rf"(?:{'|'.join(map(re.escape, CLOSING))})\s*")
# Command A writes these around what it says.
_RESPONSE = re.compile(r"<\|(?:START|END)_RESPONSE\|>")
_HEADER = re.compile(
    r"<\|channel\|>(?P<channel>\w{1,40})[^<]{0,80}(?:<\|constrain\|>[^<]{0,80})?<\|message\|>"
)
_END = re.compile(r"<\|(?:end|return|call|start|channel)\|>")
# What is left of the channels where a server drops special tokens: "analysisWe need …".
_BARE = re.compile(r"\s*analysis(?=[A-Z\"'“‘(\[*<\d])")
_BARE_FINAL = "assistantfinal"


@dataclass(frozen=True, slots=True)
class Spoken:
    """A text taken apart.

    `text` is what is said, up to the first stop string, `stopped` whether there was one;
    `unfinished`: the text ends inside of thoughts.
    """

    text: str
    thoughts: str = ""
    unfinished: bool = False
    stopped: bool = False

    def completion(
        self,
        usage: Usage,
        finish: Finish = "stop",
        thoughts: str = "",
        token_logprobs: Sequence[TokenLogprob] = (),
    ) -> Completion:
        """The completion of the text.

        `finish` is why the model ended, where neither a stop string nor thoughts without an end
        tell it; `thoughts` are more of them, which a server gave apart from the text.
        """
        if self.unfinished or self.stopped:
            finish = "length" if self.unfinished else "stop"
        both = "\n\n".join(t for t in (thoughts.strip(), self.thoughts) if t)
        return Completion(
            text=self.text,
            finish=finish,
            usage=usage,
            thoughts=both,
            token_logprobs=tuple(token_logprobs),
        )


def spoken(
    written: str, stop: Sequence[str] = (), begun: bool = False, may_lead_up: bool = False
) -> Spoken:
    """What is said and what is thought in all that a model wrote.

    `begun`: the prompt opened a block of thoughts, as DeepSeek-R1's template does. Where that is
    not known, a `</think>` that nothing opened tells it. `may_lead_up`: see `truncate_at_stop`.
    """
    thoughts, said, unfinished = _channels(written) or _leading_blocks(written, begun)
    text, stopped = truncate_at_stop(_RESPONSE.sub("", said), stop, may_lead_up)
    for closed in list(_CLOSE.finditer(text))[-1:]:
        thoughts.append(text[: closed.start()])
        text = text[closed.end() :]
    if opened := _OPEN.search(text):
        thoughts.append(text[opened.end() :])
        text, unfinished = text[: opened.start()].rstrip(), True
    kept = [thought.strip() for thought in thoughts]
    return Spoken(text, "\n\n".join(t for t in kept if t), unfinished, stopped)


def in_words(request: Request, written: str) -> Completion:
    """The completion of a text whose tokens nobody counted: white-space separated words do."""
    found = spoken(written, request.stop, may_lead_up=request.may_lead_up)
    prompt, *out = (len(t.split()) for t in (request.prompt.text(), found.text, found.thoughts))
    return found.completion(Usage(prompt_tokens=prompt, completion_tokens=sum(out)))


def without_thoughts(completion: Completion) -> Completion:
    """A completion as it is, but for thoughts that stand in its text."""
    found = spoken(completion.text)
    if found.text == completion.text:
        return completion
    return found.completion(
        completion.usage, completion.finish, completion.thoughts, completion.token_logprobs
    )


def limited(completion: Completion, max_tokens: int) -> Completion:
    """A completion whose text is cut where it is far longer than `max_tokens` can be.

    Servers may ignore the limit; whoever reads what they send would keep all questions waiting.
    """
    longest = CHARACTERS_PER_TOKEN * max_tokens
    if len(completion.text) <= longest:
        return completion
    log.warning(
        "the model does not heed max_tokens, %d: a text of %d characters was cut to %d",
        max_tokens,
        len(completion.text),
        longest,
    )
    return completion.model_copy(update={"text": completion.text[:longest], "finish": "length"})


class StopGuard:
    """Whether a server may be sent stop strings: not if its model thinks, as its answers show.

    Servers look for them in thoughts, too, and where a template opens the block and the server
    takes nothing apart (vLLM's default) thoughts that were cut off look like an answer. So none
    are sent until an answer has ended by itself without a thought; the text is cut here anyway.

    `transformers serve` also finds a stop string that begins in the prompt: a line break and
    "Intermediate answer:" where the text alone is after the template's line break. It gets none,
    and neither does a model that leads up to what it says ("Here it is:" and an empty line).
    """

    def __init__(self) -> None:
        self._thinks: bool | None = None
        self._cuts_early = False

    @property
    def may_send(self) -> bool:
        """Whether the model is known to speak at once."""
        return self._thinks is False and not self._cuts_early

    def cut_off(
        self, found: Spoken, reasoning: str, ended: bool, sent: Sequence[str], may_lead_up: bool
    ) -> bool:
        """Learn from an answer; whether a stop string cut it off too early, so ask again.

        `found` is its text taken apart, `reasoning` what the server took apart itself, `ended`
        whether the answer ended before its token limit, `sent` are the stop strings that had been
        sent. `may_lead_up`: see `truncate_at_stop`.
        """
        text = found.text
        if ended and text.strip() and any(s.endswith(text) and s != text for s in sent):
            self._cuts_early = True
            return True
        if reasoning or found.thoughts or found.unfinished:
            self._thinks = True
            return ended and bool(sent) and not text.strip()
        if may_lead_up and ended and leads_up(text) and any(map(str.isspace, sent)):
            # Nothing at all may be all that the model had to say.
            self._cuts_early = self._cuts_early or bool(text.strip())
            return True
        if ended and not sent and self._thinks is None:
            self._thinks = False
        return False


def opens_thoughts(prompt: str) -> bool:
    """Whether a prompt ends inside of a block of thoughts that it opened."""
    return prompt.rstrip().endswith(OPENING)


def marks_to_keep(added: Mapping[str, int]) -> dict[int, str]:
    """Of a tokenizer's added tokens those that a decoder must not skip, special or not: id → text.

    `<|end|>` and its like are kept for models with channels alone: in others they end a turn.
    """
    known = (*OPENING, *CLOSING, *(CHANNEL_MARKS if CHANNEL in added else ()))
    return {added[mark]: mark for mark in known if mark in added}


def _leading_blocks(text: str, begun: bool) -> tuple[list[str], str, bool]:
    """(thoughts, what comes after them, whether they have no end)."""
    thoughts: list[str] = []
    at, inside = 0, begun
    while True:
        if opened := _LEADING_OPEN.match(text, at):
            at, inside = opened.end(), True
        closed = _CLOSE.search(text, at)
        if closed and not (inside or thoughts or _OPEN.search(text, at, closed.start())):
            inside = True
        if not inside:
            return thoughts, text[at:], False
        if closed is None:
            return [*thoughts, text[at:]], "", True
        thoughts.append(text[at : closed.start()])
        at, inside = closed.end(), False


def _channels(text: str) -> tuple[list[str], str, bool] | None:
    """As `_leading_blocks`, of a text in channels; None where it is no such text."""
    if _BARE.match(text):
        thoughts, final, said = text.partition(_BARE_FINAL)
        return [thoughts.strip().removeprefix("analysis")], said.lstrip(), not final
    if CHANNEL not in text:
        return None
    thoughts_of: list[str] = []
    for header in _HEADER.finditer(text):
        end = _END.search(text, header.end())
        body = text[header.end() : end.start() if end else len(text)]
        if header["channel"] == "final":
            return thoughts_of, body.lstrip(), False
        thoughts_of.append(body)
    return thoughts_of, "", True
