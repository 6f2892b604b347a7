"""Whole jobs, timed and measured. Each prints a table; ratios within one run are what counts."""
