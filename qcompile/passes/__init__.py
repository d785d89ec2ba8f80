"""One file, one pass, one idea. Analyses return a mapping and change nothing."""
