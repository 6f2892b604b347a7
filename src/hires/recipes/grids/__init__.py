"""Grids: one request drawn over the values of up to three axes, kept as data; and what is measured and shown of it."""
