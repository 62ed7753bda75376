"""Makes the virtual environment for the Makefile, or checks the user's own.

It uses the standard library only and runs on any Python from 3.8 on. It looks for a Python that the project can use.
"""

import sys

if sys.version_info < (3, 8):  # noqa: UP036 (the modules themselves would only say SyntaxError)
    sys.exit("setup: error: this Python is too old. Name one with PYTHON=, such as PYTHON=python3.12")
