"""Published tables as data: expand a table into cells, run them, and print measured beside published numbers."""

from openmix.benchmark.cell import Cell
from openmix.benchmark.table import Table, load_table

__all__ = ['Cell', 'Table', 'load_table']
