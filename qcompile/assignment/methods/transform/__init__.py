"""Changes of the float graph in front of quantization."""
