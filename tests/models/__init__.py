"""Models of the protocol, and what a theorem prover and a model checker say about them."""
