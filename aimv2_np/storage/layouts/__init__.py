"""One file per layout: the names that other codebases give to our tensors, each a table."""
