"""Policies in the loops of other libraries, a file for each; none is imported before it is asked for."""
