"""TODO dht14/net/rpc."""
