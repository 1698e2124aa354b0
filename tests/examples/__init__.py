"""Three networks that read a digit row by row, each a file of at most 40 lines: `python -m tests.examples.recurrent`."""
