"""TCP: the VoidPhone API and its extension."""
