"""Where calibration data come from."""
