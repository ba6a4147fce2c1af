"""What the tasks of one pipeline share: folders, questions, and at most one open model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from steper.data import load_corpus
from steper.lm.base import LanguageModel
from steper.pipeline.config import PipelineSettings
from steper.pipeline.data_sets import DataSet
from steper.records import Passage
from steper.retrieve import open_retriever
from steper.retrieve.base import Retriever
from steper.retrieve.opening import names_code


@dataclass
class Workspace:
    """One pipeline at work in the folder `out`.

        world/DATA/   index/DATA/   teach/DATA/   build/DATA/STUDENT/RECIPE/
        train/DATA/STUDENT/RECIPE-SEED/   eval/DATA/…   compare/DATA.json   report.html

    Close it when done: it holds indexes and a model.
    """

    settings: PipelineSettings
    out: Path
    data: dict[str, DataSet] = field(default_factory=dict)
    _retrievers: dict[str, Retriever] = field(default_factory=dict)
    _model: tuple[str, LanguageModel] | None = None

    def __post_init__(self) -> None:
        for name, own in self.settings.data.items():
            world = self.out / "world" / name if own.world else None
            self.data[name] = DataSet(name, own, world)

    def index(self, data: str) -> Path | None:
        """Where a data set's index is made; None where it names an index or a server itself."""
        corpus = self.settings.data[data].corpus
        if "://" in corpus or names_code(corpus) or Path(corpus).is_dir():
            return None
        return self.out / "index" / data

    def passages(self, data: str) -> list[Passage]:
        """The passages to index."""
        world, corpus = self.data[data].world, self.settings.data[data].corpus
        if world is not None:
            return list(load_corpus(world / "corpus.jsonl"))
        if corpus == "auto":
            return self.data[data].corpus()
        return list(load_corpus(Path(corpus)))

    def retriever(self, data: str) -> Retriever | None:
        """A data set's retriever, opened once; None where the strategy does not search."""
        if not self.settings.strategy_kind.searches:
            return None
        if data not in self._retrievers:
            place = self.index(data) or self.settings.data[data].corpus
            self._retrievers[data] = open_retriever(place)
        return self._retrievers[data]

    def release(self, data: str) -> None:
        """Close a data set's retriever: its index is about to be replaced."""
        if retriever := self._retrievers.pop(data, None):
            retriever.close()

    def model(self, mark: str, opened: Callable[[], LanguageModel]) -> LanguageModel:
        """The model of this mark: the one that is open, or a new one in its place."""
        if self._model is None or self._model[0] != mark:
            self.close_model()
            self._model = (mark, opened())
        return self._model[1]

    def close_model(self) -> None:
        """Close the open model: memory and threads are needed for something else."""
        if self._model is not None:
            _, model = self._model
            self._model = None
            model.close()

    def close(self) -> None:
        """Close all that is open."""
        self.close_model()
        for name in list(self._retrievers):
            self.release(name)
