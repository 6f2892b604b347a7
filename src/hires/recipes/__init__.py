"""Recipes: from a typed request (txt2img, hires fix ...) to a workflow of nodes. There is no second pipeline."""
