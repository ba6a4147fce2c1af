"""Say in one line what is missing before a virtual environment is made."""

import sys

if sys.version_info < (3, 10):
    sys.exit(
        "steper needs Python 3.10 or newer; this is %d.%d: make PYTHON=python3.11 ..."
        % sys.version_info[:2]
    )
try:
    import ensurepip  # noqa: F401
    import venv  # noqa: F401
except ImportError as error:
    sys.exit("Python's %s module is missing; on Debian: apt-get install python3-venv" % error.name)
