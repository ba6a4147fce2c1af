"""Draw docs/trajectory.svg, the README's picture: one trajectory as `steper show` prints it.

python scripts/draw_picture.py RUN [QUESTION] [--out docs/trajectory.svg]
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI

from steper.cli.show import show_trajectory
from steper.runs import Run


def main() -> None:
    """Print the trajectory to a recording console and save what it shows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("question", nargs="?", help="question id; the first one by default")
    parser.add_argument("--out", type=Path, default=Path("docs/trajectory.svg"))
    options = parser.parse_args()
    run = Run(options.run)
    questions = run.questions().by_key
    chosen = options.question or next(iter(questions))
    trajectory = next(t for t in run.trajectories() if t.question_id == chosen)
    model = trajectory.model.rpartition("/")[2]  # a folder's place is nobody else's
    trajectory = trajectory.model_copy(update={"model": model})
    console = Console(record=True, width=104, file=io.StringIO(), highlight=False)
    show_trajectory(trajectory, questions[chosen], console)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    console.save_svg(str(options.out), title="steper show", theme=MONOKAI)


if __name__ == "__main__":
    main()
