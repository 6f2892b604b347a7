"""The commands of `hires`, by what they are for: each a few lines over `hires.api`, with everything heavy inside."""
