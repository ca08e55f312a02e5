"""What `verify` checks of markers, rows and pictures."""
