"""Published families: their key layouts, translated to ours and back."""
