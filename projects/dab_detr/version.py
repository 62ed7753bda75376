"""The version of the package, for setup.py and for checkpoints."""

__version__ = "0.1.0"
