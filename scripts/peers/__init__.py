"""What a user would use instead of eabench, and how to hold it against eabench. Never needed by eabench itself."""
