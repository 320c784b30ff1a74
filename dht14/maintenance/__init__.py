"""TODO dht14/maintenance."""
