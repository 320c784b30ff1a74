"""The second composition root: the shipped stack on a virtual clock and a virtual network."""
