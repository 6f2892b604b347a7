"""Faces: where they are in a picture, what belongs to one, and the networks that restore it."""
