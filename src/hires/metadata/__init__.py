"""What a picture says of itself: infotext, text chunks in image files, safe writing."""
