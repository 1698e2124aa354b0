"""Three networks, each a file of at most 40 lines, to read and to run: `python -m tests.examples.recurrent`."""
