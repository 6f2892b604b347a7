"""All pictures of the outputs folder: found again by their words, shown small, thrown away and taken back."""
