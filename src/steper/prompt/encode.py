"""The one place where prompts and examples become token ids, for inference and for training.

Text is cut into chunks, and each chunk is tokenized by itself: every assistant segment is a chunk,
and so is whatever stands between two of them. A target is therefore never merged with the prompt in
front of it, and these hold token by token:

- the ids of `Encoder.prompt` are a prefix of those of `Encoder.example` of the same prompt;
- an assistant's turn inside a later prompt has the ids that it had when it was the target.

What stands in front of an earlier turn is the chat template's affair: most leave it as it was, so
that `append_only` prompts grow at their end alone (`ChatTemplate.keeps_turns`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby, takewhile
from typing import Any, Protocol

from steper.prompt.chat_template import ChatTemplate, EncodeError
from steper.prompt.segments import Form, Prompt, Segment
from steper.records import StepKind

KINDS: tuple[StepKind, ...] = ("init", "exp", "agg")
"""The order of step kinds wherever they are numbered."""

UNSUPERVISED = -1
IGNORED = -100

_ANCHORS = (":", ".", "x")


class Example(Protocol):
    """What is encoded: prompt segments, then the target (see `examples.records.StepExample`)."""

    @property
    def id(self) -> str: ...
    @property
    def form(self) -> Form: ...
    @property
    def segments(self) -> tuple[Segment, ...]: ...


@dataclass(slots=True)
class Encoded:
    """One training example as tokens; all lists have length T.

    `kinds` are indices into KINDS, UNSUPERVISED on the prompt and on text that is shown and not
    learnt (weight 0). `weights` multiply the loss of each token (0 where unsupervised). The first
    `prompt` ids are what inference would give the model: all in front of the target. A supervised
    token is predicted from the tokens before it.
    """

    ids: list[int] = field(default_factory=list)
    kinds: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    prompt: int = 0
    _begun: bool = False

    @property
    def labels(self) -> list[int]:
        """The ids, IGNORED where unsupervised (transformers' convention, before its shift)."""
        return [i if k >= 0 else IGNORED for i, k in zip(self.ids, self.kinds, strict=True)]

    def add(self, ids: Sequence[int], kind: StepKind | None = None, weight: float = 0.0) -> None:
        """Append tokens; with a kind they are of the target, and learnt where `weight` is not 0."""
        self._begun = self._begun or kind is not None
        self.prompt += 0 if self._begun else len(ids)
        learnt = kind is not None and weight > 0
        self.ids.extend(ids)
        self.kinds.extend([KINDS.index(kind) if kind and learnt else UNSUPERVISED] * len(ids))
        self.weights.extend([weight if learnt else 0.0] * len(ids))


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Text tokenized by itself.

    With `ends` a turn ends here: the tokens up to the first special one (end of turn) are
    supervised and those after it are not; `last` cuts those off, or adds EOS if there is none.
    """

    text: str
    kind: StepKind | None = None
    weight: float = 0.0
    ends: bool = False
    last: bool = False


class Encoder:
    """Encodes with one tokenizer (transformers' interface), whose properties it looks up once.

    `template_arguments` go to every rendering of its chat template (Qwen3's `enable_thinking`).
    """

    def __init__(self, tokenizer: Any, template_arguments: Mapping[str, Any] | None = None) -> None:
        self._tokenizer = tokenizer
        self.template = ChatTemplate(tokenizer, template_arguments)

    def prompt(self, prompt: Prompt) -> list[int]:
        """Token ids up to where the model begins to write; BOS once, where the tokenizer wants it.

        In a chat whose last message is the assistant's, the model continues that message.
        Raises EncodeError where the chat template refuses the prompt or rewrites earlier turns.
        """
        return self._encode(prompt.form, prompt.segments).ids

    def text(self, prompt: Prompt) -> str:
        """A chat prompt as the text that the model continues, for a server that tokenizes it.

        Without the BOS of the chat template where the tokenizer puts one in front by itself.
        """
        text = "".join(chunk.text for chunk in self._chat(prompt.segments))
        return text.removeprefix(self._tokenizer.decode(self._bos)) if self._bos else text

    def example(self, example: Example) -> Encoded:
        """Prompt and target of one example, the target's end supervised.

        A target ends with the chat template's own end of turn, or with EOS in plain text (and where
        the template's turns end without a special token). Raises EncodeError, naming the example.
        """
        try:
            encoded = self._encode(example.form, example.segments)
        except EncodeError as error:
            raise EncodeError(f"example {example.id!r}: {error}") from None
        if not any(weight > 0 for weight in encoded.weights):
            raise EncodeError(f"example {example.id!r}: no token is supervised")
        if encoded.prompt == 0:
            raise EncodeError(f"example {example.id!r}: nothing stands in front of its target")
        return encoded

    def turn_end(self, form: Form) -> int | None:
        """The token that ends a target, if there is one: generation has to stop at it."""
        end = Segment("assistant", "a", KINDS[0])
        try:
            ids = self._encode(form, (Segment("user", "a"), end)).ids
        except EncodeError:  # nothing is trained with such a template
            return None
        return ids[-1] if ids and ids[-1] in self._special | self._added else None

    def _encode(self, form: Form, segments: Sequence[Segment]) -> Encoded:
        encoded = Encoded()
        if form == "plain":
            encoded.add(self._bos)
        first = True
        for chunk in _plain(segments) if form == "plain" else self._chat(segments):
            ids = self._ids(chunk.text, first, encoded.ids)
            first = first and not chunk.text
            if not chunk.ends:
                encoded.add(ids, chunk.kind, chunk.weight)
                continue
            end = self._end_of_turn(ids)
            encoded.add(ids[:end], chunk.kind, chunk.weight)
            if not chunk.last:
                encoded.add(ids[end:])
            elif not end and self._tokenizer.eos_token_id is not None:
                encoded.add([self._tokenizer.eos_token_id], chunk.kind, chunk.weight)
        return encoded

    def _chat(self, segments: Sequence[Segment]) -> Iterator[_Chunk]:
        """Chunks of the rendered chat: what stands before the last turn, then that turn."""
        segments = self.template.folded(segments)
        turns = [list(turn) for _, turn in groupby(segments, lambda s: s.role)]
        messages = Prompt("chat", tuple(segments)).messages()
        if messages[-1]["role"] != "assistant":
            yield from self._before(messages, turns)
            return
        yield from self._before(messages[:-1], turns[:-1])
        lead, content, rest = self.template.turn(messages)
        last = turns[-1][-1]
        yield from _pieces(turns[-1], content if last.kind else content.rstrip(), lead)
        if last.kind is not None and last.ends:
            yield _Chunk(rest, last.kind, last.weight, ends=True, last=True)

    def _before(
        self, messages: list[dict[str, str]], turns: Sequence[Sequence[Segment]]
    ) -> Iterator[_Chunk]:
        """Chunks of a chat up to where the assistant begins to write; its turns are chunks.

        Where earlier turns are learnt, too, they have to stand as they were when they were written.
        """
        own = [turn for turn in turns if turn[0].role == "assistant"]
        around = self.template.around_turns(messages)
        if any(turn[-1].kind for turn in own) and not (around and self.template.keeps_turns):
            raise EncodeError(
                "the chat template changes earlier turns when later ones follow, so training and "
                "inference would differ; use another template, layout passages_first, or form plain"
            )
        if around is None:
            yield _Chunk(self.template.render(messages))
            return
        ended = None  # the supervised segment before, whose turn's end is supervised
        lead = self.template.lead
        for turn, text, content in zip(own, around[::2], around[1::2], strict=False):
            begun = lead if text.endswith(lead) else ""
            yield _between(text.removesuffix(begun), ended)
            yield from _pieces(turn, content, begun)
            ended = turn[-1] if turn[-1].kind is not None else None
        yield _between(around[-1], ended)

    def _end_of_turn(self, ids: Sequence[int]) -> int:
        """How many ids it takes to the end of a turn, that is its first special token; or 0.

        Some add the token that ends a turn without marking it as special.
        """
        for ends in (self._special, self._added):
            for n, token in enumerate(ids):
                if token in ends:
                    return n + 1
        return 0

    def count(self, text: str) -> int:
        """Tokens of `text` without special tokens."""
        return len(self._plain_ids(text))

    def behind(self, text: str, before: Sequence[int] = ()) -> list[int]:
        """Ids of `text` behind the ids `before`, without special tokens of its own."""
        return self._ids(text, False, before)

    def single(self, text: str) -> int | None:
        """Id of the one token that `text` is inside of a text; None where it is several."""
        ids = self.behind(text)
        return ids[0] if len(ids) == 1 else None

    def _plain_ids(self, text: str) -> list[int]:
        ids = self._tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        return list(ids)

    def _ids(self, text: str, first: bool, before: Sequence[int]) -> list[int]:
        """Ids of a chunk behind the ids `before`, as they would be in one text.

        A space that the tokenizer puts in front of every text stands in front of the `first` alone,
        and behind special tokens where the tokenizer puts one there.
        """
        if not text:
            return []
        mark = None if first or not before else self._added_tokens.get(before[-1])
        after_mark = [(mark.content, [before[-1]])] if mark else []
        for anchor, ids in () if first else (*after_mark, *self._anchors):
            whole = self._plain_ids(anchor + text)
            if whole[: len(ids)] == ids:
                return whole[len(ids) :]
        return self._plain_ids(text)

    @cached_property
    def _anchors(self) -> list[tuple[str, list[int]]]:
        """(text, ids) to put in front of a chunk where a dummy space would come otherwise."""
        found = []
        for anchor in _ANCHORS:
            ids, whole = self._plain_ids(anchor), self._plain_ids(anchor + "a")
            if whole[: len(ids)] == ids and whole[len(ids) :] != self._plain_ids("a"):
                found.append((anchor, ids))
        return found

    @cached_property
    def _bos(self) -> list[int]:
        """What the tokenizer puts in front of a text by itself."""
        bare, whole = self._plain_ids("a"), list(self._tokenizer("a", verbose=False)["input_ids"])
        at = next((n for n in range(len(whole)) if whole[n : n + len(bare)] == bare), 0)
        return whole[:at]

    @cached_property
    def _added_tokens(self) -> dict[int, Any]:
        return dict(getattr(self._tokenizer, "added_tokens_decoder", {}))

    @cached_property
    def _special(self) -> frozenset[int]:
        ids = {i for i, token in self._added_tokens.items() if token.special}
        return frozenset(ids | set(self._tokenizer.all_special_ids))

    @cached_property
    def _added(self) -> frozenset[int]:
        return frozenset(i for i, token in self._added_tokens.items() if token.content.strip())


def _plain(segments: Sequence[Segment]) -> Iterator[_Chunk]:
    for assistant, group in groupby(segments, lambda s: s.role == "assistant"):
        if assistant:
            yield from (_Chunk(s.text, s.kind, s.weight) for s in group)
        else:
            yield _Chunk("".join(s.text for s in group))
    if segments and segments[-1].kind is not None and segments[-1].ends:
        yield _Chunk("", segments[-1].kind, segments[-1].weight, ends=True, last=True)


def _between(text: str, ended: Segment | None) -> _Chunk:
    """Text between turns; the end of the supervised turn before it is supervised."""
    return _Chunk(text, ended.kind, ended.weight, ends=True) if ended else _Chunk(text)


def _pieces(turn: Sequence[Segment], content: str, lead: str) -> Iterator[_Chunk]:
    """A chunk for each segment of a turn, less the outer white space that `content` lacks.

    The template's own white space, `lead`, belongs to the first. White space between what is given
    and what is learnt belongs to the latter: servers cut it off where a prompt ends with it.
    """
    whole = "".join(segment.text for segment in turn)
    given = "".join(segment.text for segment in takewhile(lambda s: s.kind is None, turn))
    low, at = whole.find(content), 0
    end = low + len(content)
    for segment in turn:
        at += len(segment.text)
        high = max(low, min(at, end))
        if at == len(given) < len(whole):
            high = max(low, min(high, len(given.rstrip())))
        text = whole[low:high]
        yield _Chunk(lead + text if text else "", segment.kind, segment.weight)
        lead, low = "" if text else lead, high
