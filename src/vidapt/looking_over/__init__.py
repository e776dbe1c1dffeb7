"""`vidapt look-over`: a page of clips, labels and what models say of them, on which a person decides."""
