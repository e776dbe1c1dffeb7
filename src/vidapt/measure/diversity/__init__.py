"""How different several captions of a clip are, and what they tell and make up together."""
