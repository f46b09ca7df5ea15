"""The weight-sharing engine: spaces, elastic networks, training."""
