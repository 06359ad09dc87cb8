"""Limits on the size of a table: far larger than real tables, and small enough for any machine."""

from __future__ import annotations

MOST_CELLS = 20_000
MOST_RUNS = 1_000_000  # trials in a table
MOST_TRIALS = 1_000  # trials per cell
MOST_POINTS = 10_000  # points per grid
MOST_JOBS = 1_024  # parallel trainings, GPUs per training, cores per training
MOST_ITERATIONS = 1_000_000  # iterations of a dry run
MOST_MINUTES = 366 * 24 * 60
MOST_SEED = 2**32 - 1
MOST_CHARACTERS = 200  # characters in the name of a row or column
MOST_OF_SUBMITTER = 80  # characters in whose runs a submission has
MOST_OF_NOTE = 1_000  # characters in what it says of them
MOST_TEXT = 10_000  # characters in a title, a note or a claim
