"""Makes the virtual environment that the Makefile runs in, or checks the one the user brought.

Standard library only; any Python from 3.8 on runs it, and it looks for one the project can use.
"""

import sys

if sys.version_info < (3, 8):  # noqa: UP036 (the modules themselves would only say SyntaxError)
    sys.exit("setup: error: this Python is too old. Name one with PYTHON=, such as PYTHON=python3.12")
