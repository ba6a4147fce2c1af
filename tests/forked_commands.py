"""Runs commands for a test that kills them, each in a fork: this process has imported all of it.

Reads a JSON list of arguments a line; writes the process's id, and its exit code when it has ended.
"""

from __future__ import annotations

import json
import os
import sys
import traceback

import openai  # noqa: F401 (it takes a second, which no kill is to fall into)
import torch

import steper.api
import steper.cli.main
import steper.pipeline.pipeline
import steper.reporting.page
import steper.training.job

torch.set_num_threads(1)
for line in sys.stdin:
    pid = os.fork()
    if not pid:
        os.dup2(2, 1)
        sys.argv = ["steper", *json.loads(line)]
        code = 1
        try:
            steper.cli.main.main()
        except SystemExit as end:
            code = int(end.code or 0)
        except BaseException:  # noqa: BLE001
            traceback.print_exc()
        sys.stderr.flush()
        os._exit(code)
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
