"""Prompt -> conditioning: syntax, schedules, tokens, emphasis, embeddings, encoders."""
