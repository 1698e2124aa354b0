"""Figures: one script each, with its results as JSON and its picture beside it."""
