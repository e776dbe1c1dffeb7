"""Vision towers: views in, features in natural order out."""
