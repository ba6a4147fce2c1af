"""The tiny LM in process and behind `transformers serve`, a real server: the same completions."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lm.asking import ask
from lm.serve import serve
from lm.tiny import make_tiny_llama
from steper.errors import ModelError
from steper.lm.hf import HFModel
from steper.lm.model_settings import OpenAISettings
from steper.lm.openai_server import OpenAIModel
from steper.prompt.segments import Prompt, Segment

pytestmark = pytest.mark.slow


def requests(form):
    return [
        ask(
            f"Who directed film {n}{' in the town of the author' * (n % 7)}?",
            question_id=str(n),
            form=form,
            max_tokens=40,
            stop=("\n", "film") if n % 2 else (),
        )
        for n in range(50)
    ]


def said(completions):
    """All but the tokens written: a server is sent no stop strings until it is known to speak at
    once (see `StopGuard`), so it may write on behind them."""
    return [(done.text, done.finish, done.usage.prompt_tokens) for done in completions]


def completions(model, asked):
    try:
        return [f.result(120) for f in model.submit(asked)]
    finally:
        model.close()


@pytest.mark.timeout(400)
def test_hf_and_a_real_server_write_the_same(tmp_path):
    folder = make_tiny_llama(tmp_path / "tiny")
    with serve(folder) as url:
        for form, api in (("chat", "chat"), ("plain", "completions")):
            settings = OpenAISettings(base_url=url, api=api, concurrency=8)
            served = completions(OpenAIModel(str(folder), settings=settings), requests(form))
            local = completions(HFModel(str(folder)), requests(form))
            assert said(served) == said(local)
            assert {done.finish for done in local} == {"stop", "length"}


def begun_requests():
    """Chats in which the assistant's turn has begun."""
    out = []
    for n, request in enumerate(requests("chat")[:20]):
        begun = Segment("assistant", "The film was" + " directed" * (n % 4))
        prompt = Prompt("chat", (*request.prompt.segments, begun))
        out.append(replace(request, prompt=prompt))
    return out


@pytest.mark.timeout(400)
def test_a_real_server_that_closes_turns_is_found_out_and_asked_in_raw_text(tmp_path):
    folder = make_tiny_llama(tmp_path / "tiny")
    with serve(folder) as url:
        chat = OpenAIModel(str(folder), settings=OpenAISettings(base_url=url))
        try:
            assert not chat.continues_turns()
            assert chat.fingerprint()["continuation"] == "none"
        finally:
            chat.close()
        raw = OpenAISettings(base_url=url, api="completions", tokenizer=str(folder))
        model = OpenAIModel(str(folder), settings=raw)
        assert model.continues_turns()
        assert model.form == "chat"
        served = completions(model, begun_requests())
    local = completions(HFModel(str(folder)), begun_requests())
    assert said(served) == said(local)


@pytest.mark.timeout(400)
def test_a_real_server_that_ignores_log_probabilities_fails_the_question(tmp_path):
    folder = make_tiny_llama(tmp_path / "tiny")
    with serve(folder) as url:
        model = OpenAIModel(str(folder), settings=OpenAISettings(base_url=url))
        try:
            asked = replace(requests("chat")[1], logprobs=("yes", "no"))
            with pytest.raises(ModelError, match="were asked for, and the text came without: run"):
                model.submit([asked])[0].result(120)
        finally:
            model.close()
