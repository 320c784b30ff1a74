"""A node in another program: for Twisted, for asyncio, and whole networks for tests."""
