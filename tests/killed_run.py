"""Teach runs that their test kills: scripted model with sleeps, its calls logged.

A line of input is a JSON list: output folder, log of calls, number of questions.
"""

from __future__ import annotations

from pathlib import Path

from doubles import FILM, DictRetriever, film_questions, film_script
from forking import fork_for_each_line
from steper.lm.scripted import ScriptedModel, seeded_delay
from steper.prompt.render import PromptSettings
from steper.runs import teach
from steper.strategy.ircot import IRCoT


def run(out: str, log: str, count: int) -> None:
    """The whole run, or what is left of it."""
    model = ScriptedModel(
        film_script, delay=seeded_delay(0.005, 0.1), call_log=Path(log), identity="film"
    )
    strategy = IRCoT(prompt=PromptSettings(demos=0))
    teach(film_questions(count), strategy, model, DictRetriever(FILM), Path(out), in_flight=16)
    model.close()


fork_for_each_line(run)
