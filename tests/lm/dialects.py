"""Chat servers as far as their prompts differ: where the last turn is closed, where it stays open.

A word is a token. A server goes on with a turn that its prompt leaves open, and begins a new one
otherwise. `transformers serve` was seen to do as `always_closes`, llama.cpp's own server as
`llama_cpp` (test_llama_cpp.py); all others are written after the servers' documentation and
sources, and were not run. The llama.cpp that was run closes the turn of a model that may think; it
did not refuse as `llama_cpp_thinking` does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lm.fake_server import Reply

GOES_ON = " and went on."
BEGINS = "A new turn."

Body = dict[str, Any]
Server = Callable[[int, Body], Reply]


@dataclass(frozen=True)
class Template:
    """Tokens of a chat template: in front of an assistant's turn, at its end, in its last one."""

    header: Sequence[str] = ("<|im_start|>", "assistant", "\n")
    end: Sequence[str] = ("<|im_end|>", "\n")
    last: Sequence[str] = ()

    def prompt(self, messages: list[dict[str, str]], stay_open: bool, generate: bool) -> list[str]:
        """The tokens of a prompt; `stay_open` leaves out the end of the last turn."""
        tokens = ["<s>"]
        for at, message in enumerate(messages):
            final = at == len(messages) - 1
            words = message["content"].split()
            if message["role"] == "assistant":
                end = () if final and stay_open else self.end
                tokens += [*self.header, *(self.last if final else ()), *words, *end]
            else:
                tokens += [f"<{message['role']}>", *words, *self.end]
        return [*tokens, *self.header] if generate else tokens


CHATML = Template()
MISTRAL = Template(header=(), end=("</s>",))
QWEN3 = Template(last=("<think>", "\n\n", "</think>", "\n\n"))


def _begun(body: Body) -> bool:
    return body["messages"][-1]["role"] == "assistant"


def _served(template: Template, body: Body, stay_open: bool, generate: bool) -> Reply:
    tokens = template.prompt(body["messages"], stay_open, generate)
    usage = {"prompt_tokens": len(tokens), "completion_tokens": 3}
    return Reply(GOES_ON if stay_open else BEGINS, usage=usage)


def _refused(words: str, status: int = 400) -> Reply:
    return Reply(status=status, body={"error": {"message": words}})


def vllm(template: Template = CHATML, closed_turns: bool = True) -> Server:
    """Two fields, of which one is the other's condition; some tokenizers take no closed turn."""

    def answer(_: int, body: Body) -> Reply:
        goes_on = body.get("continue_final_message", False)
        generate = body.get("add_generation_prompt", True)
        if goes_on and generate:
            return _refused("Cannot set both `continue_final_message` and `add_generation_prompt`")
        if _begun(body) and not goes_on and not closed_turns:
            return _refused("Expected last role User or Tool for serving but got assistant")
        return _served(template, body, goes_on and _begun(body), generate)

    return answer


def sglang(_: int, body: Body) -> Reply:
    """One field; the other is ignored."""
    goes_on = _begun(body) and body.get("continue_final_message", False)
    return _served(CHATML, body, goes_on, not goes_on)


def last_message(template: Template = CHATML) -> Server:
    """llama.cpp before 2026, and Ollama: no field is looked at."""
    return lambda _, body: _served(template, body, _begun(body), not _begun(body))


def llama_cpp_thinking(status: int) -> Server:
    """llama.cpp with a thinking model whose thinking is not switched off."""

    def answer(number: int, body: Body) -> Reply:
        kwargs = body.get("chat_template_kwargs", {})
        if _begun(body) and kwargs.get("enable_thinking", True):
            words = "Assistant response prefill is incompatible with enable_thinking."
            return _refused(words, status)
        return last_message()(number, body)

    return answer


def llama_cpp(number: int, body: Body) -> Reply:
    """llama.cpp of 2026: knows both fields, and answers with the whole turn."""
    if body.get("continue_final_message") and body.get("add_generation_prompt", True):
        return _refused("Cannot set both add_generation_prompt and continue_final_message to true.")
    reply = last_message()(number, body)
    if _begun(body):
        reply.text = body["messages"][-1]["content"] + reply.text
    return reply


def always_closes(_: int, body: Body) -> Reply:
    """`transformers serve`, and most: the turn is closed, a new one begins."""
    return _served(CHATML, body, False, True)


def heeds_the_generation_prompt_alone(_: int, body: Body) -> Reply:
    """The turn is closed, and a new one begins unless that is switched off."""
    return _served(CHATML, body, False, body.get("add_generation_prompt", True))


def refuses_fields(_: int, body: Body) -> Reply:
    """OpenAI's own: fields that are not its own are refused, and turns are closed."""
    if "continue_final_message" in body or "add_generation_prompt" in body:
        return _refused("Unknown parameter")
    return _served(CHATML, body, False, True)


def refuses_begun_turns(_: int, body: Body) -> Reply:
    """The last message has to be the user's."""
    if _begun(body):
        return _refused("the last message must be the user's")
    return _served(CHATML, body, False, True)


def drops_begun_turns(_: int, body: Body) -> Reply:
    """The last message is thrown away."""
    said = {**body, "messages": body["messages"][:-1]} if _begun(body) else body
    return _served(CHATML, said, False, True)


def counts_what_is_new() -> Server:
    """Counts the tokens that are not in its cache alone, as Ollama once did."""
    seen: list[list[str]] = []

    def answer(_: int, body: Body) -> Reply:
        tokens = CHATML.prompt(body["messages"], _begun(body), not _begun(body))
        known = max((_common(tokens, before) for before in seen), default=0)
        seen.append(tokens)
        return Reply(GOES_ON, usage={"prompt_tokens": len(tokens) - known, "completion_tokens": 3})

    return answer


def _common(one: list[str], other: list[str]) -> int:
    pairs = zip(one, other, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def counts_nothing(_: int, body: Body) -> Reply:
    """Sends no usage."""
    return Reply(BEGINS, usage=None)
