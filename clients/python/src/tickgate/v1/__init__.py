"""Generated messages and stubs of the contract: never edited, see `make protos`."""
