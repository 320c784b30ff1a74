"""Pure: identities and their puzzle, shares of pools, limits, tickets."""
