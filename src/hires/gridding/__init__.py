"""Grids drawn by an engine: planned, drawn cell by cell, continued."""
