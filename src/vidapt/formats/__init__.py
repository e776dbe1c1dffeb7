"""Label files in, samples out."""
