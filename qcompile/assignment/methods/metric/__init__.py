"""Sensitivity metrics: each fills one table S[tensor, candidate]."""
