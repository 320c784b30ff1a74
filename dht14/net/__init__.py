"""Twisted protocols. Transports are handed in."""
