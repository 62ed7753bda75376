"""Measures the papers' claims on one decoder. Experiments are data, runs resume, and results make the page."""
