"""The helpers beside the tests are imported by bare name."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def film_run(tmp_path):
    """A run of four questions: right, wrong, without a gold answer, and never answered."""
    from runs import CASES, IRCOT, question, run_case

    from steper.prompt.render import PromptSettings

    questions = [question(i, f"When was the director of Gold Rain born, {i}?") for i in range(4)]
    questions[2] = questions[2].model_copy(update={"answers": ()})
    texts = {
        "q1": [*IRCOT[:2], "So the answer is: 1949."],
        "q3": [IRCOT[0], ""],
    }
    prompt = PromptSettings(demos=1)
    run, _ = run_case(CASES["ircot"], tmp_path / "run", prompt, "plain", questions, texts)
    return run
