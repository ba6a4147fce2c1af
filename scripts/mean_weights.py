"""The mean of several students' weights, as a student: `shipped:student` is one of two trainings.

    python scripts/mean_weights.py OUT STUDENT STUDENT…

They must have the same shape, as where one was trained on from the other. All but the weights is
the last one's.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from safetensors.torch import load_file, save_file

WEIGHTS = "model.safetensors"
OF_A_TRAINING = ("checkpoints", "log.jsonl", "manifest.json")


def mean_weights(out: Path, students: list[Path]) -> None:
    """Write the mean to the new folder `out`, in the last student's dtype."""
    tensors = [load_file(student / WEIGHTS) for student in students]
    mean = {
        name: (sum(one[name].double() for one in tensors) / len(tensors)).to(last.dtype)
        for name, last in tensors[-1].items()
    }
    shutil.copytree(students[-1], out, ignore=shutil.ignore_patterns(*OF_A_TRAINING))
    save_file(mean, out / WEIGHTS, metadata={"format": "pt"})


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    mean_weights(Path(sys.argv[1]), [Path(student) for student in sys.argv[2:]])
