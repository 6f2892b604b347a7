"""Pixels: resizing, reading pictures safely, drawing comparison sheets. Knows nothing of models."""
