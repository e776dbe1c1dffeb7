"""Cheap numbers that say whether a stage reached its aim: what is seen, told apart, refused."""
