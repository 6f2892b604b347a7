"""Large pictures in parts: tiles, weights, and joining them again. Knows nothing of models: it is given callables."""
