"""Object detection: pictures into detector inputs, detector outputs into predictions."""
