"""The page of a server: a clip is dropped, and models are asked about it side by side, in a browser."""
