"""What ALBERT does with a text, as one page: pieces, guesses at every depth, attention, states, and the network itself."""
