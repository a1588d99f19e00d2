"""What people correct, what it costs them, and what is learnt from it."""
