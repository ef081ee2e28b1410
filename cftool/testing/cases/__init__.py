"""The cases of `StoreContract`, by subject; `contract` puts them together. Not for import from elsewhere."""
