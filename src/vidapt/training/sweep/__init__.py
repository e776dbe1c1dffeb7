"""What is gained and what is lost along the way from one model to another."""
