"""The one place where prompts and examples become token ids, for inference and for training.

Text is cut into chunks, and each chunk is tokenized by itself: every assistant segment is a chunk,
and so is whatever stands between two of them. A target is therefore never merged with the prompt in
front of it, and these hold token by token:

- the ids of `encode_prompt` are a prefix of the ids of `encode_example` of the same prompt;
- an assistant's turn inside a later prompt has the ids that it had when it was the target.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from typing import Any, Protocol

from steper.errors import SteperError
from steper.prompt.segments import Form, Prompt, Segment
from steper.records import StepKind

KINDS: tuple[StepKind, ...] = ("init", "exp", "agg")
"""The order of step kinds wherever they are numbered."""

UNSUPERVISED = -1
IGNORED = -100

_ANCHORS = (":", ".", "x")


class EncodeError(SteperError):
    """A prompt or example cannot be tokenized so that training and inference agree."""


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


def encode_prompt(tokenizer: Any, prompt: Prompt) -> list[int]:
    """Token ids up to where the model begins to write; BOS once, where the tokenizer wants it.

    In a chat whose last message is the assistant's, the model continues that message.
    Raises EncodeError where the chat template refuses the prompt or rewrites earlier turns.
    """
    return Encoder(tokenizer).prompt(prompt)


def encode_example(tokenizer: Any, example: Example) -> Encoded:
    """Prompt and target of one example; see `Encoder.example`."""
    return Encoder(tokenizer).example(example)


class Encoder:
    """Encodes with one tokenizer (transformers' interface), whose properties it looks up once."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def prompt(self, prompt: Prompt) -> list[int]:
        """See `encode_prompt`."""
        return self._encode(prompt.form, prompt.segments).ids

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
        kind = self._encode(form, (Segment("user", "a"), end)).ids[-1:]
        return kind[0] if kind and kind[0] in self._special else None

    def _encode(self, form: Form, segments: Sequence[Segment]) -> Encoded:
        encoded = Encoded()
        if form == "plain":
            encoded.add(self._bos)
        first = True
        for chunk in _plain(segments) if form == "plain" else self._chat(segments):
            ids = self._ids(chunk.text, first)
            first = first and not chunk.text
            if not chunk.ends:
                encoded.add(ids, chunk.kind, chunk.weight)
                continue
            end = next((n + 1 for n, i in enumerate(ids) if i in self._special), 0)
            encoded.add(ids[:end], chunk.kind, chunk.weight)
            if not chunk.last:
                encoded.add(ids[end:])
            elif not end and self._tokenizer.eos_token_id is not None:
                encoded.add([self._tokenizer.eos_token_id], chunk.kind, chunk.weight)
        return encoded

    def _chat(self, segments: Sequence[Segment]) -> Iterator[_Chunk]:
        """Chunks of the rendered chat; each turn must keep what stood before it, or EncodeError."""
        groups = [(role, list(group)) for role, group in groupby(segments, lambda s: s.role)]
        messages = Prompt("chat", tuple(segments)).messages()
        done = ""  # rendered text that is chunks already
        ended: Segment | None = None  # the supervised segment that `done` ends with
        for at, (role, group) in enumerate(groups):
            if role != "assistant":
                continue
            start = self._render(messages[:at])
            yield _between(done, start, ended)
            content = messages[at]["content"]
            target = group[-1].kind is not None
            final = at == len(groups) - 1
            if final and not target:  # a prompt that the model continues inside the message
                yield from _pieces(group, content)
                return
            after = self._after(messages, at, start)
            content = _as_rendered(after[len(start) :], content) or ""
            yield from _pieces(group, content)
            done, ended = start + content, group[-1] if target else None
            if final and ended:
                if not ended.ends:
                    return
                yield _Chunk(after[len(done) :], ended.kind, ended.weight, ends=True, last=True)
                return
        yield _between(done, self._render(messages), ended)

    def _after(self, messages: list[dict[str, str]], at: int, start: str) -> str:
        """A rendering that goes on behind message `at` and begins with `start` and its content."""
        tried = [messages[: at + 2]] if at + 1 < len(messages) else [messages]
        # Templates that treat the last message in a way of its own (an empty block of thoughts).
        tried.append([*messages[: at + 1], {"role": "user", "content": "a"}])
        for shown in tried:
            text = self._render(shown, generate=shown[-1]["role"] != "assistant")
            if text.startswith(start) and (
                _as_rendered(text[len(start) :], messages[at]["content"]) is not None
            ):
                return text
        raise EncodeError(
            "the chat template does not show an assistant's message as the model would write it, "
            "so training and inference would differ; use another template, or form plain"
        )

    def _render(self, messages: list[dict[str, str]], generate: bool = True) -> str:
        try:
            return str(
                self._tokenizer.apply_chat_template(
                    messages, tokenize=False, add_generation_prompt=generate
                )
            )
        except Exception as error:  # templates raise whatever they like
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise EncodeError(f"the chat template refuses the prompt ({reason})") from error

    def _plain_ids(self, text: str) -> list[int]:
        ids = self._tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        return list(ids)

    def _ids(self, text: str, first: bool) -> list[int]:
        """Ids of a chunk; without the space that some tokenizers put in front of every text."""
        if not text:
            return []
        for anchor, ids in () if first else self._anchors:
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
    def _special(self) -> frozenset[int]:
        added = getattr(self._tokenizer, "added_tokens_decoder", {})
        ids = {i for i, token in added.items() if token.special}
        return frozenset(ids | set(self._tokenizer.all_special_ids))


def _plain(segments: Sequence[Segment]) -> Iterator[_Chunk]:
    for assistant, group in groupby(segments, lambda s: s.role == "assistant"):
        if assistant:
            yield from (_Chunk(s.text, s.kind, s.weight) for s in group)
        else:
            yield _Chunk("".join(s.text for s in group))
    if segments and segments[-1].kind is not None and segments[-1].ends:
        yield _Chunk("", segments[-1].kind, segments[-1].weight, ends=True, last=True)


def _between(done: str, text: str, ended: Segment | None) -> _Chunk:
    """What `text` adds to `done`; the end of the supervised turn before it is supervised."""
    if not text.startswith(done):
        raise EncodeError(
            "the chat template changes earlier turns when later ones follow, so training and "
            "inference would differ; use another template, layout passages_first, or form plain"
        )
    added = text[len(done) :]
    return _Chunk(added, ended.kind, ended.weight, ends=True) if ended else _Chunk(added)


def _as_rendered(text: str, content: str) -> str | None:
    """How `text` begins with a message's content (as it is, or stripped), None if it does not."""
    return next((c for c in (content, content.strip()) if text.startswith(c)), None)


def _pieces(group: Sequence[Segment], content: str) -> Iterator[_Chunk]:
    """A chunk for each segment of a message, less the outer white space that `content` lacks."""
    whole = "".join(s.text for s in group)
    start = whole.find(content)
    end, at = start + len(content), 0
    for segment in group:
        low, high = max(start, at) - at, min(end, at + len(segment.text)) - at
        yield _Chunk(segment.text[low : max(low, high)], segment.kind, segment.weight)
        at += len(segment.text)
