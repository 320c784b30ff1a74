"""Twisted protocols, and the stack of objects behind them. Transports are handed in."""
