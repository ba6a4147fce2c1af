"""steper: distil a multi-step retrieval-augmented LM into a small one, step by step.

Names are loaded when they are first used: importing the package reads no file and imports no
framework.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from steper.data import build_corpus, load_corpus, load_questions, sample_questions
    from steper.engine import Engine
    from steper.errors import SteperError
    from steper.evaluation.scoring import evaluate_run
    from steper.lm.open import open_model
    from steper.records import Passage, Question, Step, Trajectory
    from steper.retrieve import BM25Index, open_retriever
    from steper.runs import Run, make_strategy, teach

_WHERE = {
    "BM25Index": "steper.retrieve",
    "Engine": "steper.engine",
    "Passage": "steper.records",
    "Question": "steper.records",
    "Run": "steper.runs",
    "Step": "steper.records",
    "SteperError": "steper.errors",
    "Trajectory": "steper.records",
    "build_corpus": "steper.data",
    "evaluate_run": "steper.evaluation.scoring",
    "load_corpus": "steper.data",
    "load_questions": "steper.data",
    "make_strategy": "steper.runs",
    "open_model": "steper.lm.open",
    "open_retriever": "steper.retrieve",
    "sample_questions": "steper.data",
    "teach": "steper.runs",
}

__all__ = [
    "BM25Index",
    "Engine",
    "Passage",
    "Question",
    "Run",
    "Step",
    "SteperError",
    "Trajectory",
    "build_corpus",
    "evaluate_run",
    "load_corpus",
    "load_questions",
    "make_strategy",
    "open_model",
    "open_retriever",
    "sample_questions",
    "teach",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'steper' has no attribute {name!r}")
    value = getattr(import_module(_WHERE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
