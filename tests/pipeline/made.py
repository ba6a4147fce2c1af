"""A configuration with ten generated training and five test questions."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from steper.dryrun.stand_ins import generated, write_rows

CONFIG = """\
data:
  small:
    questions: train.json
    test: test.json
strategy: {name: ircot, max_steps: 4, k: 3, max_tokens: 12}
teacher:
  model: gold
  prompt: {demos: 0, passage_words: 20}
students:
  tiny:
    model: nowhere/tiny
recipes: [vanilla_kd, steper]
train: {max_steps: 2, batch_size: 4, micro_batch_size: 2, lr: 1.0e-3, dtype: float32}
evaluate:
  bootstrap: {resamples: 100}
jobs: 1
"""


@cache
def rows() -> tuple[list, list]:
    return generated("2wikimultihopqa", 10)


def write_files(folder: Path, text: str = CONFIG) -> Path:
    train, test = rows()
    write_rows(folder / "train.json", train)
    write_rows(folder / "test.json", test[:5])
    path = folder / "pipeline.yaml"
    path.write_text(text)
    return path
