"""UDP: calls and their timeouts, reachability probes, the port."""
