"""HTTP: what an operator, a probe, a scraper and the `dht14` commands see of a running node."""
