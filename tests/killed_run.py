"""A teach run that its test kills: scripted model with sleeps, its calls logged."""

from __future__ import annotations

import sys
from pathlib import Path

from doubles import FILM, DictRetriever, film_questions, film_script
from steper.lm.scripted import ScriptedModel, seeded_delay
from steper.prompt.render import PromptSettings
from steper.runs import teach
from steper.strategy.ircot import IRCoT

out, log, count = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
model = ScriptedModel(
    film_script, delay=seeded_delay(0.005, 0.1), call_log=log, identity="film", name="film"
)
print("ready", flush=True)
teach(
    film_questions(count),
    IRCoT(prompt=PromptSettings(demos=0)),
    model,
    DictRetriever(FILM),
    out,
    in_flight=16,
)
model.close()
