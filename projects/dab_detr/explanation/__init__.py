"""Explain detections: what the queries behind them saw and did, layer by layer."""

from .explanation import Explanation, explain

__all__ = ["Explanation", "explain"]
