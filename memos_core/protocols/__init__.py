"""What a backend must promise. A class fulfils a protocol by its methods; nothing here has to be inherited."""
