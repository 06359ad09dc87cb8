"""Published tables as data: expand one into cells, run them, print ours beside theirs."""

from openmix.benchmark.cell import Cell
from openmix.benchmark.table import Table, load_table

__all__ = ['Cell', 'Table', 'load_table']
