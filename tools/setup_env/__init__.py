"""Makes the virtual environment that the Makefile runs in, or checks the one the user brought.

Standard library only; any Python from 3.8 on runs it, and it looks for one the project can use.
"""
