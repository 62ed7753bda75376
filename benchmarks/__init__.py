"""Measures detectors: time, memory and arithmetic of inference, training, criterion and transformer, against others."""
