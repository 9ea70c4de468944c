"""Options: chains and contracts, recorded or made up, and the endpoints that tell of them."""
