"""Text in pictures: reading it, looking for something in it, knowing what letters can be read."""
