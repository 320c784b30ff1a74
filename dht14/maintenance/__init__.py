"""Background work of a node: liveness, refresh, repair, republish, resync and hand-over. Built on `node/`."""
