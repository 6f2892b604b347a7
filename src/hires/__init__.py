"""hires: large, detailed images with Stable Diffusion."""

import os

__version__ = "0.1.0"

# OpenMP's threads spin while they wait for each other. On a machine that does anything else at the same time this made
# sampling up to 20 times slower on two cores; waiting passively costs nothing measurable. Read once, when torch loads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
