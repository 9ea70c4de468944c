"""`make demo`: what tickgate does, in two minutes, with the real programs on free ports."""
