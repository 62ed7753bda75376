"""Measures the time, memory and arithmetic of detectors in inference and training, and compares them with others."""
