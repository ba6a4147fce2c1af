"""The tiny LM in process and behind llama.cpp's own server: the same prompts, counts and texts."""

from __future__ import annotations

from dataclasses import replace
from itertools import takewhile
from pathlib import Path

import pytest

from lm.packed import pack
from lm.serve import serve_llama_cpp
from lm.test_serve_parity import begun_requests, completions, requests
from lm.tiny import make_tiny_llama
from steper.lm.hf import HFModel
from steper.lm.model_settings import OpenAISettings
from steper.lm.openai_server import OpenAIModel

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_tiny_llama(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def packed(folder, tmp_path_factory):
    pytest.importorskip("gguf")
    return pack(folder, tmp_path_factory.mktemp("packed") / "tiny.gguf")


def said(done):
    """What both must agree on, but for bytes that are no characters: each shows them in its way."""
    return [(d.text.replace("\ufffd", ""), d.finish, d.usage.prompt_tokens) for d in done]


def test_it_writes_what_is_written_in_process(folder, packed):
    with serve_llama_cpp(packed) as url:
        for form, api in (("chat", "chat"), ("plain", "completions")):
            asked = requests(form)[:20]
            settings = OpenAISettings(base_url=url, api=api, concurrency=2)
            served = completions(OpenAIModel("tiny", settings=settings), asked)
            assert said(served) == said(completions(HFModel(str(folder)), asked))


def test_it_continues_the_assistants_turn_and_is_found_out_to_do_so(folder, packed):
    with serve_llama_cpp(packed) as url:
        model = OpenAIModel("tiny", settings=OpenAISettings(base_url=url))
        assert model.continues_turns()
        assert model.fingerprint()["continuation"] == "last_message"
        served = completions(model, begun_requests())
    assert said(served) == said(completions(HFModel(str(folder)), begun_requests()))


def test_it_closes_a_begun_turn_while_the_model_may_think(packed, caplog):
    qwen3 = (Path(__file__).parents[1] / "templates" / "qwen3.jinja").read_text("utf-8")
    no_thinking = {"chat_template_kwargs": {"enable_thinking": False}}
    with serve_llama_cpp(packed, chat_template=qwen3) as url:
        for extra, continues in (({}, False), (no_thinking, True)):
            settings = OpenAISettings(base_url=url, extra_body=extra, max_retries=1)
            model = OpenAIModel("tiny", settings=settings)
            assert model.continues_turns() is continues
            model.close()
    assert "closes the turn and begins a new one" in caplog.text


def test_its_log_probabilities_are_those_in_process(folder, packed):
    """Of the written tokens and of asked ones among the likeliest, in both protocols."""
    with serve_llama_cpp(packed) as url:
        for form, api in (("chat", "chat"), ("plain", "completions")):
            asked = [replace(r, logprobs=(" film", "J", "<|end|>")) for r in requests(form)[:8:2]]
            settings = OpenAISettings(base_url=url, api=api, concurrency=2)
            served = completions(OpenAIModel("tiny", settings=settings), asked)
            local = completions(HFModel(str(folder)), asked)
            told = 0
            for one, other in zip(served, local, strict=True):
                pairs = zip(one.token_logprobs, other.token_logprobs, strict=False)
                # It puts tokens that are parts of a character together, and has no words for the
                # end of a turn.
                for a, b in takewhile(lambda pair: pair[0].text == pair[1].text, pairs):
                    assert a.logprob == pytest.approx(b.logprob, abs=2e-3)
                    assert all(
                        value == pytest.approx(b.of[t], abs=2e-3) for t, value in a.of.items()
                    )
                    told += 1 + len(a.of)
            assert told > 30
