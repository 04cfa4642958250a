"""The whole way, for real: a running Label Studio, our backend, pictures with known truth."""
