"""Figures: one script each, with its results as JSON and its picture beside it."""

import tinygrad_mnist as tinygrad_mnist  # first, as it sees to Ctrl-C while NumPy is imported
