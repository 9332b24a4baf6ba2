"""Images of the user's as files in folders: which there are, of which class, and how each becomes an image of a set."""
