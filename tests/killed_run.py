"""Teach runs that their test kills: scripted model with sleeps, its calls logged.

Each is a fork of this process, which has imported all of it. Reads a JSON list a line: output
folder, log of calls, number of questions; writes the process's id, and its exit code when it has
ended.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path

from doubles import FILM, DictRetriever, film_questions, film_script
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


for line in sys.stdin:
    pid = os.fork()
    if not pid:
        code = 1
        try:
            run(*json.loads(line))
            code = 0
        except BaseException:  # noqa: BLE001
            traceback.print_exc()
        sys.stderr.flush()
        os._exit(code)
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
