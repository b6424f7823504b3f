"""How reliable recorded responses are, from their repetitions."""
