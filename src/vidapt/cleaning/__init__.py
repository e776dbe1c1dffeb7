"""Labels looked through by named checks: each is kept, rewritten or set aside with the reason."""
