"""Object detection: pictures to detector inputs, detector outputs to predictions."""
