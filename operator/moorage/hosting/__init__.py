"""What Moorage asks of a hosting service: the contract, its errors, the registry, one package per kind of service."""
