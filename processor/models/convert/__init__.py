"""Convert model files to ONNX, and to the precisions that this machine can run."""
