"""From an image file to an upright picture, and from a picture to a file."""
