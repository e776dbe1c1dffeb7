"""Labels made from labels: true texts with one fact changed, by rule or from what a world knows."""
