"""TODO dht14/net/api."""
