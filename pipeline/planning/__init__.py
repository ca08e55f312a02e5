"""A run on paper: how much there is to do, what it costs, and what it waits for."""
