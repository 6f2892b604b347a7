"""What a picture shows, in words: captions by BLIP, tags by taggers."""
