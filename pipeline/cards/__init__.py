"""What tells others of a dataset: its README, and its Croissant description."""
