"""Mattes against the truth: pairing, metrics, summaries."""
