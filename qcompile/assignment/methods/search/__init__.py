"""Searches: one candidate per variable. They see tables, or a function that measures a choice; never weights."""
