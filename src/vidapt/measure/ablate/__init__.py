"""What each stage and each setting of a recipe is worth: the recipe without it, measured beside it."""
