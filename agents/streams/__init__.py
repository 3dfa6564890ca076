"""The parts of an agent socket: what it lets in, what it sends, who may sit."""
