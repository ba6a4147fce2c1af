"""A process whose forks do what a line of its input asks: it has imported all of it once."""

import json
import os
import sys
import traceback


def fork_for_each_line(run):
    """Call `run` with each JSON list of arguments, in a fork of its own.

    Writes the fork's id, and its exit code when it has ended.
    """
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            code = 1
            try:
                run(*json.loads(line))
                code = 0
            except SystemExit as end:
                code = int(end.code or 0)
            except BaseException:  # noqa: BLE001
                traceback.print_exc()
            sys.stderr.flush()
            os._exit(code)
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
