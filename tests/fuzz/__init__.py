"""Fuzz targets for everything that takes bytes from outside. A target is a function of bytes. It returns, or
raises where it has found a bug. `targets` lists them. The suite runs each over its samples, its corpus and
seeded mutations of both; with `tox -e fuzz` atheris chooses the bytes by the lines that they reach
(`guided`)."""
