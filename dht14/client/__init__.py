"""Clients of a node's API: `dht14.aio.Client` (asyncio) and `dht14.Client` (blocking).

`keys`, `answers`, `plans` and `channel` are pure and serve both. `asynchronous` and `pipeline`, `blocking`
and `sockets` move the bytes. No module in this folder imports Twisted. Users import from `dht14` and
`dht14.aio`: everything else is private.
"""
