"""Twisted protocols of the RPCs, the bulk channel and the API. Their transports are given to them."""
