"""`vidapt review`: a page on which a person looks labels over and decides what becomes of them."""
