"""Stand-ins for the five hosted services: their contracts on loopback, with bills and faults."""
