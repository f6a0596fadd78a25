"""What only the course's notebooks use; the library never imports it."""
