"""A model that does what the demonstrations show goes on, and does not repeat itself."""

import pytest

from doubles import FILM, DictRetriever, film_questions
from steper.examples.build import build_examples
from steper.lm.base import Request
from steper.lm.scripted import ScriptedModel
from steper.prompt.render import PromptSettings
from steper.prompt.words import demonstrations
from steper.records import StopReason
from steper.runs import teach
from steper.strategy import STRATEGIES

CHAINS = {
    "ircot": [
        "Gold Rain was directed by Ann Lee.",
        "Ann Lee was born in 1950.",
        "So the answer is: 1950.",
    ],
    "self_ask": [
        "Follow up: Who directed Gold Rain?",
        "Intermediate answer: Ann Lee\nFollow up: When was Ann Lee born?",
        "Intermediate answer: 1950\nSo the final answer is: 1950",
    ],
}
JOINED = {"ircot": " ", "self_ask": "\n"}


class Imitator:
    """Has seen where demonstrations begin to write and how far; writes its own chain likewise."""

    def __init__(self, strategy: str) -> None:
        self.strategy = strategy
        self.chain = CHAINS[strategy]

    def __call__(self, request: Request) -> str:
        *shown, asked = request.prompt.messages()
        told = sum(piece in asked["content"] for piece in self.chain)
        pairs = [
            self.part(user["content"], written["content"])
            for user, written in zip(shown[::2], shown[1::2], strict=True)
        ]
        start, pieces = min(pairs, key=lambda pair: abs(pair[0] - told))
        return JOINED[self.strategy].join(self.chain[start : start + pieces])

    def part(self, user: str, written: str) -> tuple[int, int]:
        """Which pieces of its chain a demonstration writes: (the first, how many)."""
        demo = next(d for d in demonstrations() if d.question in user)
        pieces = [text for _, text in STRATEGIES.find(self.strategy).words.demonstrate(demo)]
        told = sum(piece in user for piece in pieces)
        return told, sum(piece in written for piece in pieces)


def taught(strategy, out, demo_steps, **settings):
    kind = STRATEGIES.find(strategy)
    prompt = PromptSettings(instruction=False, demo_steps=demo_steps)
    model = ScriptedModel(Imitator(strategy), identity="imitator", form="chat")
    asker = kind(kind.settings_type(**settings), prompt, "chat")
    run = teach(film_questions(1), asker, model, DictRetriever(FILM), out)
    (trajectory,) = run.trajectories()
    return run, trajectory


# IRCoT's own rule, which does not look for a sentence that was not said before.
KEEP = {"ircot": {"keep": "first_sentence"}, "self_ask": {}}


@pytest.mark.parametrize("demo_steps", ["first_middle_last", "all"])
@pytest.mark.parametrize("strategy", CHAINS)
def test_steps_shown_are_steps_written(strategy, demo_steps, tmp_path):
    run, trajectory = taught(strategy, tmp_path / "run", demo_steps, **KEEP[strategy])
    assert [step.raw for step in trajectory.steps] == CHAINS[strategy]
    assert (trajectory.answer, trajectory.stop_reason) == ("1950", StopReason.ANSWERED)
    build = build_examples(run)
    assert len(list(build)) == 3
    assert build.counts.dropped_steps == {}


@pytest.mark.parametrize("strategy", CHAINS)
def test_a_chain_shown_is_begun_anew_and_stopped_as_a_repeat(strategy, tmp_path):
    """The fault that demonstrations by steps avoid."""
    _, trajectory = taught(strategy, tmp_path / "run", "chain", **KEEP[strategy])
    assert trajectory.stop_reason is StopReason.REPEATED_QUERY
    assert trajectory.steps[1].rationale == trajectory.steps[0].rationale
