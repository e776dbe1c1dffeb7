"""Position ids for sequences in which text and clips alternate."""
