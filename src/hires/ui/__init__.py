"""The form page in the browser."""
