"""Facts about a text and a picture, and a sentence that sums them up."""
