"""Text in pictures: read it, put it in order, find a text in it, know its letters."""
