"""A model's own chat template: messages in, the text that the model sees out.

Templates differ in more than their marks. Evened out here, for inference and training alike:

- a template without a system role (Gemma 2, older Mistrals), or one that moves the system message
  to the newest turn (Mistral 0.3), gets it at the head of the first user turn;
- `strftime_now`, by which Llama 3.2 and others put today's date into every prompt, gives one day.

Otherwise the text is the template's, and so what a server makes of the same messages.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from difflib import get_close_matches
from functools import cached_property
from typing import Any

from steper.errors import SettingsError, SteperError
from steper.prompt.segments import Form, Segment

TODAY = date(2024, 7, 26)
"""What a template is told that today is: Llama 3.2's own default where there is no clock."""

Messages = Sequence[Mapping[str, str]]

_MARK = "\ue000{}\ue001"
_MARKS = re.compile("\ue000\\d+\ue001")
_DIRECTIVES = ("-d", "-m", *"aAbBdeHIjmMpSUwWyY")


class EncodeError(SteperError):
    """A prompt or example cannot be tokenized so that training and inference agree."""


class ChatTemplate:
    """The chat template of one tokenizer, with arguments that go to every rendering."""

    def __init__(self, tokenizer: Any, arguments: Mapping[str, Any] | None = None) -> None:
        self._tokenizer = tokenizer
        self._arguments = dict(arguments or {})

    @cached_property
    def digest(self) -> str:
        """What the template is known by in a fingerprint."""
        return hashlib.sha256(str(self._tokenizer.chat_template).encode()).hexdigest()[:16]

    def render(self, messages: Messages, generate: bool = True) -> str:
        """The chat as text, up to where the assistant begins to write if `generate`.

        Raises EncodeError, with the template's own words, where the template refuses it.
        """
        try:
            return str(
                self._tokenizer.apply_chat_template(
                    list(messages),
                    chat_template=self._source,
                    tokenize=False,
                    add_generation_prompt=generate,
                    **self._arguments,
                )
            )
        except Exception as error:  # templates raise whatever they like
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise EncodeError(f"{self._name} refuses the prompt ({reason})") from error

    def folded(self, segments: Sequence[Segment]) -> list[Segment]:
        """The segments, a system message inside the first user turn where it has to be there."""
        first, *others = segments
        if first.role != "system" or not others or self._takes_system:
            return [first, *others]
        return [replace(first, role="user", text=first.text.strip() + "\n\n"), *others]

    def around_turns(self, messages: Messages) -> list[str] | None:
        """The rendered chat in pieces: text, content, text, …, where contents are the assistant's.

        None where the template makes something else of a content than to show or strip it.
        """
        marked, contents = [], []
        for message in messages:
            if message["role"] == "assistant":
                contents.append(message["content"])
                message = {**message, "content": _MARK.format(len(contents))}
            marked.append(message)
        around = _MARKS.split(self.render(marked))
        left = self.render(messages)
        if len(around) != len(contents) + 1 or not left.startswith(around[0]):
            return None
        pieces, left = [around[0]], left[len(around[0]) :]
        for content, after in zip(contents, around[1:], strict=True):
            ways = (c for c in (content, content.strip()) if left.startswith(c + after))
            shown = next(ways, None)
            if shown is None:
                return None
            pieces += [shown, after]
            left = left[len(shown + after) :]
        return None if left else pieces

    def turn(self, messages: Messages) -> tuple[str, str, str]:
        """How the last message, the assistant's, is shown: (white space, its content, the rest).

        All follows what `render` makes of the messages before it. The white space is the
        template's: the model writes it. Raises EncodeError where the content does not stand there,
        because training would then differ from inference.
        """
        start = self.render(messages[:-1])
        # The second serves templates that treat the last message in a way of its own: Qwen3's puts
        # an empty block of thoughts there.
        for shown in (messages, [*messages, {"role": "user", "content": "a"}]):
            text = self.render(shown, generate=shown is not messages)
            if not text.startswith(start):
                continue
            after = text[len(start) :]
            for content in (messages[-1]["content"], messages[-1]["content"].strip()):
                lead, found, rest = after.partition(content) if content else ("", "", after)
                if not lead.strip() and (found or not content):
                    return lead, content, rest
        raise EncodeError(
            f"{self._name} does not show an assistant's message as the model would write it, "
            "so training and inference would differ; use another template, or form plain"
        )

    @cached_property
    def refuses_turns(self) -> str | None:
        """Why a prompt cannot end in an assistant's turn that was begun; None where it can."""
        try:
            self.turn([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}])
        except EncodeError as error:
            return str(error)
        return None

    @cached_property
    def lead(self) -> str:
        """White space of the template's in front of every assistant's message, mostly none."""
        try:
            return self.turn(
                [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
            )[0]
        except EncodeError:
            return ""

    @cached_property
    def keeps_turns(self) -> bool:
        """Whether what was written in a turn stays as it was when later turns follow.

        Where it does not, `append_only` prompts do not begin with those before them. Qwen3 without
        thinking is such a one: an empty block of thoughts stands in the newest turn alone.
        """
        talk = [
            {"role": role, "content": text}
            for role, text in (("user", "a"), ("assistant", "b"), ("user", "c"))
        ]
        return self.render(talk).startswith(self.render(talk[:1]) + self.lead + "b")

    @cached_property
    def clock(self) -> str | None:
        """The day that the template is told, if it asks for one."""
        return TODAY.isoformat() if "strftime_now" in self._template else None

    @property
    def _name(self) -> str:
        owner = getattr(self._tokenizer, "name_or_path", "")
        return f"the chat template of {owner}" if owner else "the chat template"

    @cached_property
    def _template(self) -> str:
        return str(self._tokenizer.get_chat_template())

    @cached_property
    def _source(self) -> str:
        if self.clock is None:
            return self._template
        # transformers lets no function of ours through to a template, but a macro hides its own.
        known = "".join(f"|replace('%{d}', '{TODAY.strftime('%' + d)}')" for d in _DIRECTIVES)
        macro = "{% macro strftime_now(format) %}{{ format" + known + " }}{% endmacro %}{{ '' }}"
        return macro + self._template

    @cached_property
    def _takes_system(self) -> bool:
        """Whether a system message is shown, in front of the first user's."""
        talk = [("system", "0"), ("user", "1"), ("assistant", "2"), ("user", "3")]
        try:
            text = self.render(
                [{"role": role, "content": _MARK.format(mark)} for role, mark in talk]
            )
        except EncodeError:
            return False
        places = [text.find(_MARK.format(mark)) for _, mark in talk]
        return -1 < places[0] < places[1]


def check_arguments(
    tokenizer: Any, form: Form, arguments: Mapping[str, Any], place: str = ""
) -> None:
    """SettingsError where an argument would do nothing: a chat's template does not ask for it.

    A template asks for what stands in it as a word. Less than that cannot be known: templates look
    names up while they render, and no prompt makes them go every way. `place` is the section that
    the arguments were given in.
    """
    if form == "plain":
        return
    words = set(re.findall(r"\w+", str(tokenizer.get_chat_template())))
    for name in arguments:
        if name not in words:
            near = get_close_matches(name, words, n=1, cutoff=0.8)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise SettingsError(
                f"{place}{'.' if place else ''}chat_template_kwargs.{name}: the model's chat "
                f"template does not ask for it{hint}"
            )
