"""What to do: node declarations, workflow files, validation, execution, results. Knows nothing of diffusion."""
