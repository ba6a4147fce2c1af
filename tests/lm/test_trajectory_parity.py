"""The tiny LM in process and behind `transformers serve`: the same greedy trajectories."""

from __future__ import annotations

import pytest

from lm.serve import serve
from lm.tiny import make_tiny_llama
from steper.lm.hf import HFModel
from steper.lm.model_settings import OpenAISettings
from steper.lm.openai_server import OpenAIModel
from steper.prompt.render import PromptSettings
from steper.records import Passage, Question
from steper.retrieve import BM25Index
from steper.runs import make_strategy, teach
from steper.strategy.ircot import IRCoTSettings

pytestmark = pytest.mark.slow

WORDS = [
    "river",
    "city",
    "film",
    "author",
    "town",
    "king",
    "music",
    "school",
    "bridge",
    "tower",
    "garden",
    "ship",
]


def corpus():
    return [
        Passage.make(
            f"{a.title()} {b}", f"The {a} {b} number {i * 12 + j} is near the {WORDS[i - j]}."
        )
        for i, a in enumerate(WORDS)
        for j, b in enumerate(WORDS)
    ]


def trajectories(lm, out):
    questions = [
        Question(id=str(n), text=f"Which {WORDS[n % 12]} is near the {WORDS[n % 7]} {n}?")
        for n in range(50)
    ]
    strategy = make_strategy(
        "ircot", lm, IRCoTSettings(max_steps=3, max_tokens=24), PromptSettings(demos=0)
    )
    try:
        run = teach(questions, strategy, lm, BM25Index.build(corpus()), out)
        found = [
            t.model_copy(update={"model": "", "settings": ""}).model_dump()
            for t in run.trajectories()
        ]
        for step in (step for trajectory in found for step in trajectory["steps"]):
            # A server writes on behind stop strings that it was not sent (see `StopGuard`).
            del step["usage"]["completion_tokens"]
        return found
    finally:
        lm.close()


@pytest.mark.timeout(600)
def test_hf_and_a_real_server_go_the_same_ways(tmp_path):
    folder = make_tiny_llama(tmp_path / "tiny")
    with serve(folder) as url:
        settings = OpenAISettings(base_url=url, concurrency=8, context_window=2048)
        served = trajectories(OpenAIModel(str(folder), settings=settings), tmp_path / "served")
    local = trajectories(HFModel(str(folder)), tmp_path / "local")
    assert served == local
    assert sum(len(t["steps"]) for t in local) > 100
