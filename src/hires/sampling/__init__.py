"""Noise to latent: noise levels, schedules, random streams, samplers as steps over an explicit state, and the loop."""
