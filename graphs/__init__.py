"""Figures: one script each, with its results as JSON and its picture beside it."""

import zoo as zoo  # which has NumPy compute in one thread, if it comes before NumPy
