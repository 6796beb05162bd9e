"""The Faust stream processor: runs operations on images and keeps each job's state."""
