"""What pages show, made of what the store knows: pure, and without a word of HTML."""
