"""How a frame of any size becomes views a tower can take: plan in integers, cut, stitch."""
