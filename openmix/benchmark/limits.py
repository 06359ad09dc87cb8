"""Largest sizes of a table, far above real ones and far below the limits of a machine."""

from __future__ import annotations

MOST_CELLS = 20_000
MOST_RUNS = 1_000_000  # trials of all cells together
MOST_TRIALS = 1_000  # of a cell
MOST_POINTS = 10_000  # of a grid
MOST_JOBS = 1_024  # trainings at a time, GPUs of one, cores of one
MOST_ITERATIONS = 1_000_000  # of a dry run
MOST_MINUTES = 366 * 24 * 60
MOST_SEED = 2**32 - 1
MOST_CHARACTERS = 200  # of a row's or a column's name
MOST_TEXT = 10_000  # of a title, a note or a claim
