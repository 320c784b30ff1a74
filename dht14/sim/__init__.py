"""A simulator: the shipped stack on a virtual clock, a virtual network and virtual disks."""
