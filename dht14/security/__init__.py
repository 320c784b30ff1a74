"""Pure: identities and proof of work, limits and shares of pools, subnets, tickets."""
