"""Who is let in, and how much each has used."""
