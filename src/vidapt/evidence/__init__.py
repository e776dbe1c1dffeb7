"""Labels held against what a model sees: of every clause, how much likelier the clip makes its words."""
