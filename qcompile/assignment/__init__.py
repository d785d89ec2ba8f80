"""Formats for the tensors of a float network: calibration, sensitivity metrics, search, weight rounding -> Plan ->
apply.

(Not `qcompile.assign`: that is the function, and a package of the same name would hide it once imported.)
"""
