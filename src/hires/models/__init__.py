"""Weights to modules: detect a family from its tensors, build it, hold it in a precision, keep it."""
