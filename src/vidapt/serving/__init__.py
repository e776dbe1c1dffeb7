"""Models behind an address: the interface of OpenAI's servers, for whoever has a key."""
