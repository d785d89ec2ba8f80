"""Roundings of weights, on any grid."""
