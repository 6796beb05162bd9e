"""Facts about a text and a picture, and the sentence that sums them up."""
