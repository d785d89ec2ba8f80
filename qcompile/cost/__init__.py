"""What things cost on a device."""
