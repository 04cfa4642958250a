"""The images and docker-compose.yml, read and run without Docker."""
