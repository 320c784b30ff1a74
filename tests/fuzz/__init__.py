"""Everything that takes bytes from outside, fed with bytes from nowhere.

A target is a function of bytes that returns, or raises: then it has found a bug. `targets` has the table of them.
The suite runs each over its samples, its corpus and seeded mutations of both; `tox -e fuzz` lets atheris choose
the bytes, guided by which lines they reach (`guided`).
"""
