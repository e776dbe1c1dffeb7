"""What a loaded model does for one clip: caption, answer, match."""
