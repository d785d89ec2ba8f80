"""`python -m qcompile`: the command line."""

from qcompile.cli import main

main(prog_name="qcompile")
