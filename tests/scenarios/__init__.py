"""Whole networks of shipped nodes on the simulator, with fixed seeds.

A scenario that fails is repeated exactly by running it again; a bug that the simulator finds elsewhere
becomes a seed here.
"""
