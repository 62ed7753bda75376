"""The report of a training: one HTML file that opens from the disk, without a server or a network."""

from .write import write_report

__all__ = ["write_report"]
