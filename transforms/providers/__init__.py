"""Background removal that is done elsewhere: five hosted services, and nothing paid for twice."""
