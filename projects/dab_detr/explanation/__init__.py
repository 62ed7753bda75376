"""Explains detections: shows the queries behind them, layer by layer."""

from .explanation import Explanation, explain

__all__ = ["Explanation", "explain"]
