"""What each stage and each setting of a recipe is worth: the recipe without it, trained and measured beside it."""
