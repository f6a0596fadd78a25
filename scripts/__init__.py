"""What the kit's authors ran: searches for settings, and the long runs."""
