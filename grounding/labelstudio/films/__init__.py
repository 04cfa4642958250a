"""The arithmetic of films: spans of time, and key frames of tracks."""
