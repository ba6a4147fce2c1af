"""steper: distil a multi-step retrieval-augmented LM into a small one, step by step.

Names are loaded when they are first used: importing the package reads no file and imports no
framework.
"""

from typing import TYPE_CHECKING as _TYPE_CHECKING

if _TYPE_CHECKING:
    from steper.api import (
        ask,
        build,
        compare,
        evaluate,
        judge,
        relabel,
        report,
        study,
        teach,
        train,
    )
    from steper.data import build_corpus, load_corpus, load_questions, sample_questions
    from steper.engine import Engine
    from steper.errors import SteperError
    from steper.evaluation.scoring import evaluate_run
    from steper.lm.open import open_model
    from steper.merging import merge
    from steper.pipeline.pipeline import Pipeline
    from steper.recipes import Recipe
    from steper.records import Passage, Question, Step, Trajectory
    from steper.retrieve import BM25Index, open_retriever
    from steper.runs import Run, make_strategy
    from steper.strategy import Strategy

_NAMES = {
    "steper.api": (
        "ask",
        "build",
        "compare",
        "evaluate",
        "judge",
        "relabel",
        "report",
        "study",
        "teach",
        "train",
    ),
    "steper.data": ("build_corpus", "load_corpus", "load_questions", "sample_questions"),
    "steper.engine": ("Engine",),
    "steper.errors": ("SteperError",),
    "steper.evaluation.scoring": ("evaluate_run",),
    "steper.lm.open": ("open_model",),
    "steper.merging": ("merge",),
    "steper.pipeline.pipeline": ("Pipeline",),
    "steper.recipes": ("Recipe",),
    "steper.records": ("Passage", "Question", "Step", "Trajectory"),
    "steper.retrieve": ("BM25Index", "open_retriever"),
    "steper.runs": ("Run", "make_strategy"),
    "steper.strategy": ("Strategy",),
}

__all__ = [
    "BM25Index",
    "Engine",
    "Passage",
    "Pipeline",
    "Question",
    "Recipe",
    "Run",
    "Step",
    "SteperError",
    "Strategy",
    "Trajectory",
    "ask",
    "build",
    "build_corpus",
    "compare",
    "evaluate",
    "evaluate_run",
    "judge",
    "load_corpus",
    "load_questions",
    "make_strategy",
    "merge",
    "open_model",
    "open_retriever",
    "relabel",
    "report",
    "sample_questions",
    "study",
    "teach",
    "train",
]


def __getattr__(name: str) -> object:
    from importlib import import_module, metadata

    if name == "__version__":
        value: object = metadata.version("steper")
    elif name in __all__:
        module = next(module for module, names in _NAMES.items() if name in names)
        value = getattr(import_module(module), name)
    else:
        raise AttributeError(f"module 'steper' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    own = (name for name in globals() if name.startswith("__"))
    return sorted({*__all__, "__version__", *own})
