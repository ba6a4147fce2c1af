"""Step examples for other trainers: the prompt-completion format that TRL's SFTTrainer reads.

A row of a chat example has `prompt` and `completion` as messages, one of plain text as strings; the
loss is on the completion alone. The other columns are the example's own, and `weight`. Preference
pairs have `chosen` and `rejected` in place of the completion, as TRL's DPOTrainer reads them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from steper.errors import SettingsError, missing_extra
from steper.examples.step_example import StepExample
from steper.prompt.segments import Prompt
from steper.store import read_json_lines, write_jsonl

Export = Literal["jsonl", "parquet", "hf"]

JSONL, PARQUET, HF = "messages.jsonl", "messages.parquet", "hf"


def message_row(example: StepExample) -> dict[str, Any]:
    """An example as one row. Raises SettingsError where the format cannot say it.

    The format has one prompt, one completion after it, and one weight for all of that.
    """
    segments = example.segments
    start = next(i for i, s in enumerate(segments) if s.kind is not None)
    target = segments[start:]
    weights = {s.weight for s in target}
    if any(s.kind is None or s.role != "assistant" for s in target) or len(weights) != 1:
        raise SettingsError(
            f"example {example.id!r} of recipe {example.recipe} has supervised text in several "
            "places or of several weights; the messages format cannot say that, so use no --export"
        )
    prompt = Prompt(example.form, segments[:start])
    completion = Prompt(example.form, target)
    texts = {"completion": completion}
    if example.rejected:
        texts = {"chosen": completion, "rejected": Prompt(example.form, example.rejected)}
    chat = example.form == "chat"
    return {
        "prompt": prompt.messages() if chat else prompt.text(),
        **{name: text.messages() if chat else text.text() for name, text in texts.items()},
        **example.model_dump(mode="json", exclude={"schema_version", "segments", "rejected"}),
        "weight": weights.pop(),
    }


def export_jsonl(examples: Iterable[StepExample], folder: Path) -> None:
    """Rows as JSON lines: messages.jsonl."""
    write_jsonl(folder / JSONL, map(message_row, examples))


def export_parquet(examples: Iterable[StepExample], folder: Path) -> None:
    """Rows as one Parquet file: messages.parquet."""
    with _dataset(examples, folder) as dataset:
        dataset.to_parquet(str(folder / PARQUET))


def export_hf(examples: Iterable[StepExample], folder: Path) -> None:
    """Rows as a folder for `datasets.load_from_disk`: hf/."""
    with _dataset(examples, folder) as dataset:
        dataset.save_to_disk(str(folder / HF))


EXPORTS: dict[Export, Callable[[Iterable[StepExample], Path], None]] = {
    "jsonl": export_jsonl,
    "parquet": export_parquet,
    "hf": export_hf,
}


@contextmanager
def _dataset(examples: Iterable[StepExample], folder: Path) -> Iterator[Any]:
    """The rows as a Hugging Face dataset, memory-mapped from a temporary folder in `folder`.

    There it is not left for good by a process that is killed.
    """
    try:
        datasets: Any = import_module("datasets")
    except ImportError as error:
        raise missing_extra("datasets", "train", error) from None
    bars = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        with tempfile.TemporaryDirectory(dir=folder) as place:
            rows = Path(place) / JSONL
            write_jsonl(rows, map(message_row, examples))
            yield datasets.Dataset.from_json(
                str(rows), features=_features(datasets, rows), cache_dir=place
            )
    finally:
        if bars:
            datasets.enable_progress_bars()


def _features(datasets: Any, rows: Path) -> Any:
    """The columns' types, by the first row."""
    _, first = next(read_json_lines(rows))
    text = datasets.Value("string")
    types = {str: text, int: datasets.Value("int32"), float: datasets.Value("float32")}
    messages = [{"role": text, "content": text}]
    return datasets.Features(
        {name: messages if isinstance(v, list) else types[type(v)] for name, v in first.items()}
    )
