"""The tiny LM in process and behind `transformers serve`, a real server: the same completions."""

from __future__ import annotations

import pytest

from lm.asking import ask
from lm.serve import serve
from lm.tiny import make_tiny_llama
from steper.lm.hf import HFModel
from steper.lm.model_settings import OpenAISettings
from steper.lm.openai_server import OpenAIModel

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


def completions(model, form):
    try:
        return [f.result(120) for f in model.submit(requests(form))]
    finally:
        model.close()


@pytest.mark.timeout(400)
def test_hf_and_a_real_server_write_the_same(tmp_path):
    folder = make_tiny_llama(tmp_path / "tiny")
    with serve(folder) as url:
        for form, api in (("chat", "chat"), ("plain", "completions")):
            settings = OpenAISettings(base_url=url, api=api, concurrency=8)
            served = completions(OpenAIModel(str(folder), settings=settings), form)
            local = completions(HFModel(str(folder)), form)
            assert served == local
            assert {done.finish for done in local} == {"stop", "length"}
