"""Families of candidate formats."""
