"""Runs commands for a test that kills them, each in a fork: this process has imported all of it.

A line of input is a JSON list of arguments.
"""

from __future__ import annotations

import os
import sys

import openai  # noqa: F401 (it takes a second, which no kill is to fall into)
import torch

import steper.api
import steper.cli.main
import steper.pipeline.pipeline
import steper.reporting.page
import steper.training.job
from forking import fork_for_each_line

torch.set_num_threads(1)


def run(*arguments: str) -> None:
    """A command, all of whose output goes to the log."""
    os.dup2(2, 1)
    sys.argv = ["steper", *arguments]
    steper.cli.main.main()


fork_for_each_line(run)
