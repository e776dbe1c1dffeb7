"""Labels by a teacher: a model behind a server, or one of vidapt's own, says what is to be seen in clips."""
